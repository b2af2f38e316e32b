"""Measuring the survey's table."""

from __future__ import annotations

from importlib import resources

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

ORDER = 2


@with_files("surfaces", json="table.json", html="table.html")
def command(
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
    """Measure the survey's Table 1 on real handwritten digits; write it as a page and as JSON.

    It is nothing but a study file that ships in the package: --copy gives it to you as a start for your own.
    Safe to interrupt: a second run goes on where the first one was.
    """
    text = resources.files("whatelse.study").joinpath("table1.toml").read_text("utf-8")
    if copy:
        write(copy, text)
        return
    asked, place = (text, "table1.toml"), (on, workers, device)
    if dry_run:
        foretell(asked, results, place, seeds, full=full)
    else:
        conduct(asked, files, results, place, seeds, full=full, quiet=quiet, show_examples=show_examples)
