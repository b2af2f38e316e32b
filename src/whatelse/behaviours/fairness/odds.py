"""How far apart the groups' recalls lie, class by class: the true-positive half of equalized odds.

For each class ``c``, one against the rest, ``gap(c) = max_g recall(c, g) - min_g recall(c, g)``; the mean over
classes is returned. A class that stands in fewer than two groups of a resample is left out of the mean. Recalls of
few examples spread by chance alone, so the level is far above zero without any bias: only its paired change means
something.

Source:
    Hardt, Price & Srebro, Equality of opportunity in supervised learning, NeurIPS 2016, arXiv:1610.02413.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.behaviours.fairness import _groups
from whatelse.errors import NotMeasurableError
from whatelse.evidence import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, OVER = 1, "difference of recalls", "lower", {"predicts", "groups"}, "test example"


@dataclass(frozen=True)
class Config:
    """Settings of the recall gap."""

    group: str = param("", "Name of the grouping; empty takes the first one of the task.")
    least: int = param(30, "Test examples below which a group is left out.", low=1)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Tensor:
    """Return whether each test example is right, its group code (-1 if left out) and its target, ``(N, 3)``.

    Args:
        evidence: Gives the predictions and the groups.
        config: Which grouping.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: The task has no such grouping, fewer than two groups are large enough, or no class
            stands in two groups.
    """
    del rng
    code = _groups.codes(evidence, config.group, config.least, atleast=2)
    targets = evidence.split("test").targets
    if not any(len(set(code[(targets == c) & (code >= 0)].tolist())) > 1 for c in range(evidence.task.classes)):
        raise NotMeasurableError("needs a class that stands in two groups; here each class has one")
    evidence.note("an unsigned gap is above zero without any bias: read its change, not its level")
    return torch.stack([evidence.predictions("test") == targets, code, targets], 1).float()


def summarise(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the recall gap, averaged over classes, of every resample, ``(draws,)``.

    Args:
        values: What `measure` returned, ``(N, 3)``.
        counts: How often each example stands in each resample, ``(draws, N)``.
    """
    correct, code, target = values.T
    classes, groups = _groups.members(target), _groups.members(code)
    cells = (classes[:, :, None] * groups[:, None, :]).reshape(len(values), -1)
    recall = _groups.rates(correct, cells, counts).reshape(len(counts), classes.shape[1], groups.shape[1])
    gaps = np.fmax.reduce(recall, axis=2) - np.fmin.reduce(recall, axis=2)
    shared = np.isfinite(recall).sum(2) > 1
    mean: np.ndarray = np.where(shared, gaps, 0).sum(1) / np.maximum(shared.sum(1), 1)
    return mean
