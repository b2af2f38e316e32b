"""Brier score: squared distance of the predicted probabilities from the truth, a proper score that stays bounded.

``score[i] = sum over classes k of (p[i, k] - 1[k == targets[i]])**2`` with ``p = softmax(logits)``: 0 where the true
class has all the probability, 2 where a wrong one has. With two classes it is twice the square of one probability's
error; it is not halved.

Reading:
    Beside accuracy: it also moves with how sure the model is. Unlike the likelihood one confident mistake costs 2 at
    most, so that a change is not the work of a handful of examples. A scale of the scores, a temperature, moves it:
    that is what it is about.

Cost:
    The shared pass over test, nothing else.

Limits:
    It mixes how well calibrated and how decisive a model is; `calibration` and `risk_coverage` look at one each. Small
    probabilities hardly count: a class that is never predicted can be wrong without being noticed.

Source:
    Brier, Verification of forecasts expressed in terms of probability, Monthly Weather Review 78, 1950; Gneiting &
    Raftery, Strictly proper scoring rules, prediction, and estimation, JASA 2007, doi:10.1198/016214506000001437.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from whatelse.answer import Answer
from whatelse.evidence.cache import Evidence

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = 1, "Brier score", "lower", {"predicts"}, "test example"
WORST, BLIND = 2.0, None


@dataclass(frozen=True)
class Config:
    """The Brier score has no settings."""


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ``score``: the Brier score of each test example, in [0, 2].

    Args:
        evidence: Gives the logits.
        config: Not used.
        rng: Not used; the behaviour is deterministic.
    """
    del config, rng
    logits = evidence.logits("test")
    truth = functional.one_hot(evidence.split("test").targets, logits.shape[1])
    return Answer({"score": (logits.softmax(1) - truth).square().sum(1)})


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean Brier score of every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    mean: np.ndarray = weights @ answer["score"] / weights.sum(1)
    return mean
