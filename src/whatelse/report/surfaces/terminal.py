"""The table for a terminal: as many families side by side as the width allows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from whatelse.findings import checks
from whatelse.findings import phrasing as words
from whatelse.findings.record import Claim, Finding, Findings
from whatelse.report._grid import Family, Grid, Line, arrange, short_name

_CELL, _HEAD = 15, 21
_OUTCOME_STYLES = {"supported": "blue", "contradicted": "red", "level-dependent": "magenta"}


def show(findings: Findings, console: Console) -> None:
    """Print the table, its legend and what became of each claim.

    Args:
        findings: As loaded.
        console: Where to; its width, colors and encoding are respected.
    """
    grid = arrange(findings)
    plain = _is_plain(console)
    console.print(_text(findings.study.title, plain, "bold"))
    for families in _pages(grid, console.width):
        console.print(_table(grid, families, plain))
    console.print(_legend(plain))
    for row in grid.lines:
        for claim in row.claims:
            console.print(_claim(row, claim, plain))
        if row.row.apart is not None:
            console.print(_text(f"{row.row.title}: {words.elsewhere(row.row.apart)}", plain, "dim"))
    if counted := checks.counted(findings.comparability):
        console.print(_text(f"checked: {counted}", plain, "dim"))
    for line in checks.told(findings.comparability):
        console.print(_text(f"checked: {line}", plain, "yellow"))
    for failure in findings.failed:
        console.print(_text(f"failed: {failure.cell}: {failure.error}", plain, "red"))


def _is_plain(console: Console) -> bool:
    """Whether the terminal can only show ASCII."""
    try:
        "▲▼–×…⚠\N{MINUS SIGN}±".encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        return True
    return False


def _text(text: str, plain: bool, style: str = "") -> Text:
    if plain:
        text = text.replace("\N{MINUS SIGN}", "-").encode("ascii", "replace").decode("ascii")
    return Text(text, style=style)


def _pages(grid: Grid, width: int) -> list[tuple[Family, ...]]:
    """Families that stand side by side; one that is wider than the console is parted."""
    room = max(1, (width - _HEAD - 2) // _CELL)
    pages: list[list[Family]] = [[]]
    for family in (part for whole in grid.families for part in _parts(whole, room)):
        used = sum(len(other.candidates) for other in pages[-1])
        if pages[-1] and used + len(family.candidates) > room:
            pages.append([])
        pages[-1].append(family)
    return [tuple(page) for page in pages]


def _parts(family: Family, room: int) -> Iterator[Family]:
    for start in range(0, len(family.candidates), room):
        yield replace(family, candidates=family.candidates[start : start + room])


def _table(grid: Grid, families: tuple[Family, ...], plain: bool) -> Table:
    table = Table(box=box.ASCII if plain else box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_lines=False)
    table.add_column("", min_width=12, max_width=_HEAD, overflow="fold")
    for family in families:
        for candidate in family.candidates:
            heading = f"{family.name}\n{short_name(candidate)}"
            table.add_column(_text(heading, plain, "bold"), min_width=8, max_width=_CELL - 1, overflow="fold")
    wanted = {candidate.name for family in families for candidate in family.candidates}
    for line in grid.lines:
        cells = [_cell(cell, plain) for c, cell in zip(grid.candidates, line.cells, strict=True) if c.name in wanted]
        if not line.measured:
            cells[1:] = [Text("") for _ in cells[1:]]
        if line.row.apart is not None:
            cells[:1] = [_text(words.APART, plain, "dim")]
        table.add_row(_text(line.row.title, plain, "bold"), *cells)
    return table


def _cell(cell: Finding | None, plain: bool) -> Text:
    verdict = words.NOT_YET if cell is None else cell.verdict
    sign = words.VERDICTS[verdict]
    text = f"{sign.ascii if plain else sign.symbol} {verdict}"
    if cell is not None and cell.effect is not None:
        text += f"\n{words.brief(cell.effect, cell.unit)}"
    return _text(text, plain, sign.style)


def _legend(plain: bool) -> Text:
    parts = (f"{s.ascii if plain else s.symbol} {word}" for word, s in words.VERDICTS.items() if word != words.NOT_YET)
    told = "worsened is harm whatever the sign; pp: percentage points; each effect is against its control"
    return _text(f"{'  '.join(parts)}\n{told}\n", plain, "dim")


def _claim(line: Line, claim: Claim, plain: bool) -> Text:
    text = _text(f"{line.row.title}: ", plain, "bold")
    told = words.outcome(claim)
    text.append_text(_text(told, plain, _OUTCOME_STYLES.get(told, "yellow")))
    text.append_text(_text(f'. The survey: "{claim.claim}" {words.grounds(claim)}', plain))
    return text
