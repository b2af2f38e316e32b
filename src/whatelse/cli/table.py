"""Measuring the survey's table."""

from __future__ import annotations

from importlib import resources

from whatelse.cli.files import write
from whatelse.cli.options import KEPT, Copy, DryRun, Full, Html, Items, Json, On, Quiet, Results, Workers
from whatelse.cli.running import conduct, foretell

ORDER = 2


def command(
    json_file: Json = "table.json",
    html: Html = "table.html",
    results: Results = KEPT,
    on: On = "processes",
    workers: Workers = 0,
    full: Full = False,
    dry_run: DryRun = False,
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
    asked = (text, "table1.toml")
    if dry_run:
        foretell(asked, results, (on, workers), full=full)
    else:
        conduct(asked, (json_file, html), results, (on, workers), full=full, quiet=quiet)
