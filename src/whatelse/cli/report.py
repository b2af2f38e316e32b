"""Showing findings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from whatelse.cli.files import print_findings, write, write_page
from whatelse.cli.options import Html, Quiet

ORDER = 7


def command(
    findings: Annotated[Path, typer.Argument(metavar="FINDINGS.json", help="What a study or a table wrote.")],
    html: Html = "",
    card: Annotated[str, typer.Option("--card", metavar="FILE", help="Write a model card in Markdown.")] = "",
    markdown: Annotated[str, typer.Option("--markdown", metavar="FILE", help="Write the table in Markdown.")] = "",
    quiet: Quiet = False,
) -> None:
    """Show findings: in the terminal, as a page, as a model card, as Markdown for a pull request."""
    # Imported here, as in every command: `whatelse list` must not wait for torch or matplotlib.
    from whatelse.findings import record as reader
    from whatelse.report import card as cards
    from whatelse.report import markdown as tables

    found = reader.load(findings)
    if html:
        write_page(found, html, findings.read_text("utf-8"))
    if card:
        write(card, cards.render(found))
    if markdown:
        write(markdown, tables.render(found))
    if not quiet and "-" not in {html, card, markdown}:
        print_findings(found)
