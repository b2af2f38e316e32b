"""Showing findings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from whatelse.cli.files import probe, render
from whatelse.cli.options import Files, Items, Quiet, with_files

ORDER = 7


@with_files("surfaces")
def command(
    findings: Annotated[Path, typer.Argument(metavar="FINDINGS.json", help="What a study or a table wrote.")],
    *,
    files: Files,
    items: Items = None,
    quiet: Quiet = False,
) -> None:
    """Show findings: in the terminal, as a page, as a model card, as Markdown for a pull request."""
    del items  # taken up when they were read
    # Imported here, as in every command: `whatelse list` must not wait for torch or matplotlib.
    from whatelse.findings import record as reader

    probe(*files.values())
    render("surfaces", files, reader.load(findings), quiet=quiet)
