"""Accuracy of the group that is served worst.

``min_g accuracy(g)`` over the groups with at least ``least`` test examples: of one grouping, of several side by side,
or of intersections of several. The minimum is taken anew on every resample, so its interval is that of a minimum. The
parts are the accuracies of all groups, however small, and of the examples whose group is missing.

Reading:
    Read the change, not the level: a minimum is biased downwards, more so with more and smaller groups. The parts say
    which groups the change falls on, each with the exact interval of its own size. The accuracy of everybody belongs
    beside it: all may have lost alike.

Cost:
    None of its own: it reads the shared forward pass over test.

Limits:
    The group that is worst may be another one before and after. Groups below ``least`` and examples whose group is
    missing are left out of the minimum, which notes say: harm to them is seen in their parts alone. Where every group
    is that small there is no number, only parts. Of groups without a test example nothing is known but their names.

Source:
    Sagawa et al., Distributionally robust neural networks for group shifts, ICLR 2020, arXiv:1911.08731.
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
    3,
    "accuracy",
    "higher",
    {"predicts", "groups"},
    "test example",
    "group",
)
WORST, BLIND = 0.0, None


@dataclass(frozen=True)
class Config:
    """Settings of the worst group."""

    group: str = param("", _groups.SIDE_BY_SIDE)
    least: int = param(30, "Test examples below which a group is left out of the minimum.", low=1)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return whether each test example is ``correct``, and its groups.

    The part of the example in every grouping, such as ``group sex``, then the same with -1 where it is left out of the
    minimum, such as ``large group sex``.

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
    return Answer({"correct": correct.float(), **found.columns()}, parts=Parts(found.names()), notes=found.notes)


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the smallest group accuracy of every resample, ``(draws,)``; NaN where no group is large enough.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    worst: np.ndarray = np.fmin.reduce(_groups.by_part(answer, "correct", weights, large=True), axis=1, initial=np.nan)
    return worst


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
    """Return whether each example is right and the groups whose accuracy it is part of, ``(N, 1 + 2 groupings)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
    """
    del config
    return answer.table()
