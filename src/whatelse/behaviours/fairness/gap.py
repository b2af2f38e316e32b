"""Accuracy of the group served best minus accuracy of the group served worst.

``max_g accuracy(g) - min_g accuracy(g)`` over the groups with at least ``least`` test examples. The parts are the
accuracies of all groups, however small, and of the examples whose group is missing.

Reading:
    An unsigned gap is above zero even where no group is treated differently (about 7 points for 5 groups of 100): only
    its paired change means something, never its distance from zero. The parts carry the sign that the gap has lost.

Cost:
    None of its own: it reads the shared forward pass over test.

Limits:
    A gap can close because the best served group fell: read the parts. The change is nearly free of bias only while
    noise is alike before and after. Groups below ``least`` and missing values are left out of the gap, which notes say:
    they are among the parts alone. With fewer than two groups that large there is no number, only parts.

Source:
    Stoychev & Gunes, The effect of model compression on fairness in facial expression recognition, 2022,
    arXiv:2201.01709.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer, Parts
from whatelse.behaviours.fairness import _groups
from whatelse.evidence.cache import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    4,
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
    least: int = param(30, "Test examples below which a group is left out of the gap.", low=1)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return whether each test example is ``correct``, and its group.

    Its part, such as ``group sex``, and the same with -1 where it is left out of the gap, ``large group sex``.

    Args:
        evidence: Gives the predictions and the groups.
        config: Which grouping.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: The task has no such grouping.
    """
    del rng
    found = _groups.parting(evidence, config.group, config.least)
    correct = evidence.predictions("test") == evidence.split("test").targets
    parts = Parts(found.names(), unit="accuracy", better="higher")
    return Answer({"correct": correct.float(), **found.columns()}, parts=parts, notes=(*found.notes, _groups.BIASED))


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the largest minus the smallest group accuracy of every resample, ``(draws,)``.

    A resample with a single group has no gap: NaN.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    return _groups.gap(_groups.by_part(answer, "correct", weights, large=True))


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the accuracy of every group in every resample, ``(draws, groups)``; NaN where one is empty.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    return _groups.by_part(answer, "correct", weights, large=False)


def outcomes(answer: Answer, config: Config) -> np.ndarray:
    """Return whether each example is right and the group whose accuracy it is part of, ``(N, 3)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
    """
    del config
    return answer.table()
