"""From an effect, its interval and the owner's margin to one word."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from whatelse.statistics.effect import Effect

Verdict = Literal["improved", "unchanged", "worsened", "inconclusive", "not measurable", "not trusted"]


def decide(
    effect: Effect,
    *,
    margin: float,
    better: str,
    adjusted_p: float,
    distrust: Sequence[str],
    verdict_if_one_sided: str = "",
) -> Verdict:
    """Return the verdict on one effect.

    Doubts come first; where they can only flatter one side, the verdict against that side stands. Then equivalence: an
    effect that is significant and yet wholly inside the margin is unchanged.
    A difference that is merely not significant is inconclusive, never unchanged. "not measurable" is said where
    something could not be measured, before there is an effect.

    Args:
        effect: The effect with its 95 % and 90 % intervals.
        margin: What the owner accepts, in the behaviour's unit, at least 0; a noise floor never widens it.
        better: "higher" or "lower".
        adjusted_p: The p value, corrected for the family of questions.
        distrust: Validity flags that were raised; any of them suffices.
        verdict_if_one_sided: The one verdict that they leave: "worsened" where they only make the candidate look better
            than it is, "improved" where they do so with its control; none where it is empty.

    Raises:
        ValueError: ``better`` is neither word, or the margin is negative or not a number.
    """
    if better not in {"higher", "lower"}:
        raise ValueError(f"better={better!r}; 'higher' or 'lower' is needed")
    if not margin >= 0:
        raise ValueError(f"margin={margin}; a number of at least 0 is needed")
    if not all(map(math.isfinite, (*effect.numbers, adjusted_p))):
        return "not trusted"
    found = _decided(effect, margin, better, adjusted_p)
    return "not trusted" if distrust and found != verdict_if_one_sided else found


def _decided(effect: Effect, margin: float, better: str, adjusted_p: float) -> Verdict:
    # An exact zero, as of two models of the same size, lies inside any margin, even of 0.
    if -margin < effect.low90 <= effect.high90 < margin or effect.low90 == effect.high90 == 0:
        return "unchanged"
    if adjusted_p < 0.05 and (effect.low > 0 or effect.high < 0):
        return "improved" if (effect.low > 0) == (better == "higher") else "worsened"
    return "inconclusive"
