"""Auditing models that someone made."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from whatelse.cli.files import hand_out, probe, write
from whatelse.cli.options import Html, Json, Memory, Quiet, Seed
from whatelse.errors import StudyError

ORDER = 5


def command(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="BASELINE CANDIDATE...", help="Folders written by compress, or file.py:function."),
    ] = None,
    data: Annotated[
        str, typer.Option("--data", metavar="D", help="A file .npz or .safetensors, or a data loader.")
    ] = "",
    placebo: Annotated[str, typer.Option(metavar="MODEL", help="The baseline given the same extra training.")] = "",
    twin: Annotated[str, typer.Option(metavar="MODEL", help="The baseline's recipe under another seed.")] = "",
    again: Annotated[str, typer.Option(metavar="MODEL", help="The candidate, compressed under another seed.")] = "",
    remeasure: Annotated[int, typer.Option(min=0, metavar="N", help="Measure the baseline N more times.")] = 0,
    asked: Annotated[str, typer.Option("--questions", metavar="FILE", help="What to ask, as --copy writes it.")] = "",
    json_file: Json = "",
    html: Html = "",
    seed: Seed = 0,
    stop: Annotated[bool, typer.Option("--stop", help="Stop costly measurements once their verdict is clear.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Measure models that should not be compared.")] = False,
    max_memory: Memory = "",
    quiet: Quiet = False,
    copy: Annotated[str, typer.Option("--copy", metavar="FILE", help="Only write the questions.")] = "",
) -> None:
    """Hold models that someone made against their baseline: a verdict per behaviour.

    Without --json and --html it writes audit.json and audit.html into the current folder.
    """
    from whatelse import opening
    from whatelse.study import audit, spec

    if copy:
        write(copy, audit.default())
        return
    if not data or len(models or ()) < 2:  # noqa: PLR2004 - a baseline and a candidate
        raise StudyError("a BASELINE, at least one CANDIDATE and --data D are needed; see whatelse audit --help")
    out = (json_file, html) if json_file or html else ("audit.json", "audit.html")
    for name in out:
        probe(name)
    questions = audit.questions(spec.find(asked), asked) if asked else None
    names = opening.short_names(models or [])
    task = opening.load_task(data)
    opened = opening.open_models(dict(zip(names, models or [], strict=True)), task)
    controls = opening.open_models({"placebo": placebo, "twin": twin, "again": again}, task)
    base = opened.pop(names[0])
    with Console(stderr=True, quiet=quiet).status("starting") as status:
        found = audit.audit(
            *(base, opened, task, questions),
            controls=controls,
            seed=seed,
            remeasure=remeasure,
            stop=stop,
            force=force,
            show=lambda doing: status.update(escape(doing)),
        )
    hand_out(found, out, "audit", quiet=quiet)
