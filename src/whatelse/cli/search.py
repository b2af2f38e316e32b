"""Searching for the smallest model that keeps every budget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from whatelse.cli import complete
from whatelse.cli.files import probe
from whatelse.cli.options import (
    KEPT,
    Files,
    Items,
    Memory,
    On,
    Quiet,
    Results,
    Seed,
    Told,
    Workers,
    with_data,
    with_files,
)

ORDER = 4.5
Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="A folder written by compress, file.py:function, or 'cnn()'.")
]
Data = Annotated[
    str,
    typer.Option(
        "--data", metavar="D", help="A file, a folder of images, hf:owner/name, file.py:function or a loader."
    ),
]
_BUDGETS = "What damage is accepted, as gate takes it; the default budgets."
Budgets = Annotated[str, typer.Option("--budgets", metavar="FILE", help=_BUDGETS)]
_STRATEGY = "What proposes, of whatelse list strategies, with settings: descend(radius=3)."
Strategy = Annotated[
    str, typer.Option("--strategy", metavar="NAME", help=_STRATEGY, autocompletion=complete.names("strategies"))
]
_CHOICE = "A recipe for one layer, whose settings may be lists: quantize.uniform(bits=[8, 4]); may be repeated."
Choices = Annotated[list[str] | None, typer.Option("--choice", metavar="RECIPE", help=_CHOICE)]
_SPACE = (
    "What may be proposed: layers, widths, depth, or a recipe for the whole model whose settings may be lists; may be "
    "repeated."
)
Spaces = Annotated[list[str] | None, typer.Option("--space", metavar="WHAT", help=_SPACE)]
_THEN = "Trains what was made smaller, before layers are packed: train.finetune(epochs=1)."


@with_files("search_surfaces")
@with_data
def command(
    model: Model,
    data: Data,
    budgets: Budgets = "",
    minimize: Annotated[str, typer.Option(metavar="WHAT", help="bytes, parameters, macs or latency.")] = "bytes",
    strategy: Strategy = "descend",
    trials: Annotated[int, typer.Option(min=0, help="Configurations to measure; 0 leaves it to --minutes.")] = 60,
    minutes: Annotated[float, typer.Option(min=0, help="After which no more is begun; 0 for no limit.")] = 0,
    space: Spaces = None,
    choice: Choices = None,
    then: Annotated[str, typer.Option("--then", metavar="RECIPE", help=_THEN)] = "",
    asked: Annotated[str, typer.Option("--questions", metavar="FILE", help="What may be asked, as of audit.")] = "",
    stop: Annotated[bool, typer.Option("--stop", help="Stop costly measurements once they are clear.")] = False,
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="Folder to write the winner to.")] = "",
    *,
    told: Told,
    files: Files,
    results: Results = KEPT,
    on: On = "processes",
    workers: Workers = 0,
    seed: Seed = 0,
    max_memory: Memory = "",
    quiet: Quiet = False,
    items: Items = None,
) -> None:
    """Find the smallest compressed model that is shown to keep every budget, and prove it on data the search never saw.

    Where no file is asked for it writes search.json and search.html into the current folder, and audit.html with the
    audit of the winner. Safe to interrupt: a second run finds its trials done.
    """
    del items
    from whatelse import opening
    from whatelse.auditing import questions as asking
    from whatelse.cli.searching import hand_over, shown
    from whatelse.searching import driver, layered, spaces
    from whatelse.study import spec

    wanted, audit = _wanted(files)
    questions = asking.read_questions(spec.find(asked), asked) if asked else None
    how: dict[str, Any] = {"minimize": minimize, "strategy": strategy, "then": then, "seed": seed}
    how |= {"space": space or [spaces.LAYERS], "choices": choice or layered.CHOICES}
    how |= {"trials": trials, "minutes": minutes, "asked": questions, "stop": stop}
    how |= {"out": Path(out) if out else None, "results": results, "on": on, "workers": workers}
    with shown(quiet=quiet) as show:
        source = opening.data_text(data, told)
        found = driver.search(model, source, budgets, max_memory=max_memory, show=show, **how)
    hand_over(found, wanted, audit, quiet=quiet)


def _wanted(files: Files) -> tuple[Files, str]:
    """Return where each surface writes to, and where the winner's audit goes; nowhere where files were asked for."""
    wanted, audit = (files, "") if files else ({"html": "search.html", "json": "search.json"}, "audit.html")
    probe(*wanted.values(), audit)
    return wanted, audit
