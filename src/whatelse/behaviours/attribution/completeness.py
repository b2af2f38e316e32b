"""How far integrated gradients fail to add up to the change of the margin that they should explain.

Of each example the attributions of the class that the baseline predicts, on the way from zero (or the bound next to
it) to the input in ``steps`` Gauss-Legendre points, sum to ``s``; the log-odds margin changes by ``c``. Summary:
``sum |s - c| / sum |c|`` over all examples, so that an example whose margin hardly changes cannot decide it alone.

Reading:
    A number of validity: exact integrals give 0. Above .05 the maps are those of too few steps, or of gradients that
    are not the model's own, as where rounding passes them straight through; items that use them then say *not
    trusted*. A candidate with a higher number has margins that bend more on the way.

Cost:
    ``steps`` passes forward and backward of ``examples`` inputs; the maps are kept and shared with this family where
    it asks for as many examples.

Limits:
    Necessary, not sufficient: maps that add up may still be wrong. It says nothing of the choice of the empty input.
    There is none for texts.

Source:
    Sundararajan et al., Axiomatic attribution for deep networks, ICML 2017, arXiv:1703.01365.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer
from whatelse.evidence.cache import Evidence
from whatelse.explainers import maps
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = (
    2,
    "relative error",
    "lower",
    {"predicts", "differentiates"},
    "test example",
)
WORST, BLIND = None, None


@dataclass(frozen=True)
class Config:
    """Settings of the completeness of integrated gradients."""

    steps: int = param(32, "Gradients along the path.", low=1, high=1000)
    examples: int = param(300, "Test examples, from the first; 0 takes all.", low=0)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return by how much the sum of each example misses the change of its margin, and that change, each ``(M,)``.

    They are called ``error`` and ``change``.

    Args:
        evidence: Gives gradients and answers.
        config: How many steps and examples.
        rng: Not used; the behaviour is deterministic.

    Raises:
        MissingExtraError: Captum is not installed.
        NotMeasurableError: The model does not differentiate, or inputs are texts.
    """
    del rng
    asked = maps.Asked("integrated gradients", config.steps, config.examples)
    error, change = maps.completeness(evidence, asked).float().unbind(1)
    return Answer({"error": error, "change": change})


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the error relative to the change in every resample, ``(draws,)``; NaN where no margin changes.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, M)``.
    """
    del config
    error, change = (weights @ answer.table("error", "change")).T
    return np.where(change > 0, error / np.where(change > 0, change, 1), np.nan)


def effort(config: Config, task: Task) -> int:
    """Return how many passes it costs beyond the shared ones, of one example forward or backward, at the most.

    Args:
        config: How many steps and examples.
        task: Gives the number of test examples.
    """
    return maps.effort(maps.Asked("integrated gradients", config.steps, config.examples), task)
