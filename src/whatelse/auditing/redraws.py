"""Which seeds are drawn again, the same for every measurement of a study."""

from __future__ import annotations

from functools import cache

import numpy as np

DRAWS = 200


@cache
def picks(seeds: int) -> np.ndarray:
    """Return numbers of seeds, drawn with replacement, ``(DRAWS, seeds)``; at least two of each draw differ.

    A draw of one seed alone has no spread over seeds, and no interval.

    Args:
        seeds: How many there are, at least 2.
    """
    rng = np.random.default_rng(seeds)
    found: list[np.ndarray] = []
    while len(found) < DRAWS:
        drawn = rng.integers(0, seeds, seeds)
        if np.ptp(drawn):
            found.append(drawn)
    return np.stack(found)
