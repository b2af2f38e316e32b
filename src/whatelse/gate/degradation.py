"""The movement toward worse, whichever way the unit runs, with its bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import takewhile

from whatelse.findings.record import Finding, Part

LEVEL = 0.05  # one-sided, of the bound that a budget is held against
BELIEF = 0.025  # one-sided, of the bound of a gain that is too good


@dataclass(frozen=True)
class Harm:
    """A movement toward worse: positive is harm, negative is gain.

    ``bounds`` holds (level, lower, upper) with descending one-sided levels: the harm lies below ``lower`` with chance
    at most ``level``, and above ``upper`` likewise. ``lost`` and ``gained`` say how many examples moved to the worse
    and to the better, where that was counted.
    """

    value: float
    bounds: tuple[tuple[float, float, float], ...]
    lost: int | None = None
    gained: int | None = None

    def upper(self, level: float = LEVEL) -> float:
        """Return the upper bound at a level; that of a stricter one where the findings do not have it.

        Args:
            level: One-sided.
        """
        return next((upper for at, _, upper in self.bounds if at <= level), math.inf)

    def lower(self, level: float = LEVEL) -> float:
        """Return the lower bound at a level; that of a stricter one where the findings do not have it.

        Args:
            level: One-sided.
        """
        return next((lower for at, lower, _ in self.bounds if at <= level), -math.inf)

    def p(self, most: float) -> float:
        """Return the smallest level at which the harm is shown to be more than what is accepted; 1 where it is not.

        A p value on the grid of the levels: if the harm is no more than ``most``, the bound of a level lies above it
        with at most that chance.

        Args:
            most: What is accepted.
        """
        shown = list(takewhile(lambda bound: bound[1] > most, self.bounds))
        return shown[-1][0] if shown else 1.0

    @property
    def finest(self) -> float:
        """The smallest level of which there is a bound."""
        return self.bounds[-1][0]


def harm(one: Finding | Part, better: str) -> Harm | None:
    """Return the harm of a finding or of one part, or None where it has no number or no interval.

    Args:
        one: Its ``tails`` are taken, or its 90 % and 95 % intervals where it has none.
        better: ``higher`` or ``lower``.
    """
    tails: list[tuple[float, float | None, float | None]] = list(one.tails)
    if not tails:
        tails = [(BELIEF, one.low, one.high)]
        if isinstance(one, Finding):
            tails.insert(0, (LEVEL, one.low90, one.high90))
    known = sorted((level, low, high) for level, low, high in tails if low is not None and high is not None)
    numbers = [number for tail in known for number in tail]
    if one.effect is None or not known or not all(map(math.isfinite, [one.effect, *numbers])):
        return None
    if better == "lower":
        return Harm(one.effect, tuple(known[::-1]), one.rose, one.fell)
    return Harm(-one.effect, tuple((level, -high, -low) for level, low, high in known[::-1]), one.fell, one.rose)
