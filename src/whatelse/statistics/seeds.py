"""The noise floor: the difference that retraining alone makes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit


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
