"""The table and the outcomes as Markdown, for a pull request."""

from __future__ import annotations

from whatelse.findings import checks
from whatelse.findings import phrasing as words
from whatelse.findings.phrasing import markdown as plain
from whatelse.findings.record import Finding, Findings
from whatelse.report._grid import Line, arrange

HELP = "Write the table in Markdown."


def render(findings: Findings) -> str:
    """Return Markdown with the table, what became of each claim, and every failed cell.

    Args:
        findings: As loaded.
    """
    grid = arrange(findings)
    head = ["What changed", *(plain(candidate.name) for candidate in grid.candidates)]
    parts = [f"## {plain(findings.study.title)}", plain(findings.study.description)]
    lines = [_joined(head), _joined(["---"] * len(head)), *(_line(line) for line in grid.lines)]
    parts.append("\n".join(lines))
    parts.append(
        "Each cell: the verdict, and the effect against a control that was not compressed. "
        "Worsened is harm whatever the sign; pp are percentage points; an interval is given at 95 %."
    )
    if grid.surveyed:
        parts.append("\n".join(["### The claims", "", *(one for line in grid.lines for one in _claims(line))]))
    parted = [one for line in grid.lines for one in _parts(line)]
    if parted:
        parts.append("\n".join(["### By part", "", *parted]))
    parts.append(_checked(findings))
    if findings.failed:
        cells = [f"- **{plain(failure.cell)}**: {plain(failure.error)}" for failure in findings.failed]
        parts.append("\n".join([f"### × {len(cells)} failed", "", *cells]))
    parts.append(f"whatelse {plain(findings.whatelse)}, seeds {', '.join(map(str, findings.seeds)) or 'none'}.")
    return "\n\n".join(part for part in parts if part) + "\n"


def _checked(findings: Findings) -> str:
    counted = checks.counted(findings.comparability)
    told = [f"- {plain(line)}." for line in checks.told(findings.comparability)]
    head = ["### What was checked", "", f"{words.capital(counted)}."] if counted or told else []
    return "\n".join([*head, *(["", *told] if told else [])])


def _joined(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _line(line: Line) -> str:
    title = f"**{plain(line.row.title)}**"
    if line.row.apart is not None:
        return _joined([title, *[words.APART] * len(line.cells)])
    if not line.measured:
        sign = words.VERDICTS[words.NOT_YET].symbol
        return _joined([title, *[f"{sign} {words.NOT_YET}"] * len(line.cells)])
    return _joined([title, *(_cell(cell) for cell in line.cells)])


def _cell(cell: Finding | None) -> str:
    verdict = words.NOT_YET if cell is None else cell.verdict
    text = f"{words.VERDICTS[verdict].symbol} {verdict}"
    if cell is None or cell.effect is None:
        return text
    text += f" {plain(words.signed(cell.effect, cell.unit))}"
    if cell.low is None or cell.high is None:
        return text
    return f"{text} ({plain(words.interval(cell.low, cell.high, cell.unit))})"


def _claims(line: Line) -> list[str]:
    if not line.claims:
        return [f"- **{plain(line.row.title)}**: the survey makes no claim."]
    apart = f" {words.elsewhere(line.row.apart)}" if line.row.apart is not None else ""
    return [
        f"- **{plain(line.row.title)}**: **{words.outcome(claim)}**. “{plain(claim.claim)}” ({plain(claim.source)}) "
        f"{plain(words.grounds(claim))}. What the source supports: {plain(claim.supports)}{plain(apart)}"
        for claim in line.claims
    ]


def _parts(line: Line) -> list[str]:
    """One line a row: every model some of whose parts changed."""
    told = [(cell, words.parts(cell)) for cell in line.cells if cell is not None and cell.parts is not None]
    moved = [f"{plain(cell.candidate)}: {plain(text)}" for cell, text in told if ", most " in text]
    if not told:
        return []
    return [f"- **{plain(line.row.title)}**: {'; '.join(moved) or 'no part changed'}."]
