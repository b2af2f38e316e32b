"""The smallest configuration whose harms, if those of single moves add up, keep all budgets: an integer program."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence

import numpy as np

from whatelse.searching.space import Configuration

_WEIGHT = 100.0  # of an excess against the size of the whole model: budgets come first
_SECONDS = 5.0
_TRIED = 500_000  # configurations near the center that are all tried; of more, a few are solved for
_SOLVED = 3


class Program:
    """Binary variables, one for each option of each axis, just one of an axis set; solved by HiGHS.

    With sizes ``c``, the harm ``h_0`` of the center and ``h_(a, o)`` after one move, it minimizes ``c x + w s`` with
    ``h_0 + sum x (h_(a, o) - h_0) <= tight + s`` for each budget, ``s >= 0``: where no configuration keeps all budgets
    the one that exceeds them least is found.

    Args:
        sizes: By axis the size of each option, ``(options,)``.
        made: By axis which options there are.
        harms: By axis the excess of each budget after the single move, ``(options, budgets)``; NaN where unknown.
        center: Where moves begin.
        noise: What sizes are multiplied by, ``(all options,)``; ones for the exact program.
    """

    def __init__(
        self,
        sizes: Sequence[np.ndarray],
        made: Sequence[Sequence[bool]],
        harms: Sequence[np.ndarray],
        center: Configuration,
        noise: np.ndarray,
    ) -> None:
        self.center = center
        self.counts = [len(axis) for axis in sizes]
        self.starts = np.concatenate([[0], np.cumsum(self.counts)])
        self.size = np.concatenate(list(sizes))
        self.shaken = self.size * noise
        self.top = np.concatenate([np.asarray(axis, float) for axis in made])
        self.at = np.nan_to_num(harms[0][center[0]], nan=-1.0)
        moved = np.concatenate([np.nan_to_num(axis, nan=-1.0) for axis in harms])
        self.moved = np.where(np.isnan(np.concatenate(list(harms))), 0.0, moved - self.at)

    def nearby(
        self, tight: np.ndarray | float, radius: int, most: float, cuts: Collection[Configuration], count: int
    ) -> list[Configuration]:
        """Return the best configurations, the best first: by trying all near the center, where these are few enough.

        Args:
            tight: What each excess may be at most, of every budget or of all; 0 is the budget.
            radius: Axes that may differ from the center.
            most: What a size must be below, as a sum of `sizes`.
            cuts: Configurations that are not wanted.
            count: How many are wanted.
        """
        free = [self._options(axis) for axis in range(len(self.counts))]
        if _volume([len(axis) for axis in free], radius) > _TRIED:
            return self._solved(tight, radius, most, cuts, count)
        best, wanted = np.empty(0), count + len(cuts)
        found: list[tuple[float, Configuration]] = []
        for many in range(1, min(radius, len(free)) + 1):
            for axes in itertools.combinations(range(len(free)), many):
                if not all(free[axis] for axis in axes):
                    continue
                limit = best[-1] if len(best) == wanted else np.inf
                values, more = self._best([free[axis] for axis in axes], axes, tight, most, limit, wanted)
                found += more
                best = np.sort(np.concatenate([best, values]))[:wanted]
        return [at for _, at in sorted(found) if at not in cuts][:count]

    def _options(self, axis: int) -> list[int]:
        start, own = self.starts[axis], self.center[axis]
        return [option for option in range(self.counts[axis]) if option != own and self.top[start + option]]

    def _best(
        self,
        options: Sequence[Sequence[int]],
        axes: Sequence[int],
        tight: np.ndarray | float,
        most: float,
        limit: float,
        count: int,
    ) -> tuple[np.ndarray, list[tuple[float, Configuration]]]:
        """Return the best configurations in which just some axes differ from the center, each with what it costs.

        Only what costs less than the limit is among them.
        """
        size = np.array([sum(self.size[place] for place in self._places(self.center))])
        shaken, moves = size, []
        for axis, some in zip(axes, options, strict=True):
            places = self.starts[axis] + np.array(some)
            own = self.starts[axis] + self.center[axis]
            size = np.add.outer(size, self.size[places] - self.size[own]).ravel()
            shaken = np.add.outer(shaken, self.shaken[places] - self.shaken[own]).ravel()
            moves.append(self.moved[places] - self.moved[own])
        # Harms are looked at where the size alone does not rule a configuration out: most are.
        left = np.flatnonzero((size < most) & (shaken < limit))
        chosen = np.unravel_index(left, [len(some) for some in options])
        harm = self.at + sum(moved[at] for moved, at in zip(moves, chosen, strict=True))
        objective = shaken[left] + _WEIGHT * np.maximum(harm - tight, 0).max(1)
        best = np.flatnonzero(objective < limit)
        if len(best) > count:
            best = best[np.argsort(objective[best], kind="stable")[:count]]
        found = []
        for at in best:
            one = list(self.center)
            for axis, some, option in zip(axes, options, chosen, strict=True):
                one[axis] = some[int(option[at])]
            found.append((float(objective[at]), tuple(one)))
        return objective[best], found

    def _solved(
        self, tight: np.ndarray | float, radius: int, most: float, cuts: Collection[Configuration], count: int
    ) -> list[Configuration]:
        found: list[Configuration] = []
        for _ in range(min(count, _SOLVED)):
            one = self.solve(tight, radius, most, [*cuts, *found])
            if one is None:
                break
            found.append(one)
        return found

    def solve(
        self, tight: np.ndarray | float, radius: int, most: float = math.inf, cuts: Sequence[Configuration] = ()
    ) -> Configuration | None:
        """Return the best configuration, or None where there is none.

        Args:
            tight: What each excess may be at most, of every budget or of all; 0 is the budget.
            radius: Axes that may differ from the center.
            most: What its size must be below, as a sum of `sizes`.
            cuts: Configurations that are not wanted.
        """
        from scipy.optimize import Bounds, LinearConstraint, milp  # noqa: PLC0415 - takes long to import
        from scipy.sparse import csr_matrix  # noqa: PLC0415

        n, budgets = len(self.size), len(self.at)
        rows, low, high = [], [], []
        for axis, count in enumerate(self.counts):
            rows.append(self._row(range(self.starts[axis], self.starts[axis] + count)))
            low.append(1.0)
            high.append(1.0)
        room = np.broadcast_to(tight, self.at.shape) - self.at
        for k in range(budgets):
            rows.append(np.append(self.moved[:, k], -1.0))
            low.append(-np.inf)
            high.append(float(room[k]))
        rows.append(self._row(self._places(self.center)))
        low.append(len(self.counts) - radius)
        high.append(np.inf)
        if math.isfinite(most):
            rows.append(np.append(self.size, 0.0))
            low.append(-np.inf)
            high.append(most)
        for cut in cuts:
            rows.append(self._row(self._places(cut)))
            low.append(-np.inf)
            high.append(len(self.counts) - 1)
        found = milp(
            np.append(self.shaken, _WEIGHT),
            integrality=np.append(np.ones(n), 0),
            bounds=Bounds(np.zeros(n + 1), np.append(self.top, np.inf)),
            constraints=LinearConstraint(csr_matrix(np.vstack(rows)), np.array(low), np.array(high)),
            options={"time_limit": _SECONDS, "mip_rel_gap": 1e-4},
        )
        if found.x is None:
            return None
        chosen = [found.x[start : start + count] for start, count in zip(self.starts, self.counts, strict=False)]
        return tuple(int(one.argmax()) for one in chosen)

    def _places(self, at: Configuration) -> list[int]:
        return [int(start) + option for start, option in zip(self.starts, at, strict=False)]

    def _row(self, places: Sequence[int]) -> np.ndarray:
        row = np.zeros(len(self.size) + 1)
        row[list(places)] = 1.0
        return row


def _volume(options: Sequence[int], radius: int) -> int:
    """Return how many configurations differ in at most so many axes."""
    ways = [1] + [0] * radius
    for count in options:
        ways = [ways[0], *(ways[k] + ways[k - 1] * count for k in range(1, radius + 1))]
    return sum(ways)
