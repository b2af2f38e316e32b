"""Plots of effect against strength, one per family, as inline SVG that follows the page's colors.

Colors and sizes of text are the page's, by class, so that light, dark and print share a figure. Down is always harm:
where lower is better, the axis is turned over.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap

import numpy as np

from whatelse.findings import phrasing as words
from whatelse.findings.record import Candidate, Finding
from whatelse.report._grid import Family, short_name
from whatelse.report._svg import line, path, place, text

SLOT, LETTER, LEFT, RIGHT, TOP, PLOT, LINE = 44, 6.2, 40, 6, 8, 190, 14
# From the middle of a mark to where its outline begins, and the outline.
MARKS: Mapping[str, tuple[float, float, str]] = {
    "improved": (-4, 4, "h8l-4 -8z"),
    "worsened": (-4, -4, "h8l-4 8z"),
    "unchanged": (-4, -4, "h8v8h-8z"),
    "not trusted": (-4, -2, "l2 -2l2 2l2 -2l2 2l-2 2l2 2l-2 2l-2 -2l-2 2l-2 -2l2 -2z"),
    "control": (-4.2, 0, "l4.2 4.2l4.2 -4.2l-4.2 -4.2z"),
}


@dataclass(frozen=True)
class Scale:
    """The vertical axis that all figures of a row share, in shown units.

    Attributes:
        low: Lower end.
        high: Upper end.
        linear: Half-width of the part around zero that is drawn to scale; beyond it distances are logarithmic.
            None where the whole axis is to scale.
        down: Whether smaller numbers stand lower.
    """

    low: float
    high: float
    linear: float | None
    down: bool


def scale_of(cells: Sequence[Finding], anchors: Mapping[str, Finding]) -> Scale:
    """Return an axis on which the effects of a row and its two noise floors can be seen.

    The random control is left off where it would press the others together. Where the largest effect is more
    than twelve margins, distances beyond two margins are logarithmic: the margin would be a hairline otherwise.

    Args:
        cells: The row's findings, at least one with an effect.
        anchors: Findings of controls by name.
    """
    shown = [*cells, *(a for name, a in anchors.items() if name != "random")]
    unit = cells[0].unit
    ends = [v for f in shown for v in (f.effect, f.low, f.high, f.floor, -(f.floor or 0)) if v is not None]
    margin = max((f.margin or 0 for f in cells), default=0) * words.scale(unit)
    values = np.array([*ends, 0.0]) * words.scale(unit)
    reach = float(np.abs(values).max())
    linear = 2 * margin if margin and reach > 12 * margin else None
    least = 1.6 * margin or reach or 1.0
    low, high = min(float(values.min()), -least), max(float(values.max()), least)
    ahead = _forward(np.array([low, high]), linear)
    pad = 0.08 * float(ahead[1] - ahead[0])
    bottom, top = _backward(ahead + np.array([-pad, pad]), linear)
    return Scale(float(bottom), float(top), linear, cells[0].better == "higher")


def within(finding: Finding, scale: Scale) -> bool:
    """Tell whether a finding's effect can be drawn on an axis.

    Args:
        finding: Any finding.
        scale: The axis.
    """
    if finding.effect is None:
        return False
    return scale.low <= finding.effect * words.scale(finding.unit) <= scale.high


@dataclass(frozen=True)
class _Plot:
    """Where things stand: slots from left to right, the axis from below to above."""

    scale: Scale
    slot: float
    slots: int

    @property
    def width(self) -> float:
        return LEFT + RIGHT + self.slot * self.slots

    def x(self, at: float) -> float:
        return LEFT + self.slot * (at + 0.5)

    def y(self, value: float) -> float:
        """Return the place of a value; beyond the axis that of its end."""
        scale = self.scale
        low, high, here = _forward(np.array([scale.low, scale.high, value]), scale.linear)
        share = min(max(float((here - low) / (high - low)), 0.0), 1.0)
        return TOP + PLOT * (1 - share if scale.down else share)


def effect_figure(
    family: Family, cells: Sequence[Finding | None], anchors: Mapping[str, Finding], scale: Scale, name: str
) -> str:
    """Return one family's effects against strength as the text of an SVG element.

    Args:
        family: The candidates, from mild to strong.
        cells: Their findings, in the same order.
        anchors: Findings of controls by name; those that fit are drawn to the left, in gray.
        scale: The axis shared with the other families.
        name: Unique in the page; prefixes every id in the figure.
    """
    drawn = {name: anchor for name, anchor in anchors.items() if within(anchor, scale)}
    labels = [wrap(name, 8) for name in drawn] + [_below(candidate) for candidate in family.candidates]
    longest = max(len(part) for label in labels for part in label or [""])
    plot = _Plot(scale, max(SLOT, LETTER * longest), len(labels))
    body = _frame(plot, len(drawn)) + _bands(plot, cells, len(drawn))
    body += line(LEFT, plot.y(0), plot.width - RIGHT, plot.y(0), "zero")
    if _of_one_kind(family):
        body += _line(plot, cells, len(drawn))
    body += "".join(_point(plot, at, anchor, "control") for at, anchor in enumerate(drawn.values()))
    body += "".join(_mark(plot, at, cell) for at, cell in enumerate(cells, len(drawn)))
    body += _labels(plot, labels, len(drawn))
    title, description = _told(family, cells, anchors)
    height = TOP + PLOT + LINE * max(map(len, labels)) + 8
    head = f'<svg class="figure" viewBox="0 0 {plot.width:.1f} {height}" width="{plot.width:.1f}" role="img" '
    head += f'aria-labelledby="{name}-title {name}-desc"><title id="{name}-title">{html.escape(title)}</title>'
    return f'{head}<desc id="{name}-desc">{html.escape(description)}</desc>{body}</svg>'


def _below(candidate: Candidate) -> list[str]:
    name = short_name(candidate)
    longest = max(map(len, name.split()), default=0)
    return wrap(name, min(max(8, longest), 14)) + ([candidate.level] if candidate.level else [])


def _of_one_kind(family: Family) -> bool:
    """Return whether the candidates are one method at several strengths: a line may lead from one to the next."""
    return len({tuple(re.findall(r"(\w+\.\w+)\(", c.recipe)) for c in family.candidates}) == 1


def _forward(values: np.ndarray, linear: float | None) -> np.ndarray:
    if linear is None:
        return values
    beyond = np.maximum(np.abs(values), linear)
    return np.where(np.abs(values) <= linear, values, np.sign(values) * linear * (1 + np.log(beyond / linear)))


def _backward(values: np.ndarray, linear: float | None) -> np.ndarray:
    if linear is None:
        return values
    beyond = np.maximum(np.abs(values), linear)
    return np.where(np.abs(values) <= linear, values, np.sign(values) * linear * np.exp(beyond / linear - 1))


def _frame(plot: _Plot, controls: int) -> str:
    lines = ticks = ""
    for tick in _ticks(plot.scale):
        y = plot.y(tick)
        lines += f"M{LEFT} {place(y)}H{place(plot.width - RIGHT)}"
        ticks += text(LEFT - 4, y + 4, _tick(tick))
    if controls:
        lines += f"M{place(plot.x(controls - 0.5))} {TOP}v{PLOT}"
    return f'<path class="grid" d="{lines}"/><g class="soft end">{ticks}</g>'


def _ticks(scale: Scale) -> list[float]:
    """Round numbers, the roundest first, each only where it has room."""
    reach = max(abs(scale.low), abs(scale.high))
    powers = 10.0 ** np.arange(np.floor(np.log10(reach)) - 3, np.log10(reach) + 1)
    wanted = [0.0]
    for step in (1, 5, 2):
        wanted += [sign * step * float(p) for p in powers[::-1] for sign in (1, -1)]
    ends = _forward(np.array([scale.low, scale.high]), scale.linear)
    kept: list[float] = []
    places: list[float] = []
    for value in wanted:
        place = float(_forward(np.array([value]), scale.linear)[0] - ends[0]) / float(ends[1] - ends[0])
        if 0.08 <= place <= 0.92 and all(abs(place - other) > 0.11 for other in places):
            kept.append(value)
            places.append(place)
    return sorted(kept)


def _tick(value: float) -> str:
    places = 0 if value == 0 else max(0, -int(np.floor(np.log10(abs(value)))))
    return words.number(value, plus=True, places=places) if abs(value) < 1000 else words.number(value, plus=True)


def _bands(plot: _Plot, cells: Sequence[Finding | None], first: int) -> str:
    floors = margins = ""
    for at, cell in enumerate(cells, first):
        if cell is not None and cell.floor:
            reach = cell.floor * words.scale(cell.unit)
            top, bottom = sorted((plot.y(reach), plot.y(-reach)))
            corner = f'x="{place(plot.x(at - 0.43))}" y="{place(top)}"'
            size = f'width="{place(0.86 * plot.slot)}" height="{place(bottom - top)}"'
            floors += f'<rect class="floor" {corner} {size}/>'
        if cell is not None and cell.margin:
            for sign in (-1, 1):
                y = plot.y(sign * cell.margin * words.scale(cell.unit))
                margins += f"M{place(plot.x(at - 0.5))} {place(y)}H{place(plot.x(at + 0.5))}"
    return floors + (f'<path class="margin" d="{margins}"/>' if margins else "")


def _line(plot: _Plot, cells: Sequence[Finding | None], first: int) -> str:
    there = [
        (plot.x(at), plot.y(c.effect * words.scale(c.unit)))
        for at, c in enumerate(cells, first)
        if c is not None and c.effect is not None
    ]
    return path(there, "thin") if len(there) > 1 else ""


def _mark(plot: _Plot, at: int, cell: Finding | None) -> str:
    if cell is not None and cell.effect is not None:
        return _point(plot, at, cell, cell.verdict)
    x, y = plot.x(at), plot.y(0)
    turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"'
    return text(x, y + 4, words.NOT_YET if cell is None else cell.verdict, "soft middle", turn)


def _point(plot: _Plot, at: int, finding: Finding, kind: str) -> str:
    unit, x, body = words.scale(finding.unit), plot.x(at), ""
    looks = kind.replace(" ", "-")
    if finding.low is not None and finding.high is not None:
        body = line(x, plot.y(finding.low * unit), x, plot.y(finding.high * unit), f"bar {looks}")
    y = plot.y((finding.effect or 0.0) * unit)
    if kind not in MARKS:
        return body + f'<circle class="dot {looks}" cx="{place(x)}" cy="{place(y)}" r="4"/>'
    right, down, outline = MARKS[kind]
    return body + f'<path class="dot {looks}" d="M{place(x + right)} {place(y + down)}{outline}"/>'


def _labels(plot: _Plot, labels: Sequence[Sequence[str]], controls: int) -> str:
    said = {"soft": "", "": ""}
    for at, lines in enumerate(labels):
        for row, told in enumerate(lines):
            tone = "soft" if row or at < controls else ""
            said[tone] += text(plot.x(at), TOP + PLOT + 14 + LINE * row, told)
    body = text(LEFT + 4, TOP + 9, "↑ better", "soft") + text(LEFT + 4, TOP + PLOT - 4, "↓ harm", "soft")
    return body + f'<g class="middle"><g class="soft">{said["soft"]}</g>{said[""]}</g>'


def _told(family: Family, cells: Sequence[Finding | None], anchors: Mapping[str, Finding]) -> tuple[str, str]:
    """Title and description for those who hear the figure."""
    parts = []
    for candidate, cell in zip(family.candidates, cells, strict=True):
        parts.append(f"{candidate.name}: {_spoken(cell)}")
    parts += [f"control {name}: {_spoken(anchor)}" for name, anchor in anchors.items()]
    return f"Effect against strength: {family.name}", "; ".join(parts)


def _spoken(cell: Finding | None) -> str:
    if cell is None:
        return words.NOT_YET
    if cell.effect is None:
        return cell.verdict
    return f"{words.signed(cell.effect, cell.unit)}, {cell.verdict}"
