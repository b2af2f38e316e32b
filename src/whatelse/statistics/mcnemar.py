"""Two classifiers on the same examples: tests and an interval for the difference of their proportions."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import bdtr, betaincinv, ndtri


def midp(b: int, c: int) -> float:
    """Return the two-sided mid-p value of McNemar's test.

    It counts only half of the probability of the observed table, and is thereby closer to its level than the exact
    test (Fagerland, Lydersen and Laake, BMC Medical Research Methodology 13:91, 2013).

    Args:
        b: Number of examples that only the candidate gets right.
        c: Number of examples that only the baseline gets right.

    Raises:
        ValueError: A number is negative.
    """
    few, n = _fewer(b, c)
    return min(1.0, float(bdtr(few, n, 0.5) + (bdtr(few - 1, n, 0.5) if few else 0.0)))


def exact(b: int, c: int) -> float:
    """Return the two-sided exact p value of McNemar's test: a sign test on the examples that changed.

    Args:
        b: Number of examples that only the candidate gets right.
        c: Number of examples that only the baseline gets right.

    Raises:
        ValueError: A number is negative.
    """
    few, n = _fewer(b, c)
    return min(1.0, float(2 * bdtr(few, n, 0.5)))


def interval(b: int, c: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return Tango's score interval for the difference of proportions, candidate minus baseline.

    It keeps its level where few or no examples changed, where Wald and bootstrap intervals collapse (Tango, Statistics
    in Medicine 17:891-908, 1998).

    Args:
        b: Number of examples that only the candidate gets right.
        c: Number of examples that only the baseline gets right.
        n: Number of all examples.
        level: Coverage, within (0, 1).

    Raises:
        ValueError: A number is negative, n is less than b + c or 0, or the level is outside (0, 1).
    """
    _fewer(b, c)
    if n < max(1, b + c):
        raise ValueError(f"n={n} is less than b + c = {b + c}, or no example at all")
    if not 0 < level < 1:
        raise ValueError(f"level={level} is outside (0, 1)")
    from scipy.optimize import brentq  # takes long to import: not for a listing or a finished study

    z, point = float(ndtri((1 + level) / 2)), (b - c) / n

    def excess(delta: float, side: float) -> float:
        return _score(b, c, n, delta) - side * z

    low = -1.0 if point == -1 else brentq(excess, -1 + 1e-12, point, args=(1.0,), xtol=1e-12)
    high = 1.0 if point == 1 else brentq(excess, point, 1 - 1e-12, args=(-1.0,), xtol=1e-12)
    return float(low), float(high)


def bounds(b: int, c: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return an interval for the difference of proportions that keeps its level on either side where counts are small.

    It does for differences of up to a few points, where budgets and margins lie, in every case that was enumerated.
    Where nearly all examples change one way, the far bound of a stricter level may miss the truth by a thousandth
    more often than it says. `reach` says how. Score intervals keep their level on average over truths, and may err on
    one side half as often again, which a bound that lets a model pass must not. Where nothing changed it is the rule
    of three.

    Args:
        b: Number of examples that only the candidate gets right.
        c: Number of examples that only the baseline gets right.
        n: Number of all examples.
        level: Coverage, within (0, 1); half of the rest is left to either side.

    Raises:
        ValueError: A number is negative, n is less than b + c or 0, or the level is outside (0, 1).
    """
    _fewer(b, c)
    if n < max(1, b + c):
        raise ValueError(f"n={n} is less than b + c = {b + c}, or no example at all")
    if not 0 < level < 1:
        raise ValueError(f"level={level} is outside (0, 1)")
    below, above = reach(np.array([b]), np.array([c]), np.array([n]), (1 - level) / 2)
    return max(-1.0, (b - c) / n - float(below[0])), min(1.0, (b - c) / n + float(above[0]))


def reach(
    gained: np.ndarray, lost: np.ndarray, n: np.ndarray, level: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return how far below and above each difference of proportions its bounds lie, two arrays of the shape of ``n``.

    Clopper and Pearson's exact limits of both shares, joined as the limits of a difference of correlated shares (Zou
    and Donner, Statistics in Medicine 27:1693-1702, 2008). An example cannot be gained and lost at once, which makes
    the shares move against each other; how much is taken at the limits, where the truth would have to lie for the
    bound to err, not at the estimates: taken for independent, bounds of models that disagree on every example err
    many times as often as they say.

    Args:
        gained: Numbers of examples that only the candidate gets right; not whole numbers are meant, too.
        lost: Numbers of examples that only the baseline gets right.
        n: Numbers of all examples, at least 1 each.
        level: One-sided: the truth lies beyond a bound with at most this chance.
    """
    (low_b, high_b), (low_c, high_c) = (_clopper_pearson(k, n, level) for k in (gained, lost))
    up, down = gained / n, lost / n
    return _joined(up - low_b, high_c - down, low_b, high_c), _joined(high_b - up, down - low_c, high_b, low_c)


def _joined(one: np.ndarray, other: np.ndarray, share: np.ndarray, against: np.ndarray) -> np.ndarray:
    """Return how far a difference reaches whose two shares reach so far, and lie there at its bound."""
    odds = share * against
    rest = (1 - share) * (1 - against)
    # Shares of one whole: from where they fill it on, what one gains the other loses.
    against_each_other = np.sqrt(np.where(odds < rest, odds / np.where(rest > 0, rest, 1), 1))
    return np.asarray(np.sqrt(one * one + other * other + 2 * against_each_other * one * other))


def _clopper_pearson(k: np.ndarray, n: np.ndarray, alpha: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    inside, below = k > 0, k < n
    low = np.where(inside, betaincinv(np.where(inside, k, 1), n - k + 1, alpha), 0.0)
    high = np.where(below, betaincinv(k + 1, np.where(below, n - k, 1), 1 - np.asarray(alpha)), 1.0)
    return low, high


def _fewer(b: int, c: int) -> tuple[int, int]:
    if min(b, c) < 0:
        raise ValueError(f"b={b}, c={c}; numbers of examples cannot be negative")
    return min(b, c), b + c


def _score(b: int, c: int, n: int, delta: float) -> float:
    """Return how many standard errors the observed difference lies above ``delta``, were ``delta`` the truth."""
    linear = -b - c + (2 * n - b + c) * delta
    root = math.sqrt(max(0.0, linear * linear + 8 * n * c * delta * (1 - delta)))
    only_baseline = (root - linear) / (4 * n)
    variance = n * (2 * only_baseline + delta * (1 - delta))
    gap = b - c - n * delta
    return 0.0 if gap == 0 else gap / math.sqrt(max(variance, 1e-300))
