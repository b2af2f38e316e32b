"""What a reader asks first of findings, answered in order: may it ship, what got worse, what is open, what to do.

Nothing here decides: a decision needs budgets, which are the owner's (`whatelse gate`). What is told is what is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from whatelse.findings import phrasing as words
from whatelse.findings.harm import Harm, harm, worst
from whatelse.findings.phrasing import Sign
from whatelse.findings.record import Candidate, Finding, Findings, Part
from whatelse.findings.roles import Role

WHOM = ("group", "class")  # kinds of parts that say for whom; others say where
_PARTS = 3  # parts named of each kind
_COSTS = ("bytes", "macs", "parameters")


@dataclass(frozen=True)
class Lost:
    """Something that got worse: what, by how much, what the interval allows, and how many margins that is at least."""

    what: str
    effect: str
    ends: str
    margins: str = ""
    n: str = ""


@dataclass(frozen=True)
class Open:
    """A question without an answer, why, and what would settle it."""

    what: str
    verdict: str
    why: str


@dataclass(frozen=True)
class Answer:
    """The four answers on one candidate.

    ``sign`` is that of the verdict which weighs most; ``ship`` says in one line what is shown of the primary questions,
    ``beside`` of the others, which only explore; ``smaller`` what was gained. ``worse`` comes worst first, ``whom`` by
    kind of part, ``open`` and ``next`` in the order to work on.
    """

    candidate: str
    sign: Sign
    verdict: str
    ship: str
    beside: str
    smaller: str
    worse: tuple[Lost, ...]
    whom: tuple[tuple[str, tuple[Lost, ...]], ...]
    open: tuple[Open, ...]
    next: tuple[str, ...]


def answers(findings: Findings) -> tuple[Answer, ...]:
    """Return the answers on every candidate, in the order of the record.

    Args:
        findings: As made or loaded.
    """
    candidates = [c for c in findings.candidates if c.role is Role.CANDIDATE]
    lost = {c.name: _lost(findings, c.name) for c in candidates}
    return tuple(_answer(findings, c, candidates, lost) for c in candidates)


def told(findings: Findings) -> str:
    """Return the answers in a few lines of plain text.

    Args:
        findings: As made or loaded.
    """
    lines = [findings.study.title]
    for one in answers(findings):
        lines += ["", f"{one.candidate}: {one.ship}"]
        lines += [f"  worse: {lost.what} {lost.effect} {lost.ends}".rstrip() for lost in one.worse]
        lines += [f"  {kind}: {', '.join(f'{p.what} {p.effect}' for p in parts)}" for kind, parts in one.whom]
        lines += [f"  open: {left.what}. {left.why}" for left in one.open]
        lines += [f"  next: {step}" for step in one.next]
    return "\n".join(lines)


def _lost(findings: Findings, candidate: str) -> tuple[Finding, ...]:
    """Return the primary findings on a candidate that got worse, the worst first; those without a scale come last."""
    primary = [f for f in _primary(findings, candidate) if f.verdict == "worsened"]
    ordered = [f for f in worst(findings) if f in primary]
    return (*ordered, *(f for f in primary if f not in ordered))


def _primary(findings: Findings, candidate: str) -> list[Finding]:
    return [f for f in findings.findings if f.primary and f.candidate == candidate]


def _answer(
    findings: Findings, candidate: Candidate, every: Sequence[Candidate], lost: Mapping[str, tuple[Finding, ...]]
) -> Answer:
    asked, mine = _primary(findings, candidate.name), lost[candidate.name]
    left = [f for f in asked if f.verdict not in {"worsened", "improved", "unchanged"}]
    verdict = "worsened" if mine else "inconclusive" if left or not asked else "unchanged"
    return Answer(
        candidate=candidate.name,
        sign=words.VERDICTS[verdict],
        verdict=verdict,
        ship=_ship(asked, mine, left),
        beside=_beside(findings, candidate.name),
        smaller=_smaller(findings, candidate),
        worse=tuple(_loss(f) for f in mine),
        whom=tuple(_whom(findings, candidate.name)),
        open=tuple(Open(f.label, f.verdict, words.reason(f)) for f in sorted(left, key=_nearness)),
        next=tuple(_next(findings, candidate, every, lost)),
    )


def _ship(asked: Sequence[Finding], lost: Sequence[Finding], left: Sequence[Finding]) -> str:
    total = f"{len(asked)} {words.plural(len(asked), 'question')}"
    if not asked:
        return "Nothing was asked of it: nothing is known."
    if lost and left:
        return f"Shown worse in {len(lost)} of {total}; {len(left)} more {_are(left)} open."
    if lost:
        return f"Shown worse in {len(lost)} of {total}; none is open."
    if left:
        return f"Nothing is shown worse, but {len(left)} of {total} {_are(left)} open: that is not a pass."
    return f"Nothing is shown worse and nothing is open, in {total}."


def _beside(findings: Findings, candidate: str) -> str:
    """Return how many of the questions that only explore are shown worse, those of exact costs aside."""
    mine = [f for f in findings.findings if f.candidate == candidate and f.leading and not f.primary and f.margin]
    worse = sum(f.verdict == "worsened" for f in mine)
    asked = f"Of {len(mine)} {words.plural(len(mine), 'question')} that only explore"
    return f"{asked}, {worse} {'is' if worse == 1 else 'are'} shown worse." if mine else ""


def _are(some: Sequence[object]) -> str:
    return "is" if len(some) == 1 else "are"


def _smaller(findings: Findings, candidate: Candidate) -> str:
    """Return what is left of the baseline's size and work, such as ``29 % of the bytes``."""
    base = next((c for c in findings.candidates if c.role is Role.BASELINE), None)
    names = {"bytes": "bytes", "macs": "multiply-adds", "parameters": "parameters"}
    pairs = [(names[cost], getattr(candidate, cost), getattr(base, cost, None)) for cost in _COSTS]
    shares = [f"{now / before:.0%} of the {name}".replace("%", " %") for name, now, before in pairs if now and before]
    return f"It has {', '.join(shares)} of the baseline." if shares else ""


def _loss(finding: Finding) -> Lost:
    moved, unit = harm(finding), finding.unit
    effect = "" if finding.effect is None else words.signed(finding.effect, unit)
    ends = "" if finding.low is None or finding.high is None else f"({words.interval(finding.low, finding.high, unit)})"
    return Lost(finding.label, effect, ends, "" if moved is None else _margins(moved))


def _margins(moved: Harm) -> str:
    return f"at least {moved.least:,.1f} times its margin" if 0 < moved.least < float("inf") else ""


def _whom(findings: Findings, candidate: str) -> list[tuple[str, tuple[Lost, ...]]]:
    """Return the parts that lost most by kind: of one question each, the first that says it, the primary before others.

    Of parts those that are shown to have changed, by the end of the interval that allows the least harm.
    """
    mine = [f for f in findings.findings if f.candidate == candidate and f.leading and f.parts is not None]
    mine.sort(key=lambda f: not f.primary)
    found = []
    for kind in WHOM:
        asked = [(f, _harmed(f)) for f in mine if f.parts is not None and f.parts.kind == kind]
        first = next(((f, parts) for f, parts in asked if parts), None)
        if first is not None:
            f, parts = first
            heading = f"{words.plural(2, kind)}, {f.label}"
            found.append((heading, tuple(_part(part, kind, words.parts_unit(f)) for part in parts[:_PARTS])))
    return found


def _harmed(finding: Finding) -> list[Part]:
    held = finding.parts
    better = finding.better if held is None or held.better is None else held.better
    if held is None or better == "neither":
        return []
    sign = 1 if better == "lower" else -1
    hit = [p for p in held.items if words.moved(p) and sign * (p.effect or 0) > 0]
    return sorted(hit, key=lambda p: _least(p, sign), reverse=True)


def _least(part: Part, sign: int) -> float:
    end = part.low if sign > 0 else part.high
    return sign * (end if end is not None else part.effect or 0)


def _part(part: Part, kind: str, unit: str) -> Lost:
    ends = "" if part.low is None or part.high is None else f"({words.interval(part.low, part.high, unit)})"
    n = "" if part.n is None else f"n = {words.count(part.n)}"
    return Lost(
        f"{kind} {part.name}" if part.name.isdigit() else part.name, words.signed(part.effect or 0, unit), ends, n=n
    )


def _nearness(finding: Finding) -> tuple[bool, int]:
    """What a known number of examples settles comes first, the fewest before."""
    return finding.needed is None, finding.needed or 0


def _next(
    findings: Findings, candidate: Candidate, every: Sequence[Candidate], lost: Mapping[str, tuple[Finding, ...]]
) -> list[str]:
    steps, mine = [], lost[candidate.name]
    if mine:
        margins = _loss(mine[0]).margins
        steps.append(f"{words.capital(mine[0].label)} binds{f': {margins} is lost' if margins else ''}.")
        steps.append(_milder(candidate, every, lost))
    if any(f.candidate == candidate.name and f.verdict == "failed" for f in findings.findings):
        steps.append("A measurement failed; see what it said, and run again.")
    steps += _more(_primary(findings, candidate.name))
    steps.append("Say how much may be lost: whatelse gate holds these findings against budgets.")
    return steps


def _more(asked: Sequence[Finding]) -> list[str]:
    """Return how many examples, or seeds, settle all that they can settle."""
    settled = [f for f in asked if f.verdict == "inconclusive"]
    examples = [(f.needed, f.unit_of_analysis) for f in settled if f.needed is not None and f.needed_seeds is None]
    seeds = [f.needed_seeds for f in settled if f.needed_seeds is not None]
    most: dict[str, int] = {}
    for n, unit in examples:
        most[unit] = max(n, most.get(unit, 0))
    amounts = [f"{words.count(n)} {words.plural(n, unit)}" for unit, n in most.items()]
    amounts += [f"{words.count(max(seeds))} seeds"] if seeds else []
    return [f"Measure about {' and '.join(amounts)} for what is open."] if amounts else []


def _milder(candidate: Candidate, every: Sequence[Candidate], lost: Mapping[str, tuple[Finding, ...]]) -> str:
    """Return which other level to try; levels of one kind of compression stand from mild to strong in the record."""
    family = [c for c in every if c.knob is not None and (c.family, c.kind) == (candidate.family, candidate.kind)]
    before = family[: family.index(candidate)] if candidate in family else []
    better = [c for c in reversed(before) if len(lost[c.name]) < len(lost[candidate.name])]
    if better:
        return f"The next milder level, {better[0].name}, is shown worse in {len(lost[better[0].name])}."
    if before:
        return "No milder level measured here is shown worse in fewer questions: compress in another way, or train on."
    if candidate in family:
        return "It is the mildest level measured here: measure a milder one."
    others = [c for c in every if len(lost[c.name]) < len(lost[candidate.name])]
    if others:
        best = min(others, key=lambda c: len(lost[c.name]))
        return f"{best.name} is shown worse in {len(lost[best.name])}."
    return "Compress it less, and audit both beside each other: the milder one shows what the last step costs."
