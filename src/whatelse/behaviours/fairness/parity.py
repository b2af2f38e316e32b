"""How far apart the groups' selection rates lie: the demographic-parity gap.

``selection(c, g)`` is the share of group ``g`` that is predicted as class ``c``; ``gap(c) = max_g selection(c, g) -
min_g selection(c, g)``. Of two classes it is the gap of class 1; of more, the mean over the classes that occur among
the test targets, one against the rest; with ``of`` the gap of that class. The parts are the gaps of the classes.

Reading:
    0: every group is predicted as each class equally often, whatever the truth. An unsigned gap is above zero by chance
    alone: only its paired change means something, never its distance from zero. `group` with ``rate = "selection"``
    gives the signed change of each group.

Cost:
    None of its own: it reads the shared forward pass over test.

Limits:
    Where base rates differ between groups, a perfect model has a gap. A model that collapses to one class has none:
    the gap falls while everybody is served worse. Read it beside accuracy.

Source:
    Dwork et al., Fairness through awareness, ITCS 2012, arXiv:1104.3913; definition as
    ``demographic_parity_difference`` of Weerts et al., Fairlearn, JMLR 24, 2023, arXiv:2303.16626.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer, Parts
from whatelse.behaviours import _scale
from whatelse.behaviours.fairness import _groups
from whatelse.evidence.cache import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    3,
    "difference of selection rates",
    "lower",
    {"predicts", "groups"},
    "test example",
    "class",
)
WORST, BLIND = 1.0, None


@dataclass(frozen=True)
class Config:
    """Settings of the parity gap."""

    group: str = param("", _groups.HELP)
    least: int = param(30, "Test examples below which a group is left out.", low=1)
    of: int = param(-1, "Class whose selection counts; -1 for class 1 of two, the mean over classes of more.", low=-1)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ``predicted`` class, ``truth`` (-1: does not count) and ``group`` (-1: left out) of each test example.

    Args:
        evidence: Gives the predictions and the groups.
        config: Which grouping and class.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: The task has no such grouping, fewer than two groups are large enough, or no test example
            is of the class.
    """
    del rng
    found = _groups.grouping(evidence, config.group, config.least, atleast=2)
    said, targets, classes = _groups.counted(evidence, config.of)
    flat = _scale.of_constant(evidence, 0.0)
    return Answer(
        {"predicted": said.float(), "truth": targets.float(), "group": found.kept().float()},
        parts=Parts(tuple(f"class {c}" for c in classes)),
        notes=(*found.notes, _groups.BIASED, *flat.notes),
        doubts=flat.doubts,
        ends=flat.ends,
    )


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the parity gap, averaged over classes, of every resample, ``(draws,)``; NaN with a single group.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    return _groups.mean(by_part(answer, config, weights))


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the parity gap of every class in every resample, ``(draws, classes)``; NaN with a single group.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    said, target, code = (answer[name] for name in ("predicted", "truth", "group"))
    return _groups.gap(_groups.table(said, target, code, weights).selection())
