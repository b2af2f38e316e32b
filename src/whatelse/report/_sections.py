"""What the page says of each row: words, figures and pictures made ready for the template."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from whatelse.findings import phrasing as words
from whatelse.findings.exhibits import Exhibit, Node, Picture
from whatelse.findings.record import Finding, Findings, Potential
from whatelse.report import _pictures, figures
from whatelse.report import parts as parting
from whatelse.report._grid import Family, Grid, Line, anchors, questions
from whatelse.report._listing import Listing, listed

CONTROL_MEANING: Mapping[str, str] = {
    "baseline": "the model before it was made smaller",
    "placebo": "the baseline given the same extra training, but not made smaller",
    "twin": "the same training with another random seed",
    "scratch": "the small architecture trained from scratch, without the larger model's help",
    "random": "a network that was never trained: what a model that knows nothing does",
    "weight decay": "the baseline trained with weight decay, a plain remedy against overfitting",
    "retest": "the baseline measured again with other random numbers",
    "recompressed": "compressed once more under another seed",
    "zero": "no change at all",
}
_MOST = 24  # examples of one gallery
_STRONG, _OTHERS = 4, 3  # figures of parts: of the primary question, and of others
_WORD = re.compile(r"[a-z0-9][a-z0-9-]*")


@dataclass(frozen=True)
class Plot:
    """One family's figure."""

    family: str
    knob: str
    width: float
    svg: Markup


@dataclass(frozen=True)
class Tile:
    """One small image with a word under it."""

    source: str
    caption: str
    signed: bool = False


@dataclass(frozen=True)
class Shown:
    """One example with its tiles and a sentence."""

    heading: str
    tiles: tuple[Tile, ...]
    note: str
    text: str = ""


@dataclass(frozen=True)
class Gallery:
    """An exhibit made ready: a heading, a legend and examples."""

    title: str
    about: str
    maps: bool
    items: tuple[Shown, ...]
    more: int = 0

    @property
    def pictures(self) -> bool:
        """Whether there is anything to see: examples without an image are a list."""
        return any(item.tiles for item in self.items)


@dataclass(frozen=True)
class Grove:
    """A tree made ready."""

    title: str
    about: str
    tree: Node


@dataclass(frozen=True)
class Spread:
    """The figure of one finding's parts."""

    question: str
    candidate: str
    control: str
    kind: str
    told: str
    width: float
    svg: Markup
    note: str


@dataclass(frozen=True)
class Reach:
    """How far one family can go, in words."""

    family: str
    recipe: str
    loses: str
    reaches: str
    levels: str
    question: str


@dataclass(frozen=True)
class Section:
    """Everything that the page says of one row."""

    anchor: str
    line: Line
    scale_unit: str
    about: str
    tally: str
    plots: tuple[Plot, ...]
    notes: tuple[str, ...]
    numbers: tuple[Listing, ...]
    galleries: tuple[Gallery, ...]
    left_out: tuple[str, ...]
    groves: tuple[Grove, ...]
    spreads: tuple[Spread, ...]
    reaches: tuple[Reach, ...]

    @property
    def kinds(self) -> str:
        """What the figures of parts are by, such as ``group, layer``."""
        return ", ".join(dict.fromkeys(spread.kind for spread in self.spreads))

    @property
    def counted(self) -> str:
        """How many findings the row has, primary and others."""
        every = [row.finding for listing in self.numbers for row in listing.rows]
        primary = sum(f.primary for f in every)
        return f"{primary} primary, {len(every) - primary} secondary and control"

    @property
    def one_line(self) -> bool:
        """Whether the figures fit side by side on a wide screen without their words getting too small."""
        return sum(plot.width for plot in self.plots) <= 1300


def sections(findings: Findings, grid: Grid) -> tuple[Section, ...]:
    """Return the sections of the page in the order of the table.

    Args:
        findings: As loaded.
        grid: The same, arranged.
    """
    return tuple(_section(findings, grid, line, at) for at, line in enumerate(grid.lines))


def anchor(name: str, at: int) -> str:
    """Return an address inside the page: the row's name where it is a plain word, else its number.

    Args:
        name: The row's name.
        at: Its place in the table.
    """
    return f"row-{name}" if _WORD.fullmatch(name) else f"row-{at}"


def tally(cells: tuple[Finding | None, ...]) -> str:
    """Return how often each verdict was given, such as ``4 worsened, 5 unchanged``.

    Args:
        cells: The findings of one row.
    """
    counts = Counter(cell.verdict if cell else words.NOT_YET for cell in cells)
    return ", ".join(f"{counts[word]} {word}" for word in words.VERDICTS if counts[word])


def _section(findings: Findings, grid: Grid, line: Line, at: int) -> Section:
    held = anchors(findings, line)
    first = next((cell for cell in line.cells if cell is not None), None)
    plots, notes = _plots(grid, line, held, f"figure-{at}")
    reaches = (_reach(findings, potential) for potential in findings.potential)
    exhibits = [e for e in findings.exhibits if e.row == line.row.name]
    return Section(
        anchor=anchor(line.row.name, at),
        line=line,
        scale_unit=words.effect_unit(first.unit) if first else "",
        about=_about(line, first),
        tally=tally(line.cells) if line.measured else "",
        plots=plots,
        notes=notes,
        numbers=tuple(listed(*asked) for asked in questions(findings, line).items()),
        galleries=tuple(_gallery(e) for e in exhibits if e.tree is None and (e.items or not e.left_out)),
        left_out=tuple(_left_out(e) for e in exhibits if e.left_out),
        groves=tuple(_grove(e, e.tree) for e in exhibits if e.tree is not None),
        spreads=_spreads(findings, grid, line, f"parts-{at}"),
        reaches=tuple(reach for row, reach in reaches if row == line.row.name),
    )


def _about(line: Line, first: Finding | None) -> str:
    if first is None:
        return words.measured_in(line.row)
    task = f" on the task “{first.task}”" if first.task else ""
    return f"{words.capital(first.label)}{task}. {words.measured_in(line.row)}"


def _plots(grid: Grid, line: Line, held: Mapping[str, Finding], name: str) -> tuple[tuple[Plot, ...], tuple[str, ...]]:
    cells = [cell for cell in line.cells if cell is not None and cell.effect is not None]
    if not cells:
        return (), ()
    scale = figures.scale_of(cells, held)
    plots, start = [], 0
    for at, family in enumerate(grid.families):
        mine = line.cells[start : start + len(family.candidates)]
        start += len(mine)
        svg = figures.effect_figure(family, mine, held, scale, f"{name}-{at}")
        width = float(svg.split('width="', 1)[1].split('"', 1)[0])
        plots.append(Plot(family.name, _knob(family), width, Markup(svg)))  # noqa: S704 - figures escape what they are given
    return tuple(plots), _notes(cells, held, scale)


def _spreads(findings: Findings, grid: Grid, line: Line, name: str) -> tuple[Spread, ...]:
    """The figures of parts: each family's strongest model on the primary question; of others who moved most."""
    order = [family.candidates[-1].name for family in grid.families]
    order += [c.name for c in grid.candidates if c.name not in order]
    asked: dict[tuple[str, str, str], list[Finding]] = {}
    for f in findings.findings:
        if f.row == line.row.name and f.parts is not None and f.candidate in order and line.measured:
            asked.setdefault((f.behaviour, f.label, f.task), []).append(f)
    first = [f for group in asked.values() for f in group if f.primary]
    first.sort(key=lambda f: order.index(f.candidate))
    others = [min(group, key=_first_to_draw) for group in asked.values() if not any(f.primary for f in group)]
    others = [f for f in others if f.parts and any(part.effect for part in f.parts.items)]
    picked = [*first[:_STRONG], *sorted(others, key=_first_to_draw)[:_OTHERS]]
    found = (_spread(findings, f, f"{name}-{at}") for at, f in enumerate(picked))
    return tuple(spread for spread in found if spread is not None)


def _first_to_draw(finding: Finding) -> tuple[float, float]:
    """What is certain comes before what is large."""
    items = finding.parts.items if finding.parts is not None else ()
    return (
        min((part.adjusted_p for part in items if part.adjusted_p is not None), default=1.0),
        -max((abs(part.effect) for part in items if part.effect is not None), default=0.0),
    )


def _spread(findings: Findings, finding: Finding, name: str) -> Spread | None:
    asked = (finding.row, finding.behaviour, finding.label, finding.task)
    same = {f.candidate: f for f in findings.findings if (f.row, f.behaviour, f.label, f.task) == asked}
    wanted = [control for control in ("random", "twin") if control in same and control != finding.control]
    drawn = parting.draw(finding, {control: same[control] for control in wanted}, name)
    if drawn is None or finding.parts is None:
        return None
    return Spread(
        question=finding.label,
        candidate=finding.candidate,
        control="" if finding.control == "zero" else finding.control,
        kind=finding.parts.kind,
        told=words.parts(finding),
        width=drawn.width,
        svg=Markup(drawn.svg),  # noqa: S704 - figures escape what they are given
        note=drawn.note,
    )


def _reach(findings: Findings, potential: Potential) -> tuple[str, Reach]:
    """The row that asks what a potential is about, else the one on overfitting, and what to write there."""
    same = (f for f in findings.findings if (f.label, f.task) == (potential.label, potential.task))
    asked = next(same, None)
    kind = "" if potential.kind in {"", potential.family} else f" ({potential.kind})"
    task = f" (task {potential.task})" if potential.task else ""
    shown = potential.shown if len(potential.shown) == len(potential.levels) else (None,) * len(potential.levels)
    levels = (f"{v:g}{_SHOWN[ok]}" for v, ok in zip(potential.levels, shown, strict=True))
    return asked.row if asked else "overfitting", Reach(
        family=f"{potential.family}{kind}",
        recipe=potential.recipe,
        loses=words.size(potential.delta, potential.unit or (asked.unit if asked else "")),
        reaches=_reached(potential),
        levels=", ".join(levels),
        question=f"{potential.label}{task}",
    )


_SHOWN: Mapping[bool | None, str] = {True: " ✓", False: " –", None: ""}


def _reached(potential: Potential) -> str:
    if potential.potential is None:
        return "none of them"
    text = f"{potential.knob_name} {potential.potential:g}"
    if not potential.shown or potential.unbroken == potential.potential:
        return text
    gap = "not even the mildest" if potential.unbroken is None else f"only {potential.unbroken:g}"
    return f"{text}; without a gap {gap}"


def _knob(family: Family) -> str:
    return ", ".join(dict.fromkeys(c.knob_name for c in family.candidates if c.knob_name))


def _notes(cells: list[Finding], held: Mapping[str, Finding], scale: figures.Scale) -> tuple[str, ...]:
    notes = []
    if scale.linear is not None:
        edge = f"{words.number(scale.linear)} {words.effect_unit(cells[0].unit)}"
        notes.append(f"Beyond ±{edge} the axis is logarithmic, so that small and large effects can both be seen.")
    for name, finding in held.items():
        if finding.effect is not None and not figures.within(finding, scale):
            effect = words.signed(finding.effect, finding.unit)
            notes.append(f"{words.capital(name)} ({CONTROL_MEANING.get(name, 'a control')}) is off the axis: {effect}.")
    for name in ("placebo", "twin"):
        if name not in held:
            notes.append(f"No {name} was measured for this question, so that noise floor is not drawn.")
    return tuple(notes)


_TITLES = {
    "harmed": "Harmed most",
    "reconstruction": "Rebuilt from gradients",
    "population": "Read otherwise",
    "exposed": "Exposed members",
}


def _gallery(exhibit: Exhibit) -> Gallery:
    items = tuple(_shown(item) for item in exhibit.items[:_MOST])
    maps = any(item.maps is not None for item in exhibit.items)
    return Gallery(_title(exhibit), _whose(exhibit), maps, items, len(exhibit.items) - len(items))


def _left_out(exhibit: Exhibit) -> str:
    """Name what was not asked for: its heading tells of all examples and of none."""
    return f"{words.capital(_title(exhibit))} ({words.count(exhibit.left_out)}; {exhibit.candidate})"


def _title(exhibit: Exhibit) -> str:
    return exhibit.title or _TITLES.get(exhibit.kind, words.capital(exhibit.kind))


def _whose(exhibit: Exhibit) -> str:
    return f"{words.capital(exhibit.candidate)}, task {exhibit.task}."


def _grove(exhibit: Exhibit, tree: Node) -> Grove:
    return Grove(exhibit.title or "The distilled tree", _whose(exhibit), tree)


def _shown(item: Picture) -> Shown:
    tiles = [] if item.image is None else [Tile(_pictures.gray(item.image), "image")]
    if item.reconstruction is not None:
        tiles.append(Tile(_pictures.gray(item.reconstruction), "rebuilt"))
    if item.maps is not None:
        tiles.append(Tile(_pictures.signed(item.maps.baseline), "before", signed=True))
        tiles.append(Tile(_pictures.signed(item.maps.candidate), "after", signed=True))
    heading = _heading(item) if tiles else _line_of(item)
    return Shown(heading, tuple(tiles), item.note, item.text or "")


def _line_of(item: Picture) -> str:
    """An example without a picture: its number comes first."""
    parts = ["" if item.index is None else f"example {item.index}", "" if item.truth is None else f"truth {item.truth}"]
    if item.before is not None and item.after is not None:
        parts.append(f"read as {item.before} before, {item.after} after")
    return words.capital(", ".join(part for part in parts if part))


def _heading(item: Picture) -> str:
    if item.truth is None:
        return "" if item.index is None else f"Example {item.index}"
    if item.before is None or item.after is None:
        return f"Truth: {item.truth}"
    return f"{item.truth}: read as {item.before} before, {item.after} after"
