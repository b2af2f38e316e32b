"""How much miscalibration differs between groups: the variance of the groups' signed miscalibration, debiased.

``m(g)`` is mean confidence in the predicted class minus accuracy in group ``g``: above zero is overconfident. The
number is ``sum_g (m(g) - mean_g m)**2 / (G - 1) - mean_g noise(g)`` over the ``G`` groups with at least ``least`` test
examples; ``noise(g) = var(g) / (n(g) - 1)``, the variance that ``m(g)`` has by chance, is subtracted, so that the
number is zero on average where no group differs. It may come out slightly negative. The parts are the ``m(g)`` of all
groups, however small.

Why this and not a gap: the largest minus the smallest calibration error of groups is above zero by chance alone, and
so is every binned error of a small group, more so the smaller it is; ``m(g)`` is a plain mean without bias, with a
sign, and its variance between groups can be freed of the variance within. On a resample ``1 / (n - 1)`` becomes ``q /
(n**2 - q)``, ``q`` the sum of the squared counts: a repeated example is no new evidence.

Reading:
    0: confidence is as right, or as wrong, for every group. The square root is a standard deviation, in units of
    probability. The parts say which group is overconfident and by how much. Read the change. A scale of the scores, a
    temperature, moves it: that is what it is about.

Cost:
    None of its own: it reads the shared forward pass over test.

Limits:
    Over- and underconfidence inside one group cancel in ``m(g)``; `generalization.calibration` sees them, for everybody
    together. Every group counts alike, however large. Of two groups it is half of their squared difference.

Source:
    Pleiss et al., On fairness and calibration, NeurIPS 2017, arXiv:1709.02012; debiasing as in Kumar, Liang & Ma,
    Verified uncertainty calibration, NeurIPS 2019, arXiv:1909.10155.
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
    "variance of miscalibration",
    "lower",
    {"predicts", "groups"},
    "test example",
    "group",
)
WORST, BLIND = None, None


@dataclass(frozen=True)
class Config:
    """Settings of the calibration by group."""

    group: str = param("", _groups.HELP)
    least: int = param(30, "Test examples below which a group is left out of the variance.", low=2)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return confidence minus correctness of each test example, ``over``, and its group.

    Its part, such as ``group sex``, and the same with -1 where it is left out of the variance, ``large group sex``.

    Args:
        evidence: Gives the logits and the groups.
        config: Which grouping.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: The task has no such grouping.
    """
    del rng
    found = _groups.parting(evidence, config.group, config.least)
    confidence, predicted = evidence.logits("test").softmax(1).max(1)
    over = confidence - (predicted == evidence.split("test").targets).float()
    parts = Parts(found.names(), unit="confidence minus accuracy", better="neither")
    return Answer({"over": over, **found.columns()}, parts=parts, notes=found.notes)


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the debiased variance of miscalibration between groups of every resample, ``(draws,)``.

    NaN where fewer than two groups have two different examples.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    over, codes = answer["over"], _groups.codes(answer, large=True)
    center, square = (np.concatenate([_groups.rates(o, c, weights) for c in codes], 1) for o in (over, over * over))
    size, repeats = (np.concatenate([_sizes(c, w) for c in codes], 1) for w in (weights, weights * weights))
    pairs = size * size - repeats
    noise = np.where(pairs > 0, (square - center**2) * repeats / np.maximum(pairs, 1), np.nan)
    center = np.where(pairs > 0, center, np.nan)
    groups = (pairs > 0).sum(1)
    apart = _groups.mean((center - _groups.mean(center)[:, None]) ** 2) * groups / np.maximum(groups - 1, 1)
    total: np.ndarray = np.where(groups > 1, apart - _groups.mean(noise), np.nan)
    return total


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the signed miscalibration of every group in every resample, ``(draws, groups)``; NaN where one is empty.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    return _groups.by_part(answer, "over", weights, large=False)


def outcomes(answer: Answer, config: Config) -> np.ndarray:
    """Return confidence minus correctness of each example and its group, ``(N, 3)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
    """
    del config
    return answer.table()


def _sizes(code: np.ndarray, weights: np.ndarray) -> np.ndarray:
    known = np.unique(code[code >= 0])
    place = np.where(code >= 0, np.searchsorted(known, code), _groups.LEFT_OUT)
    return _groups.sums(place, len(known), weights, np.ones(len(code)))[0]
