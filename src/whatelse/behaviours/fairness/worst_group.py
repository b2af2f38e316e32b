"""Accuracy of the group that is served worst.

``min_g accuracy(g)`` over the groups of one grouping with at least ``least`` test examples. The minimum is taken
anew on every resample, so its interval is that of a minimum. It is biased downwards, more so with more and smaller
groups: read the change.

Source:
    Sagawa et al., Distributionally robust neural networks for group shifts, ICLR 2020, arXiv:1911.08731.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.behaviours.fairness import _groups
from whatelse.evidence import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, OVER = 1, "accuracy", "higher", {"predicts", "groups"}, "test example"


@dataclass(frozen=True)
class Config:
    """Settings of the worst group."""

    group: str = param("", "Name of the grouping; empty takes the first one of the task.")
    least: int = param(30, "Test examples below which a group is left out.", low=1)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Tensor:
    """Return whether each test example is classified correctly and its group code, -1 if left out, ``(N, 2)``.

    Args:
        evidence: Gives the predictions and the groups.
        config: Which grouping.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: The task has no such grouping, or every group is too small.
    """
    del rng
    code = _groups.codes(evidence, config.group, config.least)
    correct = evidence.predictions("test") == evidence.split("test").targets
    return torch.stack([correct, code], 1).float()


def summarise(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the smallest group accuracy of every resample, ``(draws,)``.

    Args:
        values: What `measure` returned, ``(N, 2)``.
        counts: How often each example stands in each resample, ``(draws, N)``.
    """
    rates = _groups.rates(values[:, 0], _groups.members(values[:, 1]), counts)
    worst: np.ndarray = np.fmin.reduce(rates, axis=1)
    return worst
