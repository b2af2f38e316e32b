"""Figures of parts: how one effect spreads over groups, classes, layers, depths or bins, as inline SVG.

Bins of confidence are a reliability diagram, what has an order (layers, depths, severities) is a curve, anything else
a dot with its interval. Colors and sizes of text are the page's, by class. In dots, left is always harm.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from whatelse.findings import phrasing as words
from whatelse.findings.record import Finding, Part, Parts
from whatelse.report._svg import Axis, line, path, place, text

SHOWN = 24  # dots of one figure; of more parts those with the largest effects
ORDERED = frozenset({"layer", "depth", "severity"})
BINS = frozenset({"confidence bin"})

_WIDTH, _LETTER, _ROW, _LONGEST = 380.0, 6.3, 19.0, 22
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Drawn:
    """One figure, its width in pixels, and what it leaves out."""

    svg: str
    width: float
    note: str = ""


def draw(finding: Finding, beside: Mapping[str, Finding], name: str) -> Drawn | None:
    """Return the figure of a finding's parts; None where no part has a number.

    Args:
        finding: With parts.
        beside: Findings of other models on the same question, by what to call them; curves are drawn beside.
        name: Unique in the page; prefixes every id in the figure.
    """
    parts = finding.parts
    if parts is None or not any(part.effect is not None for part in parts.items):
        return None
    if parts.kind in BINS and all(_ends(part.name) for part in parts.items):
        return _reliability(finding, parts, name)
    if parts.kind in ORDERED and sum(part.after is not None for part in parts.items) > 1:
        return _curve(finding, parts, beside, name)
    return _dots(finding, parts, name)


def _dots(finding: Finding, parts: Parts, name: str) -> Drawn:
    shown, unit = list(parts.items), words.scale(words.parts_unit(finding))
    if len(shown) > SHOWN:
        shown = sorted(shown, key=lambda part: -abs(part.effect or 0))[:SHOWN]
    label = _LETTER * min(_LONGEST, max(len(_sized(part)) for part in shown)) + 10
    foot = 12 + _ROW * len(shown)
    ends = [v * unit for part in shown for v in (part.effect, part.low, part.high) if v is not None]
    axis = _axis([*ends, 0.0], label + 6, _WIDTH - 74)
    better = _better(finding)
    if better == "lower":
        axis = Axis(axis.high, axis.low, axis.start, axis.end)
    body = _grid_of_columns(axis, foot)
    if finding.margin and abs(axis(finding.margin * unit) - axis(0)) < axis.end - axis.start:
        for sign in (-1, 1):
            x = axis(sign * finding.margin * unit)
            body += line(x, 8, x, foot, "margin") if axis.start <= x <= axis.end else ""
    for at, part in enumerate(shown):
        body += _dot(finding, part, axis, label, 8 + _ROW * (at + 0.5))
    left, right = ("← less", "more →") if better == "neither" else ("← harm", "better →")
    body += text(axis.start, foot + 28, left, "soft") + text(axis.end, foot + 28, right, "soft end")
    rest = len(parts.items) - len(shown)
    note = f"{words.count(rest)} more {words.plural(rest, parts.kind)} moved less." if rest else ""
    return Drawn(_svg(finding, parts, (_WIDTH, foot + 34), body, name), _WIDTH, note)


def _dot(finding: Finding, part: Part, axis: Axis, label: float, y: float) -> str:
    body = text(label, y + 4, _sized(part), "end")
    if part.effect is None:
        return body + text(_WIDTH - 4, y + 4, "no examples", "soft end")
    kind, unit = _verdict(finding, part), words.scale(words.parts_unit(finding))
    if part.low is not None and part.high is not None:
        body += line(axis(part.low * unit), y, axis(part.high * unit), y, f"bar {kind}")
    body += f'<circle class="dot {kind}" cx="{place(axis(part.effect * unit))}" cy="{place(y)}" r="4"/>'
    return body + text(_WIDTH - 4, y + 4, words.brief(part.effect, words.parts_unit(finding)), "end")


_Lines = Mapping[str, tuple[str, list[float | None]]]


def _lines(finding: Finding, parts: Parts, beside: Mapping[str, Finding]) -> _Lines:
    """The levels of every model, by its name, each with how its line is drawn."""
    unit = words.scale(words.parts_unit(finding))
    lines: dict[str, tuple[str, list[float | None]]] = {}
    for told, other in beside.items():
        if other.parts is not None and len(other.parts.items) == len(parts.items):
            lines[told] = (f"noise n{len(lines)}", [_times(part.after, unit) for part in other.parts.items])
    if finding.control != "zero":
        lines[finding.control] = ("before", [_times(part.before, unit) for part in parts.items])
    lines[finding.candidate] = ("after", [_times(part.after, unit) for part in parts.items])
    return lines


def _curve(finding: Finding, parts: Parts, beside: Mapping[str, Finding], name: str) -> Drawn:
    lines = _lines(finding, parts, beside)
    names = [_tail(_bare(part.name, parts.kind), 14) for part in parts.items]
    tilted = max(map(len, names)) * _LETTER > 330 / len(names)
    top = 10 + 16.0 * len(lines)
    foot = top + 150
    height = foot + (16 + 4.4 * max(map(len, names)) if tilted else 22) + 14
    axis = _levels(finding, parts, lines, foot, top)
    across = Axis(-0.3, len(names) - 0.7, 44, _WIDTH - 14)
    body = _grid_of_rows(axis, across, "%" if words.is_share(words.parts_unit(finding)) else "")
    body += _spreads(finding, parts, axis, across)
    for at, (told, (kind, values)) in enumerate(lines.items()):
        body += path([(across(i), axis(v)) for i, v in enumerate(values) if v is not None], kind)
        body += line(44, 8 + 16 * at, 66, 8 + 16 * at, f"path {kind}") + text(72, 12 + 16 * at, _short(told, 40), "")
    body += _points(finding, parts, axis, across)
    body += _below(names, across, foot, tilted=tilted) + text(across.end, height - 3, _aim(finding), "soft end")
    return Drawn(_svg(finding, parts, (_WIDTH, height), body, name), _WIDTH)


def _levels(finding: Finding, parts: Parts, lines: _Lines, start: float, end: float) -> Axis:
    """The axis of a curve: intervals may widen it, but not so far that the curves become one line."""
    unit = words.parts_unit(finding)
    levels = [v for _, values in lines.values() for v in values if v is not None]
    low, high = min(levels), max(levels)
    room = (high - low) / 2
    floor, ceiling = low - room, high + room
    if words.is_share(unit) and low >= 0 and high <= 100:
        floor, ceiling = max(floor, 0.0), min(ceiling, 100.0)
    spreads = [v for part in parts.items for v in _spread(part, words.scale(unit))]
    return _axis([*levels, *(min(max(v, floor), ceiling) for v in spreads)], start, end)


def _spreads(finding: Finding, parts: Parts, axis: Axis, across: Axis) -> str:
    body = ""
    for at, part in enumerate(parts.items):
        spread = _spread(part, words.scale(words.parts_unit(finding)))
        if spread:
            low, high = (axis(min(max(end, axis.low), axis.high)) for end in spread)
            body += line(across(at), low, across(at), high, f"bar {_verdict(finding, part)}")
    return body


def _points(finding: Finding, parts: Parts, axis: Axis, across: Axis) -> str:
    unit = words.scale(words.parts_unit(finding))
    found = [(at, part.after * unit, part) for at, part in enumerate(parts.items) if part.after is not None]
    return "".join(
        f'<circle class="dot {_verdict(finding, part)}" cx="{place(across(at))}" cy="{place(axis(level))}" r="4"/>'
        for at, level, part in found
    )


def _reliability(finding: Finding, parts: Parts, name: str) -> Drawn:
    size, top = 320.0, 42.0
    across, axis = Axis(0, 1, 44, size - 20), Axis(0, 1, top + 220, top)
    body = _grid_of_rows(Axis(0, 100, axis.start, axis.end), across, "%")
    body += "".join(text(across(t), axis.start + 16, f"{100 * t:.0f} %", "soft middle") for t in (0, 0.5, 1))
    body += line(across(0), axis(0), across(1), axis(1), "margin")
    for part in parts.items:
        spread, x = _spread(part, 1.0), across(sum(_ends(part.name)) / 2)
        body += line(x, axis(_within(spread[0])), x, axis(_within(spread[1])), "bar after") if spread else ""
    for at, (kind, told) in enumerate((("before", finding.control), ("after", finding.candidate))):
        found = [(sum(_ends(p.name)) / 2, p.before if kind == "before" else p.after) for p in parts.items]
        dots = [(across(x), axis(_within(y))) for x, y in found if y is not None]
        body += path(dots, kind)
        body += "".join(f'<circle class="dot {kind}" cx="{place(x)}" cy="{place(y)}" r="3.5"/>' for x, y in dots)
        body += line(44, 8 + 16 * at, 66, 8 + 16 * at, f"path {kind}") + text(72, 12 + 16 * at, _short(told, 34), "")
    body += text(across.end, axis.start + 31, "confidence; dashed: as often right as sure", "soft end")
    return Drawn(_svg(finding, parts, (size, axis.start + 36), body, name), size)


def _within(level: float) -> float:
    return min(max(level, 0.0), 1.0)


def _better(finding: Finding) -> str:
    return (finding.parts.better if finding.parts else None) or finding.better


def _aim(finding: Finding) -> str:
    """What stands under the axis of a curve: what its parts are, and which way is good."""
    better = _better(finding)
    kind = finding.parts.kind if finding.parts else ""
    return kind if better == "neither" else f"{kind}; {better} is better"


def _verdict(finding: Finding, part: Part) -> str:
    """The color of a part: shown to have moved, shown to lie inside the margin, or neither."""
    if part.effect is None:
        return "open"
    if words.moved(part):
        better = _better(finding)
        return (
            "moved" if better == "neither" else "improved" if (part.effect > 0) == (better == "higher") else "worsened"
        )
    ends = (part.low, part.high)
    inside = finding.margin is not None and all(end is not None and abs(end) < finding.margin for end in ends)
    return "unchanged" if inside else "open"


def _spread(part: Part, unit: float) -> tuple[float, ...]:
    """The interval of the effect, laid around the level before."""
    if part.before is None or part.low is None or part.high is None:
        return ()
    return ((part.before + part.low) * unit, (part.before + part.high) * unit)


def _times(value: float | None, unit: float) -> float | None:
    return None if value is None else value * unit


def _ends(name: str) -> tuple[float, ...]:
    """The two ends of a bin, as shares of one, from a name such as ``0.8 to 0.9`` or ``80 to 90 %``."""
    found = tuple(float(text) / (100 if "%" in name else 1) for text in _NUMBER.findall(name))
    return found if len(found) == 2 and all(0 <= end <= 1 for end in found) else ()


def _bare(name: str, kind: str) -> str:
    """A name without the word that stands under the axis anyway."""
    return name.removeprefix(kind).strip() or name


def _short(name: str, longest: int = _LONGEST) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _sized(part: Part) -> str:
    """The name of a part, cut where it is long, and of how many examples it is."""
    size = "" if part.n is None else f" ({words.count(part.n)})"
    return _short(part.name, _LONGEST - len(size)) + size


def _tail(name: str, longest: int) -> str:
    """A name cut in front: what tells layers apart stands at the end."""
    return name if len(name) <= longest else f"…{name[1 - longest :]}"


def _axis(values: Sequence[float], start: float, end: float) -> Axis:
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return Axis(low - room, high + room, start, end)


def _grid_of_columns(axis: Axis, foot: float) -> str:
    body = line(axis(0), 8, axis(0), foot, "zero")
    upright = Axis(min(axis.low, axis.high), max(axis.low, axis.high), 0, 1)
    for tick in upright.ticks():
        body += line(axis(tick), 8, axis(tick), foot, "grid")
        body += text(axis(tick), foot + 13, words.number(tick, plus=True), "soft middle")
    return body


def _grid_of_rows(axis: Axis, across: Axis, unit: str = "") -> str:
    body = ""
    for tick in axis.ticks():
        body += line(across.start, axis(tick), across.end, axis(tick), "grid")
        body += text(across.start - 5, axis(tick) + 4, f"{words.number(tick)} {unit}".strip(), "soft end")
    return body


def _below(names: Sequence[str], across: Axis, foot: float, *, tilted: bool) -> str:
    body, step = "", max(1, math.ceil(len(names) / 24))
    for at, name in list(enumerate(names))[::step]:
        x, y = across(at), foot + 15
        turn = f' transform="rotate(-48 {x:.1f} {y:.1f})"' if tilted else ""
        body += text(x + (3 if tilted else 0), y, name, "soft end" if tilted else "soft middle", turn)
    return body


def _svg(finding: Finding, parts: Parts, size: tuple[float, float], body: str, name: str) -> str:
    width, height = size
    head = f'<svg class="figure parts" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img" '
    head += f'aria-labelledby="{name}-title {name}-desc">'
    title = f"{finding.label} of {finding.candidate}, by {parts.kind}"
    told = "; ".join(f"{part.name}: {_spoken(finding, part)}" for part in parts.items[:SHOWN])
    more = len(parts.items) - SHOWN
    told += f"; and {more} more" if more > 0 else ""
    head += f'<title id="{name}-title">{html.escape(title)}</title>'
    return f'{head}<desc id="{name}-desc">{html.escape(told)}</desc>{body}</svg>'


def _spoken(finding: Finding, part: Part) -> str:
    if part.effect is None:
        return "no examples"
    text = words.signed(part.effect, words.parts_unit(finding))
    if part.low is not None and part.high is not None:
        text += f" ({words.interval(part.low, part.high, words.parts_unit(finding))})"
    return text
