"""Negative log-likelihood of the true class, a proper score of the predicted probabilities.

``loss[i] = -log softmax(logits[i])[targets[i]]``, in nats; unlike accuracy it moves with every probability.

Reading:
    0 is certainty of every true class; ``log classes`` is what knowing nothing scores. A rise at equal accuracy is
    worse confidence: too sure of errors, or less sure of what is right. A scale of the scores, a temperature, moves it:
    that is what it is about.

Cost:
    The shared pass over test, nothing else.

Limits:
    Without an upper bound: a few confident errors can make most of the mean; `brier` is bounded. It mixes accuracy,
    calibration and order.

Source:
    Gneiting & Raftery, Strictly proper scoring rules, prediction, and estimation, JASA 2007,
    doi:10.1198/016214506000001437.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from whatelse.answer import Answer
from whatelse.evidence.cache import Evidence

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = 1, "nats", "lower", {"predicts"}, "test example"
WORST, BLIND = None, None


@dataclass(frozen=True)
class Config:
    """The likelihood has no settings."""


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ``loss``: the negative log-likelihood of the true class of each test example in nats.

    Args:
        evidence: Gives the logits.
        config: Not used.
        rng: Not used; the behaviour is deterministic.
    """
    del config, rng
    loss = functional.cross_entropy(evidence.logits("test"), evidence.split("test").targets, reduction="none")
    return Answer({"loss": loss})


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean negative log-likelihood of every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    mean: np.ndarray = weights @ answer["loss"] / weights.sum(1)
    return mean
