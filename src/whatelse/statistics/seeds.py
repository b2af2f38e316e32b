"""The noise floor: the difference that retraining alone makes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit


def dominate(effects: Sequence[float], low: float, high: float) -> bool:
    """Say whether an interval is wide for want of seeds: whether seeds alone make more than half of its variance.

    Args:
        effects: The effect under each seed.
        low: Lower end of its 95 % interval.
        high: Upper end of its 95 % interval.
    """
    each = np.asarray(effects, np.float64)
    if each.size < 2 or high <= low:
        return False
    half = float(stdtrit(each.size - 1, 0.975)) * float(each.std(ddof=1)) / math.sqrt(each.size)
    return half**2 > ((high - low) / 2) ** 2 / 2


def floor(effects_per_seed: Sequence[float] | np.ndarray) -> float:
    """Return the half-width of the 95 % prediction interval for the effect of one more retraining.

    A twin is the same recipe with another seed, so that its effect is the difference of two independent runs: its mean
    is zero by symmetry, is not estimated, and S twins leave S degrees of freedom: t(.975, S) times their root mean
    square. A maximum over the twins would be exceeded by one harmless retraining in S + 1. NaN if an effect is NaN.

    Args:
        effects_per_seed: The twin's effect for each of S seeds, in the behaviour's unit.

    Raises:
        ValueError: There is no seed.
    """
    effects = np.asarray(effects_per_seed, np.float64)
    if not effects.size:
        raise ValueError("effects_per_seed is empty; a noise floor needs at least 1 twin")
    return float(stdtrit(effects.size, 0.975) * np.sqrt(np.mean(effects**2)))
