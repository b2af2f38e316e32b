"""Confidence beside correctness, and their sums in equal-width bins: what the calibration errors share."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from whatelse.evidence import Evidence

BINS = 15


def observe(evidence: Evidence) -> Tensor:
    """Return confidence in the predicted class and whether it is the true one, ``(N, 2)``.

    Args:
        evidence: Gives the logits of the test split.
    """
    confidence, predicted = evidence.logits("test").softmax(1).max(1)
    correct = predicted == evidence.split("test").targets
    return torch.stack([confidence.clamp(max=1), correct.to(confidence)], 1)


def membership(confidence: np.ndarray) -> np.ndarray:
    """Return which of the equal-width bins each confidence falls into, one-hot ``(N, BINS)``.

    Bins are closed below; a confidence of exactly 1 belongs to the last one.

    Args:
        confidence: In [0, 1], ``(N,)``.
    """
    bins = np.minimum((confidence.astype(np.float64) * BINS).astype(np.int64), BINS - 1)
    one_hot: np.ndarray = np.eye(BINS)[bins]
    return one_hot
