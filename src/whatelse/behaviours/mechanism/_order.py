"""In which order effects stand: the rank correlation of many resamples at once."""

from __future__ import annotations

import numpy as np


def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the rank correlation of each row, ``(draws,)``: ties at average ranks, NaN where ``x`` is all equal.

    Effects of units that do nothing differ by rounding alone: to a millionth of the largest they are ties.

    Args:
        x: Effects, ``(draws, units)``.
        y: Likewise of the same units; where they are all equal the correlation is 0.
    """
    from scipy.stats import rankdata  # noqa: PLC0415 - takes a second: not for a listing or a finished study

    a, b = (rankdata(_rounded(effects), axis=1) - (x.shape[1] + 1) / 2 for effects in (x, y))
    xx, yy = (a * a).sum(1), (b * b).sum(1)
    r: np.ndarray = np.where(xx > 0, (a * b).sum(1) / np.sqrt(np.where((xx > 0) & (yy > 0), xx * yy, 1)), np.nan)
    return r


def _rounded(effects: np.ndarray) -> np.ndarray:
    step = 1e-6 * np.abs(effects).max(1, keepdims=True)
    rounded: np.ndarray = np.round(effects / np.where(step > 0, step, 1))
    return rounded
