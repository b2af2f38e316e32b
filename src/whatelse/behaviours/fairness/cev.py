"""How unevenly compression changes the errors of classes: the combined error variance.

For each class ``c``, one against the rest, ``x(c)`` is the relative change of its false-positive rate from baseline to
candidate and ``y(c)`` that of its false-negative rate. The number is the mean over classes of the squared distance of
``(x(c), y(c))`` from the mean point: ``mean_c (x(c) - mean x)**2 + (y(c) - mean y)**2``. The parts are the squared
distances of the classes.

Departures: where the paper divides by the baseline's rate, which may be zero, a rate is ``(k + 1/2) / (n + 1)`` for
``k`` errors among ``n``. The formula is that of an independent implementation that cites the authors' second paper; the
text of neither paper was at hand to check the normalization.

Reading:
    0: the errors of all classes grew, or fell, in the same proportion. 1: a class's error rates lie about a factor of
    two off the common trend. It is above zero by chance alone: read it against the controls, never against zero.

Cost:
    None of its own: it reads the shared forward pass over test of both models.

Limits:
    Being relative, it is ruled by the classes in which the baseline hardly errs: a second error in place of one counts
    as 1. Where it makes none, of either kind, the change rests on the half example: a note says so, and where the
    largest change is such a one the verdict is *not trusted*. A candidate that says one class only is judged as any
    other. It does not see whether errors grew or fell altogether. Of two classes the false positives of one are the
    false negatives of the other.

Source:
    Blakeney et al., Simon says: evaluating and mitigating bias in pruned neural networks with knowledge distillation,
    2021, arXiv:2106.07849; Measure twice, cut once, 2021, arXiv:2110.04397.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer
from whatelse.behaviours.fairness import _classwise, _groups
from whatelse.evidence.cache import Evidence

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    3,
    "squared relative change",
    "lower",
    {"predicts"},
    "test example",
    "class",
)
WORST, BLIND = None, None


@dataclass(frozen=True)
class Config:
    """The combined error variance has no settings."""


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return what the baseline predicts, ``before``, what the candidate predicts, ``after``, and the ``truth``.

    Args:
        baseline: Evidence of the model before compression.
        candidate: Evidence of the compressed model.
        config: Not used.
        rng: Not used; the behaviour is deterministic.
    """
    del config, rng
    return _classwise.observe(baseline, candidate)


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the combined error variance of every resample, ``(draws,)``.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    return _groups.mean(by_part(answer, config, weights))


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return every class's squared distance from the mean change in every resample, ``(draws, classes)``.

    NaN where a resample has no example of a class.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    alarms, misses = _classwise.changes(answer, weights)
    far: np.ndarray = (alarms - _groups.mean(alarms)[:, None]) ** 2 + (misses - _groups.mean(misses)[:, None]) ** 2
    return far
