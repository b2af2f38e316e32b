"""Confidence beside correctness, and their sums in equal-width bins: what the calibration errors share."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from torch import Tensor

from whatelse.evidence.cache import Evidence

BINS = 15
# Claims whose bins are held at once, for every resample.
_CLAIMS = 16


def observe(evidence: Evidence) -> dict[str, Tensor]:
    """Return ``confidence`` in the predicted class and ``correct``, whether it is the true one, each ``(N,)``.

    Args:
        evidence: Gives the logits of the test split.
    """
    confidence, predicted = evidence.logits("test").softmax(1).max(1)
    correct = predicted == evidence.split("test").targets
    return {"confidence": confidence.clamp(max=1), "correct": correct.to(confidence)}


def membership(confidence: np.ndarray) -> np.ndarray:
    """Return which of the equal-width bins each confidence falls into, one-hot ``(N, BINS)``.

    Bins are closed below; a confidence of exactly 1 belongs to the last one.

    Args:
        confidence: In [0, 1], ``(N,)``.
    """
    bins = np.minimum((confidence.astype(np.float64) * BINS).astype(np.int64), BINS - 1)
    one_hot: np.ndarray = np.eye(BINS)[bins]
    return one_hot


def debiased(sure: np.ndarray, right: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the squared calibration error without its bias in every resample, ``(draws, claims)``: see `calibration`.

    Args:
        sure: Claimed probabilities, ``(N, claims)``.
        right: Whether what was claimed is so, 1 or 0, ``(N, claims)``.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    blocks = range(0, sure.shape[1], _CLAIMS)
    each = [_debiased(sure[:, k : k + _CLAIMS], right[:, k : k + _CLAIMS], weights) for k in blocks]
    errors: np.ndarray = np.concatenate(each, 1) / weights.sum(1, keepdims=True)
    return errors


def _debiased(sure: np.ndarray, right: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the debiased error times the number of examples, ``(draws, claims)``."""
    examples, claims = sure.shape
    bins = np.minimum((sure * BINS).astype(np.int64), BINS - 1) + BINS * np.arange(claims)

    def summed(each: np.ndarray, what: np.ndarray) -> np.ndarray:
        # Each example is in one bin a claim: a sparse product, where a dense one would be 15 times the work.
        starts = np.arange(0, bins.size + 1, claims)
        table = sparse.csr_array((each.ravel(), bins.ravel(), starts), shape=(examples, claims * BINS))
        found: np.ndarray = (what @ table).reshape(len(what), claims, BINS)
        return found

    whole = np.ones(sure.shape)
    size, rights, sures = (summed(each, weights) for each in (whole, right, sure))
    repeats = summed(whole, weights * weights)
    accuracy, claimed = rights / np.maximum(size, 1), sures / np.maximum(size, 1)
    pairs = size * size - repeats
    noise = accuracy * (1 - accuracy) * repeats / np.maximum(pairs, 1)
    error = np.where(pairs > 0, (claimed - accuracy) ** 2 - noise, 0)
    total: np.ndarray = (size * error).sum(2)
    return total
