"""How far compression trades one kind of error of a class for the other: the symmetric distance error.

For each class ``c``, one against the rest, ``x(c)`` is the relative change of its false-positive rate from baseline to
candidate and ``y(c)`` that of its false-negative rate; the number is ``mean_c abs(y(c) - x(c))``. The parts are the
signed differences ``y(c) - x(c)``: above zero the model says the class too seldom now, below zero too often.

Departures: where the paper divides by the baseline's rate, which may be zero, a rate is ``(k + 1/2) / (n + 1)`` for
``k`` errors among ``n``. The formula is that of an independent implementation that cites the authors' second paper; the
text of neither paper was at hand, and a distance from the line ``x = y`` would be smaller by a factor of ``sqrt(2)``.

Reading:
    0: for every class both kinds of error changed in the same proportion. It is above zero by chance alone: read it
    against the controls, never against zero. The parts have a sign and no such bias.

Cost:
    None of its own: it reads the shared forward pass over test of both models.

Limits:
    Being relative, it is ruled by the classes in which the baseline hardly errs. Where it makes no error of a kind, the
    change rests on the half example: a note says so, and where the largest change is such a one the verdict is *not
    trusted*. A candidate that says one class only is judged as any other. A model whose errors all double scores 0. Of
    two classes the false positives of one are the false negatives of the other, so that both say the same.

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
    "relative change",
    "lower",
    {"predicts"},
    "test example",
    "class",
)
WORST, BLIND = None, None


@dataclass(frozen=True)
class Config:
    """The symmetric distance error has no settings."""


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
    """Return the symmetric distance error of every resample, ``(draws,)``.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    return _groups.mean(np.abs(by_part(answer, config, weights)))


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return every class's change of false negatives minus that of false positives in every resample.

    Of shape ``(draws, classes)``; NaN where a resample has no example of a class.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    alarms, misses = _classwise.changes(answer, weights)
    lean: np.ndarray = misses - alarms
    return lean
