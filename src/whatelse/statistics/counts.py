"""The effect of changes that can be counted: every example moves a mean by -1, 0 or 1, and bounds are exact."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import ndtri

from whatelse.statistics import mcnemar
from whatelse.statistics.effect import FINER, LEVELS, Effect


def countable(each: np.ndarray) -> bool:
    """Say whether an unseen change may be as large as 1: not of lengths, say, that all lie nearer to each other.

    Args:
        each: What every example adds to a mean, ``(N,)``.
    """
    return bool(np.ptp(each) >= 1 or np.abs(each - np.round(each)).max() <= 1e-6)  # noqa: PLR2004 - of float32


def counted(before: float, after: float, changes: np.ndarray) -> Effect | None:
    """Return the effect on a mean to which every example adds -1, 0 or 1, from exact counts; None of other changes.

    The p value is McNemar's mid-p, the bounds are `mcnemar.reach`: where nothing changed among ten examples, the
    truth may still be a quarter either way. The standard error is half the 95 % interval over 1.96.

    Args:
        before: The control's mean.
        after: The candidate's.
        changes: Candidate minus control of each example, ``(N,)``.
    """
    found = averaged(before, after, [changes])
    return None if found is None else found._replace(p=mcnemar.midp(found.rose or 0, found.fell or 0))


def averaged(before: float, after: float, changes: Sequence[np.ndarray]) -> Effect | None:
    """Return the effect on a plain mean of means, such as over classes, from exact counts; None of other changes.

    Every stratum has bounds of its own counts (`mcnemar.reach`). Strata are independent, so that distances of bounds
    add up in squares (Zou, Huang & Zhang, Computational Statistics & Data Analysis 53:1080-1085, 2009): a class of
    three examples leaves open what three examples leave open, however many others there are. The p value is twice the
    level of the bound that reaches no effect.

    Args:
        before: The control's mean over strata.
        after: The candidate's.
        changes: Candidate minus control of each example of each stratum.
    """
    near = [np.round(each) for each in changes]
    if any((np.abs(n) > 1).any() or np.abs(each - n).max() > 1e-6 for n, each in zip(near, changes, strict=True)):
        return None  # 1e-6: rounding of float32
    gained, lost, n = (
        np.array([f(each) for each in near]) for f in (lambda x: (x > 0).sum(), lambda x: (x < 0).sum(), len)
    )
    shift = float(((gained - lost) / n).mean())

    def bounds(level: float) -> tuple[float, float]:
        below, above = (float(np.sqrt((far**2).sum())) / len(n) for far in mcnemar.reach(gained, lost, n, level))
        return max(-1.0, shift - below), min(1.0, shift + above)

    tails = tuple((level, *bounds(level)) for level in (*LEVELS, *FINER))
    (_, low90, high90), (_, low, high) = tails[:2]
    se = (high - low) / 2 / float(ndtri(0.975))
    p = _reaching_zero(bounds) if shift else 1.0
    return Effect(before, after, shift, low, high, low90, high90, p, se, tails, int(gained.sum()), int(lost.sum()))


def _reaching_zero(bounds: Callable[[float], tuple[float, float]]) -> float:
    """Return twice the largest one-sided level, to a hundredth, at which the bounds hold 0."""
    least, most = -math.log(1e-12), -math.log(0.5)
    for _ in range(24):
        middle = (least + most) / 2
        low, high = bounds(math.exp(-middle))
        least, most = (middle, most) if low < 0 < high else (least, middle)
    return min(1.0, 2 * math.exp(-least))


def fewest(shift: float, units: int, draws: int) -> np.ndarray:
    """Return offsets whose quantiles are the bounds of the fewest changes among units that make a shift, ``(draws,)``.

    No way to look at so few units can know more: nothing changed among them leaves open what the rule of three does,
    and all of them lost what the sign test does.

    Args:
        shift: Effect on a mean to which every unit adds -1, 0 or 1, or the mean of such effects over seeds.
        units: Number of examples, or of clusters.
        draws: Number of offsets.
    """
    grid = np.geomspace(1e-6, 0.5, 40)
    moved = np.full(len(grid), min(1.0, abs(shift)) * units)
    up, down = (moved, 0 * moved) if shift > 0 else (0 * moved, moved)
    level = np.log((np.arange(draws // 2) + 0.5) / draws)
    below, above = (
        np.interp(level, np.log(grid), far) for far in mcnemar.reach(up, down, np.full(len(grid), units), grid)
    )
    return np.concatenate([-below, np.zeros(draws % 2), above])
