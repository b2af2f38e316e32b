"""Plots of effect against strength, one per family, as inline SVG that follows the page's colors.

Drawn with matplotlib's object interface on an SVG canvas of its own: no process-wide setting changes. Colors
are stand-ins while drawing and become CSS variables in the text, so that light, dark and print share a figure.
Down is always harm: where lower is better, the axis is turned over.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from whatelse.findings import phrasing as words
from whatelse.findings.record import Candidate, Finding
from whatelse.report._grid import Family, short_name

SLOT, LETTER, LEFT, RIGHT, TOP, PLOT, LINE = 44, 6.2, 40, 6, 8, 190, 14
MARKS: Mapping[str, str] = {
    "improved": "^",
    "worsened": "v",
    "unchanged": "s",
    "inconclusive": "o",
    "not trusted": "X",
    "control": "D",
}
_COLORS = {
    "ink": "#010101",
    "soft": "#020202",
    "rule": "#030303",
    "surface": "#040404",
    "floor": "#050505",
    "margin": "#060606",
    "improved": "#070707",
    "worsened": "#080808",
    "unchanged": "#090909",
    "inconclusive": "#0a0a0a",
    "not trusted": "#0b0b0b",
    "control": "#0c0c0c",
}
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "whatelse",
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "font.size": 11.0,
    "path.simplify": False,
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
    with mpl.rc_context(_SETTINGS), warnings.catch_warnings():
        # The text stays text: the reader's fonts draw it, not matplotlib's.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        drawn = {name: anchor for name, anchor in anchors.items() if within(anchor, scale)}
        labels = [wrap(name, 8) for name in drawn] + [_below(candidate) for candidate in family.candidates]
        figure, axes = _axes(labels)
        _frame(axes, scale, len(drawn), len(labels))
        _bands(axes, cells, len(drawn))
        if _of_one_kind(family):
            _line(axes, cells, len(drawn))
        for at, anchor in enumerate(drawn.values()):
            _point(axes, at, anchor, "control")
        for at, cell in enumerate(cells, len(drawn)):
            _mark(axes, at, cell)
        _labels(axes, labels, len(drawn))
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(out.getvalue(), name, *_told(family, cells, anchors))


def _below(candidate: Candidate) -> list[str]:
    name = short_name(candidate)
    longest = max(map(len, name.split()), default=0)
    return wrap(name, min(max(8, longest), 14)) + ([candidate.level] if candidate.level else [])


def _of_one_kind(family: Family) -> bool:
    """Return whether the candidates are one method at several strengths: a line may lead from one to the next."""
    return len({tuple(re.findall(r"(\w+\.\w+)\(", c.recipe)) for c in family.candidates}) == 1


def _axes(labels: list[list[str]]) -> tuple[Figure, Axes]:
    longest = max(len(part) for label in labels for part in label or [""])
    slots, slot, lines = len(labels), max(SLOT, LETTER * longest), max(map(len, labels))
    width, foot = LEFT + RIGHT + slot * slots, LINE * lines + 8
    height = TOP + PLOT + foot
    figure = Figure(figsize=(width / 72, height / 72))
    FigureCanvasSVG(figure)
    figure.patch.set_visible(False)
    return figure, figure.add_axes((LEFT / width, foot / height, 1 - (LEFT + RIGHT) / width, PLOT / height))


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


def _frame(axes: Axes, scale: Scale, controls: int, slots: int) -> None:
    low, high = scale.low, scale.high
    if scale.linear is not None:
        linear = scale.linear
        axes.set_yscale("function", functions=(lambda v: _forward(v, linear), lambda v: _backward(v, linear)))
    axes.set_ylim(*((low, high) if scale.down else (high, low)))
    axes.set_xlim(-0.5, slots - 0.5)
    for side in ("top", "right", "bottom", "left"):
        axes.spines[side].set_visible(False)
    ticks = _ticks(scale)
    axes.set_yticks(ticks, labels=[_tick(tick) for tick in ticks])
    axes.yaxis.minorticks_off()
    axes.tick_params(length=0, colors=_COLORS["soft"], labelsize=10.5)
    axes.patch.set_visible(False)
    for tick in ticks:
        axes.axhline(tick, color=_COLORS["rule"], linewidth=0.6, zorder=0)
    axes.axhline(0, color=_COLORS["soft"], linewidth=1.0, zorder=1)
    if controls:
        axes.axvline(controls - 0.5, color=_COLORS["rule"], linewidth=1.0, zorder=0)


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


def _bands(axes: Axes, cells: Sequence[Finding | None], first: int) -> None:
    for at, cell in enumerate(cells, first):
        if cell is None:
            continue
        unit = words.scale(cell.unit)
        if cell.floor:
            height = 2 * cell.floor * unit
            axes.bar(at, height, 0.86, -cell.floor * unit, color=_COLORS["floor"], linewidth=0, zorder=0.5)
        if cell.margin:
            for sign in (-1, 1):
                height = sign * cell.margin * unit
                ends = (at - 0.5, at + 0.5)
                axes.plot(ends, (height, height), color=_COLORS["margin"], linewidth=1, dashes=(3, 2), zorder=1)


def _line(axes: Axes, cells: Sequence[Finding | None], first: int) -> None:
    there = [(at, c.effect * words.scale(c.unit)) for at, c in enumerate(cells, first) if c and c.effect is not None]
    if len(there) > 1:
        x, y = zip(*there, strict=True)
        axes.plot(x, y, color=_COLORS["soft"], linewidth=0.9, zorder=2)


def _mark(axes: Axes, at: int, cell: Finding | None) -> None:
    if cell is not None and cell.effect is not None:
        _point(axes, at, cell, cell.verdict)
        return
    told = words.NOT_YET if cell is None else cell.verdict
    axes.text(at, 0, f" {told} ", rotation=90, ha="center", va="center", color=_COLORS["soft"], fontsize=10, zorder=4)


def _point(axes: Axes, at: int, finding: Finding, kind: str) -> None:
    unit = words.scale(finding.unit)
    color = _COLORS.get(kind, _COLORS["soft"])
    if finding.low is not None and finding.high is not None:
        ends = (finding.low * unit, finding.high * unit)
        axes.plot((at, at), ends, color=color, linewidth=2, solid_capstyle="butt", zorder=3)
    hollow = kind in {"inconclusive", "control"}
    axes.plot(
        [at],
        [(finding.effect or 0.0) * unit],
        color=color,
        marker=MARKS.get(kind, "o"),
        markersize=6 if kind == "control" else 8,
        markerfacecolor=_COLORS["surface"] if hollow else color,
        markeredgecolor=color,
        markeredgewidth=1.6 if hollow else 0,
        zorder=4,
    )


def _labels(axes: Axes, labels: Sequence[Sequence[str]], controls: int) -> None:
    axes.set_xticks([])
    below = axes.get_xaxis_transform()
    for at, lines in enumerate(labels):
        for line, text in enumerate(lines):
            tone = _COLORS["soft" if line or at < controls else "ink"]
            y = -(5 + LINE * line) / PLOT
            axes.text(at, y, text, transform=below, ha="center", va="top", fontsize=11, color=tone)
    for height, edge, text in ((0.995, "top", "↑ better"), (0.005, "bottom", "↓ harm")):
        place = axes.transAxes
        axes.text(0.01, height, text, transform=place, ha="left", va=edge, fontsize=10, color=_COLORS["soft"])


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


def _inline(svg: str, name: str, title: str, description: str) -> str:
    """Cut a matplotlib file down to an element for a page: own ids, CSS colors, no fixed size."""
    body = svg[svg.index("<svg") :]
    box = re.search(r'viewBox="([^"]*)"', body)
    size = box.group(1) if box else "0 0 1 1"
    inner = body[body.index(">") + 1 : body.rindex("</svg>")]
    inner = re.sub(r"<metadata>.*?</metadata>", "", inner, flags=re.DOTALL)
    inner = re.sub(r"<style.*?</style>", "", inner, flags=re.DOTALL).replace("xlink:href", "href")
    used = set(re.findall(r"#([A-Za-z_][\w.-]*)", " ".join(re.findall(r'href="[^"]*"|url\([^)]*\)', inner))))
    inner = re.sub(r' id="([^"]*)"', lambda m: f' id="{name}-{m.group(1)}"' if m.group(1) in used else "", inner)
    inner = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", inner)
    for role, color in _COLORS.items():
        inner = inner.replace(color, f"var(--{role.replace(' ', '-')})")
    inner = re.sub(r" font-family: [^;\"]*;", "", inner)
    inner = re.sub(r"<(g|defs)>\s*</\1>|<g ?/>", "", inner)
    head = f'<svg class="figure" viewBox="{size}" width="{size.split()[2]}" role="img" '
    head += f'aria-labelledby="{name}-title {name}-desc">'
    told = f'<title id="{name}-title">{html.escape(title)}</title>'
    told += f'<desc id="{name}-desc">{html.escape(description)}</desc>'
    return re.sub(r"\n\s*", "\n", f"{head}{told}{inner}</svg>")
