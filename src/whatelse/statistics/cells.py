"""Sums and means over cells of a table, such as groups or classes, in every resample at once."""

from __future__ import annotations

import numpy as np


def rates(outcome: np.ndarray, code: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the mean outcome of every group that occurs, by rising code, in every resample, ``(draws, groups)``.

    NaN where a resample has no example of a group.

    Args:
        outcome: ``(N,)``.
        code: Group of each example, ``(N,)``; those below zero belong to none.
        counts: How often each example stands in each resample, ``(draws, N)``.
    """
    known, cell = occurring(code)
    size, hits = sums(cell, known, counts, np.ones(len(code)), outcome)
    return ratio(hits, size)


def sums(cell: np.ndarray, cells: int, counts: np.ndarray, *weights: np.ndarray) -> list[np.ndarray]:
    """Return the sum of each weight over the examples of each cell in every resample, each ``(draws, cells)``.

    Args:
        cell: Cell of each example, ``(N,)``; those below zero belong to none.
        cells: How many cells there are.
        counts: How often each example stands in each resample, ``(draws, N)``.
        weights: Each ``(N,)``.
    """
    from scipy.sparse import csr_array  # noqa: PLC0415 - listing all items must stay light

    # Sparse, as a row has one cell of what may be hundreds.
    row = np.nonzero(cell >= 0)[0]
    column = cell[row].astype(np.int64)
    entries = np.concatenate([w[row] for w in weights])
    places = np.concatenate([column + i * cells for i in range(len(weights))])
    held = csr_array((entries, (np.tile(row, len(weights)), places)), shape=(len(cell), cells * len(weights)))
    return np.split(counts @ held, len(weights), axis=1)


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return ``part / whole``, NaN where the whole is nothing.

    Args:
        part: Any shape.
        whole: Of the same shape.
    """
    share: np.ndarray = np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)
    return share


def mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return the mean of what is known along an axis; NaN where nothing is.

    Args:
        values: With NaN for what is not known.
        axis: The axis.
    """
    known = np.isfinite(values)
    return ratio(np.where(known, values, 0).sum(axis), known.sum(axis))


def occurring(code: np.ndarray) -> tuple[int, np.ndarray]:
    """Return how many cells occur, and which of them each example is in, by rising code; -1 where in none, ``(N,)``.

    Args:
        code: Cell of each example, ``(N,)``; those below zero belong to none.
    """
    known = np.unique(code[code >= 0])
    return len(known), np.where(code >= 0, np.searchsorted(known, code), -1)
