"""What the page says of each row: words, figures and pictures made ready for the template."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from whatelse.report import _pictures, figures
from whatelse.report import _words as words
from whatelse.report._grid import Family, Grid, Line, anchors, questions
from whatelse.report.findings import Exhibit, Finding, Findings, Picture

CONTROL_MEANING: Mapping[str, str] = {
    "baseline": "the model before it was made smaller",
    "placebo": "the baseline given the same extra training, but not made smaller",
    "twin": "the same training with another random seed",
    "scratch": "the small architecture trained from scratch, without the larger model's help",
    "random": "a network that was never trained: what a model that knows nothing does",
    "weight decay": "the baseline trained with weight decay, a plain remedy against overfitting",
    "zero": "no change at all",
}
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


@dataclass(frozen=True)
class Gallery:
    """An exhibit made ready: a heading, a legend and examples."""

    title: str
    about: str
    maps: bool
    items: tuple[Shown, ...]


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
    numbers: Mapping[str, list[Finding]]
    galleries: tuple[Gallery, ...]

    @property
    def counted(self) -> str:
        """How many findings the row has, primary and others."""
        every = [f for group in self.numbers.values() for f in group]
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
    return Section(
        anchor=anchor(line.row.name, at),
        line=line,
        scale_unit=words.effect_unit(first.unit) if first else "",
        about=_about(line, first),
        tally=tally(line.cells) if line.measured else "",
        plots=plots,
        notes=notes,
        numbers=questions(findings, line),
        galleries=tuple(_gallery(e) for e in findings.exhibits if e.row == line.row.name),
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


def _gallery(exhibit: Exhibit) -> Gallery:
    rebuilt = exhibit.kind == "reconstruction"
    about = f"{words.capital(exhibit.candidate)}, task {exhibit.task}."
    title = exhibit.title or ("Rebuilt from gradients" if rebuilt else "Harmed most")
    items = tuple(_shown(item) for item in exhibit.items)
    return Gallery(title, about, any(item.maps is not None for item in exhibit.items), items)


def _shown(item: Picture) -> Shown:
    tiles = [Tile(_pictures.gray(item.image), "image")]
    if item.reconstruction is not None:
        tiles.append(Tile(_pictures.gray(item.reconstruction), "rebuilt"))
    if item.maps is not None:
        tiles.append(Tile(_pictures.signed(item.maps.baseline), "before", signed=True))
        tiles.append(Tile(_pictures.signed(item.maps.candidate), "after", signed=True))
    return Shown(_heading(item), tuple(tiles), item.note)


def _heading(item: Picture) -> str:
    if item.truth is None:
        return "" if item.index is None else f"Example {item.index}"
    if item.before is None or item.after is None:
        return f"Truth: {item.truth}"
    return f"{item.truth}: read as {item.before} before, {item.after} after"
