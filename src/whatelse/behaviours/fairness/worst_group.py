"""Accuracy of the group that is served worst.

``min_g accuracy(g)`` over the groups of one grouping with at least ``least`` test examples, or over intersections of
several groupings. The minimum is taken anew on every resample, so its interval is that of a minimum. The parts are
the accuracies of the groups.

Reading:
    Read the change, not the level: a minimum is biased downwards, more so with more and smaller groups. The parts say
    which groups the change falls on. The accuracy of everybody belongs beside it: all may have lost alike.

Cost:
    None of its own: it reads the shared forward pass over test.

Limits:
    The group that is worst may be another one before and after. Groups below ``least`` and examples whose group is
    missing are left out, which notes say: harm to them goes unseen.

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

VERSION, UNIT, BETTER, NEEDS, OVER, PARTS = 2, "accuracy", "higher", {"predicts", "groups"}, "test example", "group"
WORST, BLIND = 0.0, None


@dataclass(frozen=True)
class Config:
    """Settings of the worst group."""

    group: str = param("", _groups.HELP)
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
    found = _groups.grouping(evidence, config.group, config.least)
    evidence.name_parts(found.kept_names())
    correct = evidence.predictions("test") == evidence.split("test").targets
    return torch.stack([correct, found.kept()], 1).float()


def summarise(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the smallest group accuracy of every resample, ``(draws,)``.

    Args:
        values: What `measure` returned, ``(N, 2)``.
        counts: How often each example stands in each resample, ``(draws, N)``.
    """
    worst: np.ndarray = np.fmin.reduce(breakdown(values, counts), axis=1)
    return worst


def breakdown(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the accuracy of every group in every resample, ``(draws, groups)``; NaN where one is empty.

    Args:
        values: What `measure` returned, ``(N, 2)``.
        counts: How often each example stands in each resample, ``(draws, N)``.
    """
    return _groups.rates(values[:, 0], values[:, 1], counts)


def outcomes(values: np.ndarray) -> np.ndarray:
    """Return whether each example is right and the group whose accuracy it is part of, ``(N, 2)``.

    Args:
        values: What `measure` returned, ``(N, 2)``.
    """
    return values
