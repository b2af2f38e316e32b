"""The ends of a scale: what a control has left to lose, and whether an instrument saw anything of either model.

Where a control has no more to lose than the margin accepts, every candidate is equivalent to it, whatever it does; and
where neither of two models is shown to differ from what the instrument says of a model that it sees nothing of, that
the two are equivalent says nothing of the models. Neither is *unchanged*: the question cannot be answered at this
setting. What is shown all the same, an improvement or a harm, stands (docs/decisions/0022-ends-of-scales.md).

An item declares both as ``WORST`` and ``BLIND``; where its settings or the data decide, `Answer.ends` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from whatelse.findings.record import Finding
from whatelse.items import Behaviour
from whatelse.statistics import sides
from whatelse.statistics.effect import Effect

_REASSURES = ("unchanged", "inconclusive")


@dataclass(frozen=True)
class Scale:
    """Where the scale of one model's number ends.

    Attributes:
        worst: The value at which nothing is left to lose; None where there is no such end.
        blind: The value of a model of which the instrument sees nothing; None where it has none.
    """

    worst: float | None
    blind: float | None


@dataclass(frozen=True)
class Ends:
    """What the scale leaves a pair of models.

    Attributes:
        worst: Where the control has nothing left to lose.
        room: Distance of the control's value from there, at least 0; None where there is no such end.
        shown: The least that this distance may be: its one-sided 95 % bound.
        blind: What the instrument says of models that it sees nothing of, where neither is shown to lie above it.
    """

    worst: float | None = None
    room: float | None = None
    shown: float | None = None
    blind: float | None = None


def scale(item: Behaviour, told: Sequence[Mapping[str, float | None]]) -> Scale:
    """Return where the scale of one model's number ends.

    Args:
        item: The behaviour.
        told: What it said with its values of every seed: `Answer.ends`.
    """
    known = {"worst": item.worst, "blind": item.blind}
    return Scale(**{name: _mean([one.get(name, end) for one in told or [{}]]) for name, end in known.items()})


def _mean(each: Sequence[float | None]) -> float | None:
    """Return the mean over seeds; None where one of them has no such end."""
    known = [value for value in each if value is not None]
    return float(np.mean(known)) if len(known) == len(each) else None


def alone(side: sides.Side, draws: int) -> Effect:
    """Return one model's own number, as the effect over nothing, with its interval.

    Args:
        side: The model's.
        draws: Resamples an interval.
    """
    # A source of its own: what other intervals are drawn from stays as it is.
    return sides.contrast(sides.zero(side), side, np.random.default_rng(0), draws=draws)


def between(better: str, control: tuple[Effect, Scale] | None, after: tuple[Effect, Scale]) -> Ends:
    """Return what the scale leaves a pair.

    Args:
        better: ``higher`` or ``lower``.
        control: Its own number and scale; None where the candidate's number is read as it stands, over zero.
        after: The candidate's own.
    """
    if control is None:
        worst = after[1].worst
        room = None if worst is None else _left(0.0, worst, better)
        return Ends(worst, room, room)
    own, ends = control
    found = Ends(blind=ends.blind if _blind(*control) and _blind(*after) else None)
    if ends.worst is not None:
        least = own.low90 if better == "higher" else own.high90
        found = Ends(ends.worst, _left(own.after, ends.worst, better), _left(least, ends.worst, better), found.blind)
    return found


def _left(value: float, worst: float, better: str) -> float:
    return max(0.0, value - worst if better == "higher" else worst - value)


def _blind(own: Effect, ends: Scale) -> bool:
    """Say whether a model's number is not shown to lie above that of a model of which nothing is seen."""
    return ends.blind is not None and not own.low90 > ends.blind


def unmeasurable(finding: Finding, against: str, left: Ends) -> str:
    """Return why a verdict would only reassure, or nothing where it may stand.

    Args:
        finding: With its numbers and verdict.
        against: Name of the model that the candidate is held against.
        left: What the scale leaves.
    """
    verdict, margin = finding.verdict, finding.margin or 0.0
    # What more examples could still show stays open; equivalence must have been possible to miss.
    room = left.shown if verdict == "unchanged" else left.room
    if verdict in _REASSURES and room is not None and room <= margin:
        return (
            f"not measurable at this setting{_settings(finding)}: {against} has {_number(finding.before)} "
            f"({finding.unit}), where {_number(left.worst)} is the end of the scale, so that no more than the margin "
            f"of {margin:g} is left to lose and any model would pass; ask at a milder setting, or on other data"
        )
    if verdict == "unchanged" and left.blind is not None:
        return (
            f"not measurable at this setting{_settings(finding)}: neither {against} ({_number(finding.before)}) nor "
            f"{finding.candidate} ({_number(finding.after)}) is shown above {left.blind:.4g}, which is what is said of "
            "a model that this instrument sees nothing of; a stronger one may see a change"
        )
    return ""


def _number(value: float | None) -> str:
    return "no number" if value is None else f"{value:.4g}"


def _settings(finding: Finding) -> str:
    given = ", ".join(f"{name}={value}" for name, value in finding.settings.items())
    return f" ({given})" if given else ""
