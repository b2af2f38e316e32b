"""Weighted summaries that behaviours share: each of all resamples at once, from counts."""

from __future__ import annotations

import numpy as np

# Counts are whole numbers, shares of their sum are not exact: what lies closer is the same.
_NEAR = 1e-6


def mean(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the mean of every resample, ``(draws,)``; NaN where a resample is empty.

    Args:
        values: One value for each example, ``(N,)``.
        counts: How often each example stands in each resample, ``(draws, N)``.
    """
    return _over(counts @ values, counts.sum(1))


def quantile(values: np.ndarray, counts: np.ndarray, q: float) -> np.ndarray:
    """Return a quantile of every resample, ``(draws,)``; NaN where a resample is empty.

    The definition is numpy's ``averaged_inverted_cdf``: the mean of two neighbors where the share falls between them.

    Args:
        values: One value for each example, ``(N,)``.
        counts: How often each example stands in each resample, ``(draws, N)``.
        q: Share of the examples that lie below, within [0, 1].

    Raises:
        ValueError: The share is outside [0, 1].
    """
    if not 0 <= q <= 1:
        raise ValueError(f"q={q} is outside [0, 1]")
    order = np.argsort(values)
    upto = counts[:, order].cumsum(1, dtype=np.float64)
    target = q * upto[:, -1:]
    low = (upto < np.maximum(target - _NEAR, _NEAR)).sum(1)
    high = (upto <= target + _NEAR).sum(1)
    high = np.where((high < len(values)) & (target[:, 0] > 0), high, low)
    ordered = np.append(values[order], np.nan)
    middle: np.ndarray = (ordered[low] + ordered[high]) / 2
    return middle


def median(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the median of every resample, ``(draws,)``; NaN where a resample is empty.

    Args:
        values: One value for each example, ``(N,)``.
        counts: How often each example stands in each resample, ``(draws, N)``.
    """
    return quantile(values, counts, 0.5)


def auc(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve of every resample, ``(draws,)``; NaN where a side is empty.

    It is the share of pairs of a member and a non-member in which the member has the higher score; a tie is half a
    pair (the Mann-Whitney statistic, weighted).

    Args:
        values: Score, and 1 for a member or 0 for a non-member, ``(N, 2)``.
        counts: How often each example stands in each resample, ``(draws, N)``.
    """
    (inside, mine), (outside, theirs) = _sides(values, counts)
    upto = _from_zero(theirs)
    below, up_to_equal = (np.searchsorted(outside, inside, side=s) for s in ("left", "right"))
    won = mine * (upto[:, below] + upto[:, up_to_equal]) / 2
    return _over(won.sum(1), mine.sum(1) * upto[:, -1])


def true_positive_rate(values: np.ndarray, counts: np.ndarray, at: float = 0.01) -> np.ndarray:
    """Return the share of members found at a bounded false positive rate, ``(draws,)``; NaN where a side is empty.

    The threshold is the most favorable one of those whose false positive rate is at most ``at``; nothing is
    interpolated, so that the rate is one which an attacker can have.

    Args:
        values: Score, and 1 for a member or 0 for a non-member, ``(N, 2)``.
        counts: How often each example stands in each resample, ``(draws, N)``.
        at: Largest allowed false positive rate, within [0, 1).

    Raises:
        ValueError: The rate is outside [0, 1).
    """
    if not 0 <= at < 1:
        raise ValueError(f"at={at} is outside [0, 1)")
    (inside, mine), (outside, theirs) = _sides(values, counts)
    if not len(outside):
        return np.full(len(counts), np.nan)
    alarms = theirs[:, ::-1].cumsum(1)
    # The first non-member from the top who may not be accused any more; a threshold lies above its score.
    spared = (alarms <= at * alarms[:, -1:] + _NEAR).sum(1)
    above = np.searchsorted(inside, outside[::-1], side="right")
    upto = _from_zero(mine)
    place = above[np.minimum(spared, len(outside) - 1)]
    found = upto[:, -1] - np.take_along_axis(upto, place[:, None], 1)[:, 0]
    return _over(found, np.where(alarms[:, -1] > 0, upto[:, -1], 0))


def _sides(values: np.ndarray, counts: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Return the ascending scores of members and their counts, then those of non-members."""
    score, member = values[:, 0], values[:, 1] > 0.5
    order = np.argsort(score)
    sides = (order[member[order]], order[~member[order]])
    return tuple((score[side], counts[:, side].astype(np.float64)) for side in sides)


def _from_zero(counts: np.ndarray) -> np.ndarray:
    upto = np.zeros((counts.shape[0], counts.shape[1] + 1))
    np.cumsum(counts, axis=1, out=upto[:, 1:])
    return upto


def _over(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)
