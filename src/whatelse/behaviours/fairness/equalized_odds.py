"""How far apart the groups' true-positive or false-positive rates lie, whichever is farther: equalized odds.

For a class ``c``, one against the rest, ``gap(c) = max(max_g tpr(c, g) - min_g tpr(c, g), max_g fpr(c, g) - min_g
fpr(c, g))``. Of two classes it is the gap of class 1; of more, the mean over the classes that occur among the test
targets; with ``of`` the gap of that class. A rate that is not defined, of a group without examples of the class or
with no others, is left out. A resample that lacks one of the two gaps of a class that the sample has is not judged by
the other: the class has no gap there. The parts are the gaps of the classes. `odds` is the true-positive half alone.

Reading:
    0: given the truth, every group is predicted alike. The unsigned gap is far above zero by chance alone, being a
    maximum of maxima: only its paired change means something, never its distance from zero. `group` with ``rate =
    "tpr"`` or ``"fpr"`` gives the signed change of each group.

Cost:
    None of its own: it reads the shared forward pass over test.

Limits:
    The rarest class of the smallest group decides. A model that collapses to one class has no gap: the number falls
    while everybody is served worse. Read it beside accuracy.

Source:
    Hardt, Price & Srebro, Equality of opportunity in supervised learning, NeurIPS 2016, arXiv:1610.02413; definition
    as ``equalized_odds_difference`` of Weerts et al., Fairlearn, JMLR 24, 2023, arXiv:2303.16626.
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
    3,
    "difference of rates",
    "lower",
    {"predicts", "groups"},
    "test example",
    "class",
)
WORST, BLIND = 1.0, None


@dataclass(frozen=True)
class Config:
    """Settings of the equalized-odds gap."""

    group: str = param("", _groups.HELP)
    least: int = param(30, "Test examples below which a group is left out.", low=1)
    of: int = param(-1, "Class that counts; -1 for class 1 of two, the mean over classes of more.", low=-1)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ``predicted`` class, ``truth`` (-1: does not count) and ``group`` (-1: left out) of each test example.

    Args:
        evidence: Gives the predictions and the groups.
        config: Which grouping and class.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: The task has no such grouping, fewer than two groups are large enough, no test example is
            of the class, or no rate is defined in two groups.
    """
    del rng
    found = _groups.grouping(evidence, config.group, config.least, atleast=2)
    said, targets, classes = _groups.counted(evidence, config.of)
    flat = _scale.of_constant(evidence, 0.0)
    answer = Answer(
        {"predicted": said.float(), "truth": targets.float(), "group": found.kept().float()},
        parts=Parts(tuple(f"class {c}" for c in classes)),
        notes=(*found.notes, _groups.BIASED, *flat.notes),
        doubts=flat.doubts,
        ends=flat.ends,
    )
    if np.isnan(by_part(answer, config, np.ones((1, len(answer))))).all():
        raise NotMeasurableError(
            f"needs a class that some but not all examples of two groups of {found.name} are of; here none is"
        )
    return answer


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the equalized-odds gap, averaged over classes, of every resample, ``(draws,)``; NaN where there is none.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    return _groups.mean(by_part(answer, config, weights))


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the gap of every class in every resample, ``(draws, classes)``.

    NaN where neither rate is known in two groups, or where one is that the resample lacks and the sample does not.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    said, target, code = (answer[name] for name in ("predicted", "truth", "group"))
    recall, alarms = _gaps(_groups.table(said, target, code, weights))
    whole = _gaps(_groups.table(said, target, code, np.ones((1, len(answer)))))
    lacks = [np.isfinite(known) & np.isnan(gap) for known, gap in zip(whole, (recall, alarms), strict=True)]
    farther: np.ndarray = np.where(lacks[0] | lacks[1], np.nan, np.fmax(recall, alarms))
    return farther


def _gaps(table: _groups.Table) -> tuple[np.ndarray, np.ndarray]:
    return _groups.gap(table.recall()), _groups.gap(table.alarms())
