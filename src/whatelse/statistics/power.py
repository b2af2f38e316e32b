"""What a measurement could have found, and how many examples would settle it."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtri

from whatelse.statistics import mcnemar

_LEVEL, _POWER = 0.05, 0.8
# More examples than anyone measures.
_MOST = 10**9


def detectable(se: float, *, level: float = _LEVEL, power: float = _POWER, reach: float | None = None) -> float:
    """Return the smallest true effect that a two-sided test finds with the given power, in the unit of ``se``.

    Args:
        se: Standard error of the effect.
        level: Level of the test, within (0, 1).
        power: Chance to find the effect, within (level, 1).
        reach: How far from the effect the bound lies that must not hold 0, at half the level; None takes the normal's.
            That of skewed differences, of exact counts and of few seeds lies further.

    Raises:
        ValueError: The level or the power is out of range, or the standard error is negative.
    """
    if not 0 < level < power < 1:
        raise ValueError(f"level={level}, power={power}; 0 < level < power < 1 is needed")
    if se < 0:
        raise ValueError(f"se={se} is negative")
    return (float(ndtri(1 - level / 2)) * se if reach is None else reach) + float(ndtri(power)) * se


def needed(effect: float, low: float, high: float, margin: float, n: int) -> int | None:
    """Return how many examples would settle an inconclusive effect, or None where no number can.

    The interval shrinks with the root of n. Settled is an effect either shown different from 0 or shown equivalent,
    whichever is sooner, with power .8 if the truth is what was estimated: that is more than would move a bound just
    over the line. Only examples are counted; where seeds are what varies, more examples may not be enough.

    Args:
        effect: The estimate.
        low: Lower end of its 95 % interval.
        high: Upper end of its 95 % interval.
        margin: Effects within plus and minus this are equivalent, at least 0.
        n: Number of examples that were measured.

    Raises:
        ValueError: The margin is negative or the interval is upside down.
    """
    if margin < 0 or low > high:
        raise ValueError(f"margin={margin}, low={low}, high={high}; margin >= 0 and low <= high are needed")
    if not all(map(math.isfinite, (effect, low, high))):
        return None
    se = max(high - effect, effect - low) / float(ndtri(0.975))
    away, inside = abs(effect), margin - abs(effect)
    sizes = [
        n * ((ndtri(quantile) + extra) * se / distance) ** 2
        for quantile, extra, distance in ((0.975, ndtri(_POWER), away), (0.95, ndtri((1 + _POWER) / 2), inside))
        if distance > 0
    ]
    best = float(min(sizes, default=math.inf))
    return max(n + 1, math.ceil(best)) if best <= _MOST else None


def settles(harm: float, bound: float, most: float, n: int, *, level: float = _LEVEL) -> int | None:
    """Return how many examples would show whether a harm is more than what is accepted, or None where no number can.

    By non-inferiority: the bound of a one-sided level then lies on the same side of ``most`` as the estimate with
    power .8, if the truth is what was estimated.

    Args:
        harm: The estimated movement toward worse.
        bound: Its upper bound at one-sided level .05, at least ``harm``.
        most: The most that is accepted.
        n: Number of examples, or of seeds where these are what varies, that were measured.
        level: One-sided, at which it is to be shown, within (0, 1).

    Raises:
        ValueError: The bound is below the estimate, or the level is out of range.
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level}; a number within (0, 1) is needed")
    if bound < harm:
        raise ValueError(f"bound={bound} is below harm={harm}")
    distance = abs(most - harm)
    if not all(map(math.isfinite, (harm, bound, most))) or distance == 0:
        return None
    se = (bound - harm) / float(ndtri(1 - _LEVEL))
    best = n * (float(ndtri(1 - level) + ndtri(_POWER)) * se / distance) ** 2
    return max(n + 1, math.ceil(best)) if best <= _MOST else None


def settles_counted(gained: int, lost: int, n: int, most: float, *, level: float = _LEVEL) -> int | None:
    """Return how many examples would show by exact counts whether a loss is more than what is accepted.

    As `settles`, of a mean that every example moves by -1, 0 or 1: bounds of small counts shrink faster than the root
    of n. Where nothing changed it is the rule of three: 149 examples without a loss keep a budget of 2 points. None
    where no number can, or more than anyone measures.

    Args:
        gained: Number of examples that moved to the better.
        lost: Number of examples that moved to the worse.
        n: Number of all examples; 0 where none was looked at.
        most: The most that is accepted, of each example at most 1.
        level: One-sided, at which it is to be shown, within (0, 1).

    Raises:
        ValueError: The level is out of range, or there are more changes than examples.
    """
    if not 0 < level < 1 or gained + lost > n:
        raise ValueError(f"level={level}, gained={gained}, lost={lost}, n={n}; out of range")
    up, down = (gained / n, lost / n) if n else (0.0, 0.0)
    beyond = down - up > most
    spread = math.sqrt(max(0.0, up + down - (down - up) ** 2))

    def shown(size: int) -> bool:
        # With power .8 the estimate strays from the truth by no more than this toward the budget.
        away = float(ndtri(_POWER)) * spread / math.sqrt(size)
        moved = down - away if beyond else down + away
        k, c = up * size, min(max(moved, 0.0), 1 - up) * size
        below, above = mcnemar.reach(np.array([k]), np.array([c]), np.array([size]), level)
        return bool((c - k) / size - above[0] > most if beyond else (c - k) / size + below[0] <= most)

    least, size = n, max(1, n + 1)
    while not shown(size):
        least, size = size, 2 * size
        if size > _MOST:
            return None
    while size - least > 1:
        middle = (least + size) // 2
        least, size = (least, middle) if shown(middle) else (middle, size)
    return size


def equivalence_n(discordance: float, margin: float, power: float = 0.9) -> int:
    """Return how many examples show two equally good classifiers equivalent, by two one-sided tests at 5 %.

    Args:
        discordance: Share of examples on which just one of the two is right, within (0, 1].
        margin: Differences of accuracy within plus and minus this are equivalent, above 0.
        power: Chance to show it if the true difference is 0, within (0, 1).

    Raises:
        ValueError: A number is out of range.
    """
    if not (0 < discordance <= 1 and margin > 0 and 0 < power < 1):
        raise ValueError(f"discordance={discordance}, margin={margin}, power={power}; out of (0, 1], (0, inf), (0, 1)")
    return math.ceil(discordance * float((ndtri(0.95) + ndtri((1 + power) / 2)) / margin) ** 2)
