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


def debiased(sure: np.ndarray, right: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the squared calibration error without its bias in every resample, ``(draws,)``: see `calibration`.

    Args:
        sure: Claimed probabilities, ``(N,)``.
        right: Whether what was claimed is so, 1 or 0, ``(N,)``.
        counts: How often each example stands in each resample, ``(draws, N)``.
    """
    bins = membership(sure)
    columns = np.concatenate([bins, bins * right[:, None], bins * sure[:, None]], 1)
    size, rights, sures = np.split(counts @ columns, 3, axis=1)
    repeats = (counts * counts) @ bins
    accuracy, claimed = rights / np.maximum(size, 1), sures / np.maximum(size, 1)
    pairs = size * size - repeats
    noise = accuracy * (1 - accuracy) * repeats / np.maximum(pairs, 1)
    error = np.where(pairs > 0, (claimed - accuracy) ** 2 - noise, 0)
    total: np.ndarray = (size * error).sum(1) / counts.sum(1)
    return total
