"""Weighted summaries that behaviours share: each of all resamples at once, from counts."""

from __future__ import annotations

import numpy as np

from whatelse.statistics.asking import Counts
from whatelse.statistics.ranks import Ranked

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
    if isinstance(counts, Counts):
        return counts.each("quantile", lambda block: quantile(values, block.rows, q), values, q)
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
    if isinstance(counts, Counts):
        return counts.each("area and balance", Ranked(values).area_and_balance, values)[:, 0]
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
    if isinstance(counts, Counts):
        return counts.each("found at", Ranked(values).found_at(at), values, at)
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


def balanced_accuracy(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the mean of the shares of members and of non-members told right, at the best threshold, ``(draws,)``.

    The threshold is chosen on the same records, so that 0.5 is the least and chance lies a little above it. NaN where
    a side is empty.

    Args:
        values: Score, and 1 for a member or 0 for a non-member, ``(N, 2)``.
        counts: How often each record stands in each resample, ``(draws, N)``.
    """
    if isinstance(counts, Counts):
        return counts.each("area and balance", Ranked(values).area_and_balance, values)[:, 1]
    order = np.argsort(-values[:, 0], kind="stable")
    score, member = values[order, 0], values[order, 1] > 0.5
    # A threshold lies between different scores only.
    ends = np.append(score[1:] != score[:-1], True)
    gain = counts[:, order].astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        gain[:, member] /= gain[:, member].sum(1, keepdims=True)
        gain[:, ~member] /= -gain[:, ~member].sum(1, keepdims=True)
        np.cumsum(gain, axis=1, out=gain)
    best: np.ndarray = 0.5 + gain[:, ends].max(1).clip(0, 1) / 2
    return best


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
