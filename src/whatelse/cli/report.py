"""Showing findings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from whatelse.cli.files import probe, render, told_left_out
from whatelse.cli.options import Files, Items, Quiet, ShowExamples, with_files

ORDER = 7


@with_files("surfaces")
def command(
    findings: Annotated[Path, typer.Argument(metavar="FINDINGS.json", help="What a study or a table wrote.")],
    *,
    files: Files,
    mlflow: Annotated[str, typer.Option("--mlflow", metavar="URI", help="Log a run a candidate to MLflow.")] = "",
    show_examples: ShowExamples = False,
    items: Items = None,
    quiet: Quiet = False,
) -> None:
    """Show findings: in the terminal, as a page, as a model card, as Markdown for a pull request."""
    del items  # taken up when they were read
    # Imported here, as in every command: `whatelse list` must not wait for torch.
    from whatelse.findings import record as reader
    from whatelse.findings import views

    probe(*files.values())
    found = reader.load(findings)
    found = found if show_examples else views.without_examples(found)
    render("surfaces", files, found, quiet=quiet)
    if mlflow:
        from whatelse.report import tracking

        tracking.log(found, mlflow)
    if not quiet:
        told_left_out(found)
