"""An effect with its intervals: what every way to look at a pair of models comes to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

# One-sided levels of the bounds that an effect carries, for decisions at a corrected level.
LEVELS = (0.05, 0.025, 0.01, 0.005, 0.0025, 0.001, 0.0005)
# Those that exact counts reach as well: a correction over a thousand classes asks for them, resamples do not have them.
FINER = (2e-4, 1e-4, 5e-5, 2e-5, 1e-5, 5e-6, 2e-6, 1e-6, 1e-7, 1e-8)


Numbers = tuple[float, float, float, float, float, float, float, float, float]


class Effect(NamedTuple):
    """An effect in the behaviour's unit, its intervals, p value, standard error and bounds.

    ``tails`` holds (level, low, high) for every one of `LEVELS`, and of `FINER` where counts are exact: the truth lies
    below ``low`` with at most that chance, and above ``high`` likewise; empty where there is no interval. Where every
    example moves by -1, 0 or 1, ``rose`` and ``fell`` say how many did.
    """

    before: float
    after: float
    effect: float
    low: float
    high: float
    low90: float
    high90: float
    p: float
    se: float
    tails: tuple[tuple[float, float, float], ...] = ()
    rose: int | None = None
    fell: int | None = None

    @property
    def numbers(self) -> Numbers:
        """All of it but the tails and the counts."""
        return self[:9]

    def reach(self, level: float) -> tuple[float, float]:
        """Return how far below and above the effect its bounds at a one-sided level lie.

        Between `LEVELS` they are interpolated in the normal quantile, beyond them they grow with it.

        Args:
            level: Within (0, .5).
        """
        at, known = -float(ndtri(level)), -ndtri([one for one, _, _ in self.tails])
        if not self.tails:
            return at * self.se, at * self.se
        below, above = ([abs(self.effect - tail[side]) for tail in self.tails] for side in (1, 2))
        beyond = max(1.0, at / known[-1])
        return float(np.interp(at, known, below)) * beyond, float(np.interp(at, known, above)) * beyond
