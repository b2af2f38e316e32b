"""Relative change of each class's two error rates, which the class-wise bias measures share."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from whatelse.behaviours.fairness import _groups
from whatelse.evidence import Evidence


def observe(baseline: Evidence, candidate: Evidence) -> Tensor:
    """Return what both models predict and the true class of each test example, ``(N, 3)``; names the classes.

    Args:
        baseline: Evidence of the model before compression.
        candidate: Evidence of the compressed model; takes the names of the parts and the note.
    """
    targets = candidate.split("test").targets
    classes = torch.unique(targets).tolist()
    candidate.name_parts([f"class {c}" for c in classes])
    before = baseline.predictions("test")
    spared = [c for c in classes if bool((before[targets == c] == c).all())]
    if spared:
        candidate.note(
            f"the baseline finds every example of {len(spared)} of {len(classes)} classes: there the relative change"
            " rests on half an example, and means little"
        )
    return torch.stack([before, candidate.predictions("test"), targets], 1).float()


def changes(values: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the relative change of false-positive and false-negative rate of every class, each ``(draws, classes)``.

    Of ``k`` errors among ``n`` examples a rate is ``(k + 1/2) / (n + 1)``: a class in which the baseline makes none has
    no relative change otherwise. NaN where a resample has no example of the class.

    Args:
        values: What `observe` returned, ``(N, 3)``.
        counts: How often each example stands in each resample, ``(draws, N)``.
    """
    before, after, target = values.T
    everybody = np.zeros(len(target))
    old, new = (_groups.table(said, target, everybody, counts) for said in (before, after))
    alarms = (new.chosen - new.hits + 0.5) / (old.chosen - old.hits + 0.5) - 1
    misses = (new.truly - new.hits + 0.5) / (old.truly - old.hits + 0.5) - 1
    known = old.truly > 0
    return np.where(known, alarms, np.nan)[:, :, 0], np.where(known, misses, np.nan)[:, :, 0]
