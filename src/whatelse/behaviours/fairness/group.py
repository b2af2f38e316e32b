"""A rate of every group: accuracy, true positives, false positives, selection or signed miscalibration.

The parts are the rates of all groups of the grouping; the number is their plain mean over the groups with at least
``least`` test examples, each group counting alike. Rates, by ``rate``:

* ``accuracy``: share of the group that is classified correctly.
* ``tpr``, ``fpr``: share predicted as class ``c`` of those that are, and of those that are not, of class ``c``.
* ``selection``: share predicted as class ``of``.
* ``calibration``: mean confidence in the predicted class minus accuracy; above zero is overconfident.

``c`` is the class ``of``; without it class 1 of two, and of more classes the mean over those where the rate is defined
in the group. Groups smaller than ``least``, and the examples whose group is missing, are among the parts alone.

Reading:
    Read the parts: the signed paired change of each group, with an interval of its own and a p adjusted over the
    groups. The number alone says how a group is served on average. Higher is better for accuracy and true positives;
    the other rates have no better side of themselves: their verdict is *not trusted*, and only their parts are read.

Cost:
    None of its own: it reads the shared forward pass over test.

Limits:
    Groups of few examples have wide intervals, and the percentile bootstrap of a handful is too narrow. Averaged over
    classes, two groups may be averaged over different classes where one lacks some. Miscalibration of opposite sign
    within a group cancels. Where no group has ``least`` examples there is no number, only parts.

Source:
    Barocas, Hardt & Narayanan, Fairness and machine learning, MIT Press 2023; as ``MetricFrame`` of Weerts et al.,
    Fairlearn, JMLR 24, 2023, arXiv:2303.16626.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer, Doubt, Parts
from whatelse.behaviours.fairness import _groups
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    3,
    "rate",
    "higher",
    {"predicts", "groups"},
    "test example",
    "group",
)
WORST, BLIND = 0.0, None
NUMBER = "mean of parts"  # so that its bounds join those of the groups, where the rates are of one class

# Rates of predicted and true class; the others are means of an outcome.
_OF_CLASSES = ("tpr", "fpr")
_SIDED = ("accuracy", "tpr")


@dataclass(frozen=True)
class Config:
    """Settings of the table by group."""

    group: str = param("", _groups.HELP)
    rate: str = param(
        "accuracy", "Which rate of a group.", choices=("accuracy", "tpr", "fpr", "selection", "calibration")
    )
    of: int = param(-1, "Class that tpr, fpr and selection are of; -1 for class 1 of two, else all classes.", low=-1)
    least: int = param(30, "Test examples below which a group is left out of the mean.", low=1)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return for each test example what its rate is made of, and its group.

    The ``outcome`` that is averaged; of true and of false positives the ``predicted`` class and the ``truth`` (-1: does
    not count). Then its part, such as ``group sex``, and the same with -1 where it is left out of the mean, ``large
    group sex``.

    Args:
        evidence: Gives the predictions, confidences and the groups.
        config: Which grouping, rate and class.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: The task has no such grouping, no test example is of the class, or the selection of no
            class in particular is asked for.
    """
    del rng
    found = _groups.parting(evidence, config.group, config.least)
    columns, sided = _outcomes(evidence, config) | found.columns(), config.rate in _SIDED
    unsided = Doubt(f"rate {config.rate} is not better where it is higher: read the change of each group")
    return Answer(
        columns,
        parts=Parts(found.names(), better="higher" if sided else "neither"),
        notes=found.notes,
        doubts=() if sided else (unsided,),
        ends={} if sided else {"worst": None},
    )


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean rate over the groups that are large enough in every resample, ``(draws,)``.

    NaN where none of them has the rate, such as true positives of a class that the resample lacks.

    Args:
        answer: What `measure` returned.
        config: Which rate.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    large = np.isin(np.unique(_groups.codes(answer, large=False)[0]), _groups.codes(answer, large=True)[0])
    return _groups.mean(by_part(answer, config, weights)[:, large])


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the rate of every group in every resample, ``(draws, groups)``; NaN where it is not defined.

    Args:
        answer: What `measure` returned.
        config: Which rate.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    (code,) = _groups.codes(answer, large=False)
    if config.rate not in _OF_CLASSES:
        return _groups.rates(answer["outcome"], code, weights)
    table = _groups.table(answer["predicted"], answer["truth"], code, weights)
    rate = table.recall() if config.rate == "tpr" else table.alarms()
    return _groups.mean(rate, axis=1)


def outcomes(answer: Answer, config: Config) -> np.ndarray:
    """Return the outcome of each example and the group whose rate it is part of, ``(N, 3)``.

    A rate of one class is the mean outcome of those that are of it, or are not; NaN where it is a mean over classes.

    Args:
        answer: What `measure` returned.
        config: Which rate.
    """
    if config.rate not in _OF_CLASSES:
        return answer.table()
    truth, (code,), (large,) = answer["truth"], _groups.codes(answer, large=False), _groups.codes(answer, large=True)
    if truth.max() > 0:
        return np.stack([np.full(len(truth), np.nan), code, large], 1)
    asked = (truth == 0) if config.rate == "tpr" else (truth < 0)
    none = np.full(len(truth), _groups.LEFT_OUT)
    return np.stack([answer["predicted"] == 0, np.where(asked, code, none), np.where(asked, large, none)], 1)


def _outcomes(evidence: Evidence, config: Config) -> dict[str, Tensor]:
    if config.rate in {"accuracy", "calibration"}:
        right = (evidence.predictions("test") == evidence.split("test").targets).float()
        if config.rate == "accuracy":
            return {"outcome": right}
        return {"outcome": evidence.logits("test").softmax(1).amax(1) - right}
    said, targets, classes = _groups.counted(evidence, config.of)
    if config.rate in _OF_CLASSES:
        return {"predicted": said.float(), "truth": targets.float()}
    if len(classes) > 1:
        raise NotMeasurableError(
            "needs the class whose selection is asked for, such as of=0: over all classes every mean is the same"
        )
    return {"outcome": (said >= 0).float()}
