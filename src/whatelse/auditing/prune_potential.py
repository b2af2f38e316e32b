"""Prune potential: how far a kind of compression can go before it is no longer shown to do no more harm than a bound.

The source asks for the largest prune ratio whose error stays within ``delta`` of the uncompressed model's. Here that
must be *shown*: the harmful end of the 95 % interval of the effect against the leading control lies within ``delta``,
so a level that was measured too coarsely does not count.

Source:
    Liebenwein et al., Lost in pruning: the effects of pruning neural networks beyond test accuracy, MLSys 2021,
    arXiv:2103.03014.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from whatelse.findings.record import Candidate, Finding, Potential
from whatelse.findings.roles import Role

DELTA = 0.005
# Questions that a potential is told of: accuracy as it is, and under shift.
ASKED = ("generalization.accuracy", "generalization.shift")
_LEVELS = {"mild": 0, "": 1, "strong": 2}


def potentials(
    models: Sequence[Candidate], findings: Sequence[Finding], *, delta: float = DELTA, asked: Sequence[str] = ASKED
) -> list[Potential]:
    """Return how far every kind of compression can go, by question, task and bound.

    A kind is the candidates of one family, kind and recipe that differ in the value of the knob alone. Its levels go
    from mild to strong: towards the side of the knob on which the model has fewer parameters, else fewer bytes or
    operations, else as the study's own levels say. Each question is told for ``delta`` and for its own margin.

    ``potential`` is the strongest level shown, as in the source; ``unbroken`` the strongest up to which every milder
    level is shown too: there the search over levels adds no chance of a false promise. Both are missing where there
    is none.

    Args:
        models: The candidates and controls.
        findings: On them.
        delta: The largest harm that counts as none, in the unit of the behaviour.
        asked: Behaviours that are told of.
    """
    series = _series(models)
    told = [f for f in findings if f.behaviour in asked and f.leading]
    made = []
    for label, task in dict.fromkeys((f.label, f.task) for f in told):
        mine = {f.candidate: f for f in told if (f.label, f.task) == (label, task)}
        for levels in series:
            measured = [(c, mine[c.name]) for c in levels if c.name in mine and not mine[c.name].why]
            if measured:
                margin = measured[0][1].margin
                bounds = dict.fromkeys((delta, delta if margin is None else margin))
                made += [_potential(measured, bound) for bound in bounds]
    return made


def _potential(measured: Sequence[tuple[Candidate, Finding]], delta: float) -> Potential:
    candidate, finding = measured[0]
    knobs = [_knob(c) for c, _ in measured]
    harms = [_harm(f) for _, f in measured]
    shown = [harm is not None and harm <= delta for harm in harms]
    steady = shown.index(False) if False in shown else len(shown)
    return Potential(
        family=candidate.family,
        delta=delta,
        potential=next((knob for knob, ok in zip(reversed(knobs), reversed(shown), strict=True) if ok), None),
        kind=candidate.kind,
        knob_name=candidate.knob_name,
        label=finding.label,
        task=finding.task,
        unit=finding.unit,
        recipe=_blank(candidate),
        levels=tuple(knobs),
        shown=tuple(shown),
        unbroken=knobs[steady - 1] if steady else None,
    )


def _harm(finding: Finding) -> float | None:
    """Return the most harm that the 95 % interval allows, negative where it is a gain; None where nothing is shown."""
    low, high = finding.low, finding.high
    if low is None or high is None or finding.verdict in {"not trusted", "failed", "not measurable"}:
        return None
    return -low if finding.better == "higher" else high


def _series(models: Iterable[Candidate]) -> list[list[Candidate]]:
    """Return the candidates that differ in one knob alone, together, each from mild to strong."""
    groups: dict[tuple[str, ...], list[Candidate]] = {}
    for c in models:
        if c.role is Role.CANDIDATE and c.knob is not None:
            groups.setdefault((c.family, c.kind, c.knob_name, _blank(c)), []).append(c)
    return [_ordered(group) for group in groups.values()]


def _ordered(group: Sequence[Candidate]) -> list[Candidate]:
    sign = _direction(group)
    return sorted(group, key=lambda c: sign * _knob(c))


def _knob(candidate: Candidate) -> float:
    return candidate.knob or 0.0


def _direction(group: Sequence[Candidate]) -> int:
    """Return 1 where a larger knob compresses more, -1 where a smaller one does."""
    # Tried in turn for what a knob costs; of the order that no cost tells, the recipe's own level decides.
    for costs in ([c.parameters for c in group], [c.bytes for c in group], [c.macs for c in group]):
        spent = [(_knob(c), -cost) for c, cost in zip(group, costs, strict=True) if cost is not None]
        if len(spent) == len(group) and (trend := _trend(spent)):
            return trend
    return _trend([(_knob(c), _LEVELS.get(c.level, 1)) for c in group]) or 1


def _trend(pairs: Sequence[tuple[float, float]]) -> int:
    """Return the sign of Kendall's tau: 1 where the second rises with the first, -1 where it falls, else 0."""
    agree = sum(
        math.copysign(1, (a[0] - b[0]) * (a[1] - b[1]))
        for i, a in enumerate(pairs)
        for b in pairs[:i]
        if a[0] != b[0] and a[1] != b[1]
    )
    return (agree > 0) - (agree < 0)


def _blank(candidate: Candidate) -> str:
    """Return the recipe without its knob, so that recipes that differ in nothing else are the same text."""
    knob = rf"(?<!\w){re.escape(candidate.knob_name)}=[^,()]*"
    return re.sub(rf", {knob}|{knob}, |{knob}", "", candidate.recipe)
