"""Expected calibration error in 15 equal-width bins: biased upwards, printed because everybody asks.

``sum_bins n / N * |s - y|`` with ``n`` of all ``N`` examples in the bin, mean confidence ``s`` and accuracy ``y``.
A perfectly calibrated model scores about .02 on 1,000 examples and .05 on 200: compare changes, never levels, and
prefer `calibration`. A confidence of exactly 1 belongs to the last bin.

Source:
    Naeini, Cooper & Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015; Guo et
    al., On calibration of modern neural networks, ICML 2017, arXiv:1706.04599.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.behaviours.generalization import _confidence
from whatelse.evidence import Evidence

VERSION, UNIT, BETTER, NEEDS, OVER = 1, "calibration error", "lower", {"predicts"}, "test example"


@dataclass(frozen=True)
class Config:
    """The expected calibration error has no settings."""


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Tensor:
    """Return confidence in the predicted class and whether it is the true one, ``(N, 2)``.

    Args:
        evidence: Gives the logits.
        config: Not used.
        rng: Not used; the behaviour is deterministic.
    """
    del config, rng
    return _confidence.observe(evidence)


def summarise(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the expected calibration error of every resample, ``(draws,)``.

    Args:
        values: What `measure` returned, ``(N, 2)``.
        counts: How often each example stands in each resample, ``(draws, N)``.
    """
    confidence, correct = values[:, 0].astype(np.float64), values[:, 1]
    bins = _confidence.membership(confidence)
    excess = counts @ (bins * (confidence - correct)[:, None])
    total: np.ndarray = np.abs(excess).sum(1) / counts.sum(1)
    return total
