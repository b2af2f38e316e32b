"""A row that a study of its own measured: every surface quotes what that one found, and none says that it is open."""

from __future__ import annotations

import html
import io
from typing import Any

import pytest
from rich.console import Console

from whatelse.findings.record import Findings, parse
from whatelse.report._grid import arrange
from whatelse.report.surfaces import card, markdown, terminal
from whatelse.report.surfaces import html as page

TOLD, BRIEF = "A searched one was <2 points> better.", "2 improved, 1 worsened, of 3 comparisons"


@pytest.fixture
def apart(document: dict[str, Any]) -> Findings:
    row = next(row for row in document["rows"] if row["name"] == "architecture")
    row["status"] = "measured"
    row["apart"] = {"brief": BRIEF, "told": TOLD, "made_by": "python it.py", "page": "docs/it.md"}
    return parse(document)


def test_its_cells_are_empty_and_it_counts_as_not_measured_in_them(apart: Findings) -> None:
    line = next(line for line in arrange(apart).lines if line.row.name == "architecture")
    assert not line.measured
    assert set(line.cells) == {None}


def test_the_page_has_the_tally_in_the_table_and_what_was_found_in_the_row(apart: Findings) -> None:
    text = html.unescape(page.render(apart))
    row = text[text.index('href="#row-architecture"') :]
    assert f"measured apart: {BRIEF}</td>" in row[: row.index("</tr>")]
    assert f"Measured apart, by python it.py: {TOLD} All numbers: docs/it.md." in text
    assert "This row is not measured yet" not in text
    assert "<2 points>" not in page.render(apart)


def test_markdown_terminal_and_card_quote_it(apart: Findings) -> None:
    text = markdown.render(apart)
    assert "| **Architecture search** | measured apart | measured apart |" in text
    assert "not measured yet" not in text
    assert markdown.plain(TOLD) in text
    told = card.render(apart)
    assert f"- Architecture search: Measured apart, by python it.py: {markdown.plain(TOLD)}" in told
    assert "Not measured yet" not in told
    console = Console(file=io.StringIO(), width=100, no_color=True, _environ={})
    terminal.show(apart, console)
    shown = " ".join(console.file.getvalue().split())
    assert TOLD in shown
    assert "not measured yet" not in shown
