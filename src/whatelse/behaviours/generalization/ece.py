"""Expected calibration error in 15 equal-width bins: biased upwards, printed because everybody asks.

``sum_bins n / N * |s - y|`` with ``n`` of all ``N`` examples in the bin, mean confidence ``s`` and accuracy ``y``.
A perfectly calibrated model scores about .02 on 1,000 examples and .05 on 200: compare changes, never levels, and
prefer `calibration`. A confidence of exactly 1 belongs to the last bin.

The parts are the accuracies in the bins, undefined where one is empty: before and after, the reliability diagram of
both models.

Reading:
    The mean distance between confidence and accuracy. In the parts, an accuracy below its bin's bounds is
    overconfidence, one above them is underconfidence. A scale of the scores, a temperature, moves it: that is what it
    is about.

Cost:
    The shared pass over test, nothing else.

Limits:
    Biased upwards, the more the fewer examples, and it jumps when a confidence crosses a border between bins.
    A model that always gives the share of the most frequent class has none: read it beside accuracy. Bins with few
    examples have an accuracy that says little.

Source:
    Naeini, Cooper & Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015; Guo et
    al., On calibration of modern neural networks, ICML 2017, arXiv:1706.04599.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer, Parts
from whatelse.behaviours.generalization import _confidence
from whatelse.evidence.cache import Evidence

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    2,
    "calibration error",
    "lower",
    {"predicts"},
    "test example",
    "confidence bin",
)
WORST, BLIND = 1.0, None


@dataclass(frozen=True)
class Config:
    """The expected calibration error has no settings."""


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ``confidence`` in the predicted class and ``correct``, whether it is the true one.

    Args:
        evidence: Gives the logits.
        config: Not used.
        rng: Not used; the behaviour is deterministic.
    """
    del config, rng
    bins = range(_confidence.BINS)
    names = [f"{k / len(bins):.2f} to {(k + 1) / len(bins):.2f}" for k in bins]
    return Answer(_confidence.observe(evidence), parts=Parts(tuple(names), unit="accuracy", better="neither"))


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the expected calibration error of every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    confidence, correct = answer["confidence"].astype(np.float64), answer["correct"]
    bins = _confidence.membership(confidence)
    excess = weights @ (bins * (confidence - correct)[:, None])
    total: np.ndarray = np.abs(excess).sum(1) / weights.sum(1)
    return total


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the accuracy in each bin of confidence in every resample, ``(draws, 15)``; NaN where a bin is empty.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    bins = _confidence.membership(answer["confidence"])
    size, rights = weights @ bins, weights @ (bins * answer.table("correct"))
    accuracy: np.ndarray = np.where(size > 0, rights / np.maximum(size, 1), np.nan)
    return accuracy
