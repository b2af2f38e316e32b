"""Two classifiers on the same examples: tests and an interval for the difference of their proportions."""

from __future__ import annotations

import math

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

    Clopper and Pearson's exact limits of both shares, joined as the limits of a difference (Zou and Donner, Statistics
    in Medicine 27:1693-1702, 2008). Score intervals keep their level on average over truths, and may err on one side
    half as often again, which a bound that lets a model pass must not. Where nothing changed it is the rule of three.

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
    (low_b, high_b), (low_c, high_c) = (_clopper_pearson(k, n, (1 - level) / 2) for k in (b, c))
    gained, lost = b / n, c / n
    below = math.hypot(gained - low_b, high_c - lost)
    above = math.hypot(high_b - gained, lost - low_c)
    return max(-1.0, gained - lost - below), min(1.0, gained - lost + above)


def _clopper_pearson(k: int, n: int, alpha: float) -> tuple[float, float]:
    low = float(betaincinv(k, n - k + 1, alpha)) if k else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - alpha)) if k < n else 1.0
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
