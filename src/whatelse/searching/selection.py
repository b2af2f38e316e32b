"""Who survives in an evolution: non-dominated sorting, and the selection that protects large models.

Source:
    Deb et al., A fast and elitist multiobjective genetic algorithm: NSGA-II, IEEE Trans. Evol. Comp. 6:182-197, 2002;
    Yang et al., CARS: Continuous evolution for efficient neural architecture search, CVPR 2020, arXiv:1909.04977.
"""

from __future__ import annotations

import numpy as np
import torch


def fronts(objectives: np.ndarray) -> list[list[int]]:
    """Return the members front by front: whom nobody dominates, then whom only members of the first do, and so on.

    One dominates another that is nowhere better and somewhere worse.

    Args:
        objectives: What is to be small, ``(members, objectives)``; NaN and infinite are the worst.
    """
    held = np.nan_to_num(objectives, nan=np.inf, posinf=np.inf, neginf=-np.inf)
    no_worse = (held[:, None] <= held[None]).all(2)
    dominates = no_worse & (held[:, None] < held[None]).any(2)
    left = np.ones(len(held), dtype=bool)
    found = []
    while left.any():
        first = left & ~dominates[left].any(0)
        found.append(np.flatnonzero(first).tolist())
        left &= ~first
    return found


def protected(harm: np.ndarray, sizes: np.ndarray, count: int, rng: torch.Generator) -> list[int]:
    """Return the members that pNSGA-III keeps, in the order in which stages take them.

    Small models learn faster than large ones, so that sorting by harm and size alone soon keeps nothing but small ones.
    So for every kind of size there are two sortings, one for which less of it is better and one for which more is; the
    k-th fronts of all of them make up stage k. Stages are taken whole, one after the other; of the one that would be
    too much, members are drawn.

    Args:
        harm: What is to be small, ``(members,)``.
        sizes: One or more kinds of size, ``(kinds, members)``.
        count: How many are kept; all where there are no more.
        rng: Source of who is drawn.
    """
    sortings = [fronts(np.stack([harm, sign * size], axis=1)) for size in sizes for sign in (1, -1)]
    kept: list[int] = []
    for stage in range(max(map(len, sortings), default=0)):
        reached = {at for sorting in sortings if stage < len(sorting) for at in sorting[stage]}
        new = sorted(reached - set(kept))
        room = count - len(kept)
        if len(new) > room:
            picks = torch.randperm(len(new), generator=rng)[:room].tolist()
            return [*kept, *(new[at] for at in sorted(picks))]
        kept += new
    return kept
