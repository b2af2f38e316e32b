"""Accuracy under natural shift: on the user's shifted split, or on test inputs corrupted at five severities.

A test example, corrupted at a severity, has a 1 where it is classified correctly, else 0; with *every* it is the share
of the kinds under which it is. The number is the mean over examples and severities, the parts are the accuracies at the
severities. *shifted* asks the split of that name instead, as it is.

Images: *noise* adds a Gaussian of .04 to .26 of the range of the inputs; *blur* is a Gaussian of .4 to 1.5 pixels (of
32; wider in larger images); *contrast* draws pixels to their image's mean, down to .75 to .15 of the distance;
*brightness* adds .05 to .3 of the range; *dropout* gives .05 to .4 of the pixels the train mean. Tables: *noise* adds
.1 to 1 train standard deviations of each column; *dropout* gives .05 to .5 of the cells their column's train mean, as
if they were missing; *shuffle* gives them the value of another example. Texts: *noise* and *dropout* are the same, they
turn .05 to .5 of the tokens into padding. What leaves the task's bounds is clipped. Every model of a seed sees the same
corrupted inputs.

Reading:
    The accuracy to expect when the world has changed a little. A drop against the control that is larger than that of
    `accuracy` is robustness lost, not accuracy lost: `excess_error` is that difference.

Cost:
    One forward pass for each kind and severity: 5 by default; for *every* 25 on images, 15 on tables and 5 on texts.
    *shifted*: one pass over it.

Limits:
    Corruptions stand for a changed world, they are not one: a shifted split of one's own says more. Strengths are this
    project's own, of the sizes of CIFAR-10-C; accuracies do not compare with published benchmarks. Columns that are
    codes (one-hot) get noise too, which no real table has.

Source:
    Hendrycks & Dietterich, Benchmarking neural network robustness to common corruptions and perturbations, ICLR 2019,
    arXiv:1903.12261; under compression: Liebenwein et al., Lost in pruning, MLSys 2021, arXiv:2103.03014.
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

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = 2, "accuracy", "higher", {"predicts"}, "example", "severity"
WORST, BLIND = 0.0, None


@dataclass(frozen=True)
class Config:
    """Settings of the shift."""

    kind: str = param(
        "noise", "The user's shifted split, one corruption, or every one in turn.", choices=_corruptions.CHOICES
    )
    severity: int = param(0, "Severity of a corruption; 0 is the mean over all five.", low=0, high=_corruptions.LEVELS)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return whether each example is classified correctly at each severity: ``severity 1`` and so on, or ``shifted``.

    Args:
        evidence: Gives the answers.
        config: Which shift, and how strong.
        rng: Source of the corruptions; the same for every model that is to be compared.

    Raises:
        NotMeasurableError: The task has no shifted split, or its inputs have no such corruption.
    """
    columns = _corruptions.correct(evidence, config.kind, config.severity, rng)
    return Answer(columns, parts=Parts(tuple(columns)))


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the accuracy, averaged over severities, of every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    mean: np.ndarray = weights @ answer.table(*answer.parts.names).mean(1) / weights.sum(1)
    return mean


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the accuracy at each severity in every resample, ``(draws, severities)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    mean: np.ndarray = weights @ answer.table(*answer.parts.names) / weights.sum(1, keepdims=True)
    return mean


def effort(config: Config, task: Task) -> int:
    """Return how many passes it costs beyond the shared ones, of one example forward or backward, at the most.

    Args:
        config: Which shift, and how many severities.
        task: Gives the examples, and the kinds of corruption of its inputs.
    """
    return _corruptions.effort(config.kind, config.severity, task)
