"""How far apart the groups' recalls lie, class by class: the true-positive half of equalized odds.

For each class ``c``, one against the rest, ``gap(c) = max_g recall(c, g) - min_g recall(c, g)``; the mean over
classes is returned. A class that stands in fewer than two groups of a resample is left out of the mean. The parts are
the gaps of the classes. `equalized_odds` adds the false-positive half.

Reading:
    Recalls of few examples spread by chance alone, so the level is far above zero without any bias: only its paired
    change means something, never its distance from zero. 0: every group's examples of a class are found equally often.

Cost:
    None of its own: it reads the shared forward pass over test.

Limits:
    Where few examples of a class stand in a group, chance decides the largest and the smallest recall. A model that
    collapses to one class has a gap of zero: read it beside accuracy.

Source:
    Hardt, Price & Srebro, Equality of opportunity in supervised learning, NeurIPS 2016, arXiv:1610.02413.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer, Parts
from whatelse.behaviours import _scale
from whatelse.behaviours.fairness import _groups
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    4,
    "difference of recalls",
    "lower",
    {"predicts", "groups"},
    "test example",
    "class",
)
WORST, BLIND = 1.0, None


@dataclass(frozen=True)
class Config:
    """Settings of the recall gap."""

    group: str = param("", _groups.HELP)
    least: int = param(30, "Test examples below which a group is left out.", low=1)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return whether each test example is ``correct``, its ``group`` (-1: left out) and its ``class``.

    Args:
        evidence: Gives the predictions and the groups.
        config: Which grouping.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: The task has no such grouping, fewer than two groups are large enough, or no class
            stands in two groups.
    """
    del rng
    found = _groups.grouping(evidence, config.group, config.least, atleast=2)
    code = found.kept()
    targets = evidence.split("test").targets
    pairs = torch.unique(torch.stack([targets, code], 1)[code >= 0], dim=0)
    if int(pairs[:, 0].bincount().max()) < 2:
        raise NotMeasurableError("needs a class that stands in two groups; here each class has one")
    correct, flat = evidence.predictions("test") == targets, _scale.of_constant(evidence, 0.0)
    return Answer(
        {"correct": correct.float(), "group": code.float(), "class": targets.float()},
        parts=Parts(tuple(f"class {c}" for c in torch.unique(targets).tolist())),
        notes=(*found.notes, _groups.BIASED, *flat.notes),
        doubts=flat.doubts,
        ends=flat.ends,
    )


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the recall gap, averaged over classes, of every resample, ``(draws,)``; NaN where no class has one.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    return _groups.mean(by_part(answer, config, weights))


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the recall gap of every class in every resample, ``(draws, classes)``; NaN where no two groups share it.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    correct, code, target = (answer[name] for name in ("correct", "group", "class"))
    # An error is a prediction of no class: recall asks no more.
    said = np.where(correct > 0, target, _groups.LEFT_OUT)
    return _groups.gap(_groups.table(said, target, code, weights).recall())
