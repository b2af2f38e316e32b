"""Accuracy in which every class counts alike, however rare: recall averaged over the classes that occur.

``mean_c recall(c)``, ``recall(c)`` the share of the test examples of class ``c`` that are classified as it. The parts
are the recalls of the classes, each with its number of examples.

Reading:
    Where classes are balanced it is the accuracy. Where they are not it shows what accuracy hides: a class of one
    example in a thousand can be lost for a tenth of a point of accuracy. Always naming one class scores one over the
    number of classes. The parts say which classes a change falls on.

Cost:
    None of its own: it reads the shared pass over test.

Limits:
    A class of few examples leaves much open, and one such class widens the interval of the mean. A class without a test
    example is not in the mean; it is named among the parts. What is said wrongly in a class's name (precision) is not
    looked at.

Source:
    Brodersen et al., The balanced accuracy and its posterior distribution, ICPR 2010; definition as
    ``balanced_accuracy_score`` of scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer, Parts
from whatelse.evidence.cache import Evidence
from whatelse.statistics import cells

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = 1, "accuracy", "higher", {"predicts"}, "test example", "class"
NUMBER = "mean of parts"  # so that its bounds join those of the classes
WORST, BLIND = 0.0, None


@dataclass(frozen=True)
class Config:
    """Macro accuracy has no settings."""


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ``correct``, whether each test example is classified so, and ``class``, the place of its class.

    Classes that occur have places from 0 by rising class. Those that only other splits have are named after them, and
    a note counts those that no split has.

    Args:
        evidence: Gives the predictions.
        config: Not used.
        rng: Not used; the behaviour is deterministic.
    """
    del config, rng
    targets = evidence.split("test").targets
    here, known = _occurring(evidence, targets), torch.zeros(evidence.task.classes, dtype=torch.bool)
    for split in evidence.task.splits.values():
        known |= _occurring(evidence, split.targets)
    place = here.cumsum(0)[targets] - 1
    names = tuple(f"class {c}" for c in [*here.nonzero()[:, 0].tolist(), *(known & ~here).nonzero()[:, 0].tolist()])
    nowhere = int((~known).sum())
    notes = (f"no split has an example of {nowhere} of {evidence.task.classes} classes",) if nowhere else ()
    correct = evidence.predictions("test") == targets
    return Answer({"correct": correct.float(), "class": place.float()}, parts=Parts(names), notes=notes)


def _occurring(evidence: Evidence, labels: Tensor) -> Tensor:
    """Return which classes occur, ``(classes,)``: counted, as sorting all labels takes longer than all else here."""
    return labels.bincount(minlength=evidence.task.classes) > 0


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean recall over the classes that occur in every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    return cells.mean(by_part(answer, config, weights))


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the recall of every class in every resample, ``(draws, classes)``; NaN where one has no example.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    return cells.rates(answer["correct"], answer["class"], weights)


def outcomes(answer: Answer, config: Config) -> np.ndarray:
    """Return whether each example is right and the class whose recall it is part of, which always counts, ``(N, 3)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
    """
    del config
    return answer.table("correct", "class", "class")
