"""Accuracy of the group served best minus accuracy of the group served worst.

``max_g accuracy(g) - min_g accuracy(g)`` over the groups with at least ``least`` test examples. The parts are the
accuracies of the groups.

Reading:
    An unsigned gap is above zero even where no group is treated differently (about 7 points for 5 groups of 100): only
    its paired change means something, never its distance from zero. The parts carry the sign that the gap has lost.

Cost:
    None of its own: it reads the shared forward pass over test.

Limits:
    A gap can close because the best served group fell: read the parts. The change is nearly free of bias only while
    noise is alike before and after. Groups below ``least`` and missing values are left out, which notes say.

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

VERSION, UNIT, BETTER, NEEDS, OVER, PARTS = (
    3,
    "difference of accuracies",
    "lower",
    {"predicts", "groups"},
    "test example",
    "group",
)
WORST, BLIND = 1.0, None


@dataclass(frozen=True)
class Config:
    """Settings of the accuracy gap."""

    group: str = param("", _groups.HELP)
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
    found = _groups.grouping(evidence, config.group, config.least, atleast=2)
    evidence.name_parts(found.kept_names(), unit="accuracy", better="higher")
    evidence.note(_groups.BIASED)
    correct = evidence.predictions("test") == evidence.split("test").targets
    return torch.stack([correct, found.kept()], 1).float()


def summarise(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the largest minus the smallest group accuracy of every resample, ``(draws,)``.

    A resample with a single group has no gap: NaN.

    Args:
        values: What `measure` returned, ``(N, 2)``.
        counts: How often each example stands in each resample, ``(draws, N)``.
    """
    return _groups.gap(breakdown(values, counts))


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
