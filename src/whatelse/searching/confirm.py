"""Which trials are held against the budgets on test, in which order, and what that shows.

The order is fixed before test is opened, from safe to small. Each finalist is an intersection-union test: it passes
where every critical budget is shown kept at level .05, which needs no correction over budgets (Berger, Technometrics
24:295-300, 1982). The last that passes before the first failure is the answer. Since nothing is tested after a failure,
the chance that the answer breaks a critical budget is at most .05, however many there are (fixed-sequence testing:
Maurer, Hothorn & Lehmacher 1995; Westfall & Krishen, J. Stat. Plan. Inference 99:25-40, 2001; as in Learn then test:
Angelopoulos et al., arXiv:2110.01052).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

MOST = 6  # finalists
_APART = 1.06  # one is larger than the next by this

T = TypeVar("T")


def finalists(trials: Sequence[tuple[T, float, float]], most: int = MOST) -> list[T]:
    """Return the trials to be confirmed, from safe to small.

    The smallest feasible trial is the last. Before each stands the smallest that is larger by 6 % and no less inside
    the budget that binds it.

    Args:
        trials: Each with its size and by how much it exceeds the budget that binds, in shares of it.
        most: How many are wanted.
    """
    feasible = sorted((one for one in trials if one[2] <= 0), key=lambda one: (one[1], one[2]))
    chosen: list[tuple[T, float, float]] = []
    for one in feasible:
        if not chosen or (one[1] >= chosen[-1][1] * _APART and one[2] <= chosen[-1][2]):
            chosen.append(one)
        if len(chosen) == most:
            break
    return [one for one, _, _ in reversed(chosen)]


def in_sequence(order: Sequence[T], passes: Callable[[T], bool]) -> T | None:
    """Return the last that passes before the first failure, None where the first fails; nothing after it is tried.

    Args:
        order: From safe to small.
        passes: Opens test for one, and says whether every critical budget is shown kept.
    """
    answer = None
    for one in order:
        if not passes(one):
            break
        answer = one
    return answer
