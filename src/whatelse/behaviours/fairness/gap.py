"""Accuracy of the group served best minus accuracy of the group served worst.

``max_g accuracy(g) - min_g accuracy(g)`` over the groups with at least ``least`` test examples. An unsigned gap is
above zero even where no group is treated differently (about 7 points for 5 groups of 100): only its paired change
means something, never its distance from zero.

Source:
    Stoychev & Gunes, The effect of model compression on fairness in facial expression recognition, 2022,
    arXiv:2201.01709.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.behaviours.fairness import _groups
from whatelse.evidence import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, OVER = 1, "difference of accuracies", "lower", {"predicts", "groups"}, "test example"


@dataclass(frozen=True)
class Config:
    """Settings of the accuracy gap."""

    group: str = param("", "Name of the grouping; empty takes the first one of the task.")
    least: int = param(30, "Test examples below which a group is left out.", low=1)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Tensor:
    """Return whether each test example is classified correctly and its group code, -1 if left out, ``(N, 2)``.

    Args:
        evidence: Gives the predictions and the groups.
        config: Which grouping.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: The task has no such grouping, or fewer than two groups are large enough.
    """
    del rng
    code = _groups.codes(evidence, config.group, config.least, atleast=2)
    evidence.note("an unsigned gap is above zero without any bias: read its change, not its level")
    correct = evidence.predictions("test") == evidence.split("test").targets
    return torch.stack([correct, code], 1).float()


def summarise(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the largest minus the smallest group accuracy of every resample, ``(draws,)``.

    Args:
        values: What `measure` returned, ``(N, 2)``.
        counts: How often each example stands in each resample, ``(draws, N)``.
    """
    rates = _groups.rates(values[:, 0], _groups.members(values[:, 1]), counts)
    gap: np.ndarray = np.fmax.reduce(rates, axis=1) - np.fmin.reduce(rates, axis=1)
    return gap
