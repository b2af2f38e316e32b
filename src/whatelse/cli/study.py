"""Measuring what a study file asks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from whatelse.cli import complete
from whatelse.cli.files import write
from whatelse.cli.options import (
    KEPT,
    Copy,
    Device,
    DryRun,
    Files,
    Full,
    Items,
    On,
    Quiet,
    Results,
    Seeds,
    ShowExamples,
    Workers,
    with_files,
)
from whatelse.cli.running import conduct, foretell

ORDER = 3


@with_files("surfaces")
def command(
    file: Annotated[
        str,
        typer.Argument(
            metavar="STUDY",
            help="What to measure: a file, or the name of one that ships: adult, ...",
            autocompletion=complete.studies,
        ),
    ],
    *,
    files: Files,
    results: Results = KEPT,
    on: On = "processes",
    workers: Workers = 0,
    full: Full = False,
    seeds: Seeds = "",
    device: Device = "",
    dry_run: DryRun = False,
    show_examples: ShowExamples = False,
    quiet: Quiet = False,
    items: Items = None,
    copy: Copy = "",
) -> None:
    """Measure a grid of recipes, behaviours and seeds. Safe to interrupt: a second run finds its work done.

    Where no file is asked for it writes STUDY.json and STUDY.html into the current folder.
    """
    from whatelse.study import spec

    text = spec.find(file)
    if copy:
        write(copy, text)
        return
    place = (on, workers, device)
    if dry_run:
        foretell((text, file), results, place, seeds, full=full)
        return
    stem = Path(file).stem
    usual = {"html": f"{stem}.html", "json": f"{stem}.json"}
    conduct(
        (text, file),
        files or usual,
        results,
        place,
        seeds,
        full=full,
        quiet=quiet,
        show_examples=show_examples,
    )
