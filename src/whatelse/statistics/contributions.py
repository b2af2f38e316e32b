"""What each example adds to a summary that is a mean, found by asking the summary itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from whatelse.statistics import resample

# More examples are not asked one by one: of so many, the resampled interval is as good.
_MOST = 2_000


def contributions(
    values: np.ndarray, summarise: Callable[[np.ndarray, np.ndarray], np.ndarray], tried: np.ndarray
) -> np.ndarray | None:
    """Return what each example adds to a summary that is the mean over examples, ``(N,)``; None of any other summary.

    Of values in one column these are the values. Of several columns the summary is asked of each example alone. Both
    are believed only if their means are the summaries of the resamples that are tried.

    Args:
        values: ``(N,)`` or ``(N, k)``.
        summarise: From values and counts ``(draws, N)`` to one number for each resample, ``(draws,)``.
        tried: Counts of a few resamples, ``(draws, N)``.
    """
    n = len(values)
    if values.ndim == 1:
        each = np.asarray(values, np.float64)
    elif n > _MOST:
        return None
    else:
        each = np.concatenate([summarise(values, np.eye(n)[some]) for some in resample.blocks(n, n)])
    if not np.isfinite(each).all():
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        asked, mean = summarise(values, tried), tried @ each / tried.sum(1)
    return each if np.allclose(asked, mean, rtol=1e-6, atol=1e-9) else None
