"""Corrections for asking many questions at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p: Sequence[float] | np.ndarray, weights: Sequence[float] | np.ndarray | None = None) -> np.ndarray:
    """Return p values adjusted so that the chance of any false alarm in the family is bounded, ``(m,)``.

    NaN, a question that could not be asked, stays NaN and does not count (Holm, Scandinavian Journal of Statistics
    6:65-70, 1979; with weights its section 4: a question gets a share of the level in proportion to its own).

    Args:
        p: The family's p values, in any order.
        weights: Of each question, above 0; alike where there are none.

    Raises:
        ValueError: A p value is outside [0, 1], or weights do not fit.
    """
    shares = np.ones(len(p)) if weights is None else np.asarray(weights, np.float64)
    if len(shares) != len(p) or not (shares > 0).all():
        raise ValueError(f"weights={shares}; one above 0 for each of {len(p)} p values is needed")
    asked, _, out = _asked(p)
    order = np.argsort(asked / shares)[: int(np.isfinite(asked).sum())]
    left = shares[order][::-1].cumsum()[::-1]
    steps = asked[order] / shares[order] * left
    return _put(out, order, np.maximum.accumulate(steps))


def benjamini_hochberg(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return p values adjusted so that the expected share of false alarms among all alarms is bounded, ``(m,)``.

    NaN, a question that could not be asked, stays NaN and does not count (Benjamini and Hochberg, Journal of the Royal
    Statistical Society B 57:289-300, 1995).

    Args:
        p: The family's p values, in any order.

    Raises:
        ValueError: A p value is outside [0, 1].
    """
    asked, order, out = _asked(p)
    steps = asked[order] * len(order) / np.arange(1, len(order) + 1)
    return _put(out, order, np.minimum.accumulate(steps[::-1])[::-1])


def _asked(p: Sequence[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the p values, the places of those that are numbers in ascending order, and an array to fill.

    Raises:
        ValueError: A p value is outside [0, 1].
    """
    values = np.asarray(p, np.float64)
    wrong = values[(values < 0) | (values > 1)]
    if len(wrong):
        raise ValueError(f"p={wrong[0]} is outside [0, 1]")
    order = np.argsort(values)[: int(np.isfinite(values).sum())]
    return values, order, np.full(len(values), np.nan)


def _put(out: np.ndarray, order: np.ndarray, steps: np.ndarray) -> np.ndarray:
    out[order] = np.minimum(steps, 1)
    return out
