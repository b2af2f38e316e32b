"""Excess error: error rate under natural shift minus the error rate on the test split as it is.

Shifts are those of `shift`. Corrupted examples are the test examples themselves, so each carries both outcomes; those
of a shifted split are others, and the two error rates are each taken over their own. The paired change of the excess
error against the uncompressed model is the difference in excess error of the source: what compression costs under
shift beyond what it costs without.

Reading:
    0 is a model that the shift does not hurt; .1 is one that makes ten more errors in a hundred examples under it.
    Its rise by compression, at equal accuracy, is harm that the test split does not show. The parts are the severities.

Cost:
    As `shift`, and the shared pass over test.

Limits:
    Those of `shift`. A model that is wrong everywhere has no excess: read it beside accuracy.

Source:
    Liebenwein et al., Lost in pruning: the effects of pruning neural networks beyond test accuracy, MLSys 2021,
    arXiv:2103.03014.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer, Parts
from whatelse.behaviours.generalization import _corruptions
from whatelse.evidence.cache import Evidence
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    3,
    "difference of error rates",
    "lower",
    {"predicts"},
    "example",
    "severity",
)
WORST, BLIND = 1.0, None
_WRONG = "wrong, "


@dataclass(frozen=True)
class Config:
    """Settings of the excess error."""

    kind: str = param(
        "noise", "The user's shifted split, one corruption, or every one in turn.", choices=_corruptions.CHOICES
    )
    severity: int = param(0, "Severity of a corruption; 0 is the mean over all five.", low=0, high=_corruptions.LEVELS)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return where each example counts and whether it is wrong there.

    ``of test``: 1 if it is of the test split as it is; ``wrong``: whether it is wrong there. ``of shift``: 1 if it is
    of the shifted examples; ``wrong, severity 1`` and so on: whether it is wrong at each severity. Of a shifted split
    the rows are those of test, then its own.

    Args:
        evidence: Gives the answers.
        config: Which shift, and how strong.
        rng: Source of the corruptions; the same for every model that is to be compared.

    Raises:
        NotMeasurableError: The task has no shifted split, or its inputs have no such corruption.
    """
    shifted = {n: 1 - c for n, c in _corruptions.correct(evidence, config.kind, config.severity, rng).items()}
    plain = (evidence.predictions("test") != evidence.split("test").targets).float()
    # What is wrong already cannot get wrong by the shift.
    ends, of_test, of_shift = {"worst": 1 - float(plain.mean())}, torch.ones_like(plain), torch.ones_like(plain)
    if config.kind == _corruptions.SHIFTED:
        ours, theirs = torch.zeros_like(plain), torch.zeros_like(shifted[_corruptions.SHIFTED])
        of_test, plain = torch.cat([of_test, theirs]), torch.cat([plain, theirs])
        of_shift = torch.cat([ours, torch.ones_like(theirs)])
        shifted = {n: torch.cat([ours, c]) for n, c in shifted.items()}
    columns = {"of test": of_test, "wrong": plain, "of shift": of_shift}
    return Answer(columns | {_WRONG + n: c for n, c in shifted.items()}, parts=Parts(tuple(shifted)), ends=ends)


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the excess error, averaged over severities, of every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    mean: np.ndarray = by_part(answer, config, weights).mean(1)
    return mean


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the excess error at each severity in every resample, ``(draws, severities)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    here, there = answer["of test"], answer["of shift"]
    wrong = answer.table(*(_WRONG + name for name in answer.parts.names))
    nominal = weights @ (answer["wrong"] * here) / (weights @ here)
    shifted = weights @ (wrong * there[:, None]) / (weights @ there)[:, None]
    excess: np.ndarray = shifted - nominal[:, None]
    return excess


def effort(config: Config, task: Task) -> int:
    """Return how many passes it costs beyond the shared ones, of one example forward or backward, at the most.

    Args:
        config: Which shift, and how many severities.
        task: Gives the examples, and the kinds of corruption of its inputs.
    """
    return _corruptions.effort(config.kind, config.severity, task)
