"""Which trials are held against the budgets on test, in which order, and what that shows.

The order is fixed before test is opened, from safe to small. Each finalist is an intersection-union test: it passes
where every critical budget is shown kept at level .05, which needs no correction over budgets (Berger, Technometrics
24:295-300, 1982). The last that passes before the first failure is the answer. Since nothing is tested after a failure,
the chance that the answer breaks a critical budget is at most .05, however many there are (fixed-sequence testing:
Maurer, Hothorn & Lehmacher 1995; Westfall & Krishen, J. Stat. Plan. Inference 99:25-40, 2001; as in Learn then test:
Angelopoulos et al., arXiv:2110.01052).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from scipy.special import ndtr, ndtri

MOST = 6  # finalists
LEAST = 0.1  # chance below which a trial is no finalist
# What select says of a trial that was chosen for it is too good: of trials of which it said .93, .71 passed, and of .5,
# .16. In normal quantiles by how much, of the smallest; of larger ones less, by their size. The values are those with
# which thirteen searches on digits would have ended smallest; the less is believed, the finer the line.
_STRETCHED, _LUCK = 0.5, 2.0
_TOGETHER = 0.8  # how much of what a finalist shows the next one shares: they are tested on the same examples

T = TypeVar("T")


@dataclass(frozen=True)
class _Rest(Generic[T]):
    """What is expected of the finalists after one: how much smaller the answer becomes, and which they are."""

    gain: float
    order: tuple[T, ...]


def finalists(trials: Sequence[tuple[T, float, float]], most: int = MOST) -> list[T]:
    """Return the trials to be confirmed, from safe to small.

    Of all lines in which each is smaller and less sure than the one before, the one whose answer is expected to be
    smallest, by the logarithm of its size: a first that is unsure risks everything, a step that is too small wastes one
    of six, and an unsure last costs nothing. Chances are taken for what such chances came to. What passed makes the
    next more likely to pass: with chances ``c`` and ``d`` one after the other, the second does so with ``d / c^0.8``.

    Args:
        trials: Each with its size, as a share of the whole, and the chance that it passes by what select says.
        most: How many are wanted.
    """
    some = sorted((t for t in trials if t[2] >= LEAST and t[1] < 1), key=lambda t: (t[1], -t[2]))
    front: list[tuple[T, float, float]] = []
    for name, size, chance in some:
        sure = believed(chance, some[0][1] / size if size else 1.0)
        if not front or sure > front[-1][2]:
            front.append((name, size, sure))
    # What follows each, the smallest first, with so many still to be opened.
    after: list[list[_Rest[T]]] = []
    for at, (_, size, chance) in enumerate(front):
        rests = [_Rest[T](0.0, ())]
        for left in range(1, most):
            told = [rests[-1]]
            for (name, smaller, less), next_ in zip(front[:at], after, strict=True):
                rest = next_[left - 1]
                gain = less / chance**_TOGETHER * (math.log(size / smaller) + rest.gain)
                told.append(_Rest(gain, (name, *rest.order)))
            rests.append(max(told, key=lambda one: one.gain))
        after.append(rests)
    lines = [
        _Rest(chance * (-math.log(size) + rests[-1].gain), (name, *rests[-1].order))
        for (name, size, chance), rests in zip(front, after, strict=True)
    ]
    return list(max(lines, key=lambda one: one.gain).order) if lines else []


def believed(chance: float, small: float) -> float:
    """Return what a chance of passing comes to, as select says it of a trial that was chosen for it.

    The smallest were chosen most for what select says of them; of two of which it says the same the larger is safer.

    Args:
        chance: As select says.
        small: Size of the smallest trial as a share of this one's.
    """
    z = float(ndtri(min(chance, 1 - 1e-9)))
    return float(ndtr((1 - _STRETCHED * small) * z - _LUCK * small))


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
