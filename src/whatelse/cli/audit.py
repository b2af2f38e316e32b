"""Auditing models that someone made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from whatelse.cli.files import hand_out, probe, write
from whatelse.cli.options import (
    KEPT,
    Asked,
    Device,
    DryRun,
    Files,
    Items,
    Memory,
    On,
    Quiet,
    Results,
    Seed,
    ShowExamples,
    Told,
    Workers,
    with_data,
    with_files,
    with_preparation,
)
from whatelse.errors import StudyError

if TYPE_CHECKING:
    from whatelse.findings.record import Findings

ORDER = 5
_LOGS = ("lm_eval", "inspect")  # loaders of what is both data and a model
Models = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="BASELINE CANDIDATE...",
        help="Folders, file.py:function[@weights], .onnx, .skops, .xml, http://, hf:, scores, logs (lm-eval, Inspect).",
    ),
]
Data = Annotated[
    str,
    typer.Option(
        "--data", metavar="D", help="A file, a folder of images, hf:owner/name, file.py:function or a loader."
    ),
]
FromLogs = Annotated[
    bool, typer.Option("--from-logs", help="The models are logs of lm-eval or Inspect; the first one is the data.")
]
Served = Annotated[
    list[str] | None, typer.Option("--model", metavar="NAME", help="What is served at each address, in their order.")
]
Recompressed = Annotated[
    str, typer.Option("--recompressed", "--again", metavar="MODEL", help="The candidate, compressed once more.")
]


@with_files("surfaces")
@with_data
@with_preparation
def command(
    models: Models = None,
    data: Data = "",
    from_logs: FromLogs = False,
    model: Served = None,
    placebo: Annotated[str, typer.Option(metavar="MODEL", help="The baseline given the same extra training.")] = "",
    twin: Annotated[str, typer.Option(metavar="MODEL", help="The baseline's recipe under another seed.")] = "",
    recompressed: Recompressed = "",
    remeasure: Annotated[int, typer.Option(min=0, metavar="N", help="Measure the baseline N more times.")] = 0,
    asked: Annotated[str, typer.Option("--questions", metavar="FILE", help="What to ask, as --copy writes it.")] = "",
    *,
    told: Told,
    prepared: Asked,
    files: Files,
    results: Results = KEPT,
    on: On = "",
    workers: Workers = 0,
    seed: Seed = 0,
    batch: Annotated[int, typer.Option(min=0, metavar="N", help="Ask N examples at once, as it is served.")] = 0,
    stop: Annotated[bool, typer.Option("--stop", help="Stop costly measurements once their verdict is clear.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Measure models that should not be compared.")] = False,
    device: Device = "",
    max_memory: Memory = "",
    dry_run: DryRun = False,
    show_examples: ShowExamples = False,
    quiet: Quiet = False,
    items: Items = None,
    copy: Annotated[str, typer.Option("--copy", metavar="FILE", help="Only write the questions, for D.")] = "",
) -> None:
    """Hold models that someone made against their baseline: a verdict per behaviour.

    Where no file is asked for it writes audit.json and audit.html into the current folder. Safe to interrupt: a second
    run finds its work done.
    """
    from whatelse import opening
    from whatelse.auditing import questions as asking
    from whatelse.study import run, spec

    if copy:
        write(copy, asking.default(opening.load_task(opening.data_text(data, told)).modality if data else ""))
        return
    base, given = _named(opening.served(models or [], model or []), data or from_logs)
    out = files or {"html": "audit.html", "json": "audit.json"}
    probe(*(() if dry_run else out.values()))
    questions = asking.read_questions(spec.find(asked), asked) if asked else None
    run.check_engine(on or "inline")
    controls = _given(placebo=placebo, twin=twin, recompressed=recompressed)
    how: dict[str, Any] = {"controls": controls, "seed": seed, "remeasure": remeasure, "stop": stop, "force": force}
    how |= {"results": results, "on": on, "workers": workers, "max_memory": max_memory, "batch": batch}
    how |= {"device": device, "prepare": opening.preparations(prepared, ["baseline", *given, *controls])}
    what = (base, given, opening.data_text(data or (models or [""])[0], told), questions)
    if dry_run:
        _foretold(what, how)
    else:
        hand_out(_shown(what, how | {"show_examples": show_examples}, quiet=quiet), out, quiet=quiet)


def _foretold(what: tuple[Any, ...], how: dict[str, Any]) -> None:
    """Say what an audit would cost."""
    from whatelse.cli.progress import foretell
    from whatelse.study import audit

    foretell(audit.dry_run(*what, **how))


def _shown(what: tuple[Any, ...], how: dict[str, Any], *, quiet: bool) -> Findings:
    """Audit, and show how far it is."""
    from whatelse import limits
    from whatelse.study import audit
    from whatelse.study.bar import bar

    limits.keep_memory()
    with bar(quiet=quiet) as (show, announce):
        return audit.audit(*what, show=show, announce=announce, **how)


def _given(**controls: str) -> dict[str, str]:
    """Return the controls that were handed over."""
    return {name: text for name, text in controls.items() if text}


def _named(models: list[str], data: str | bool) -> tuple[str, dict[str, str]]:
    """Return what opens the baseline, and what opens each candidate, by the short names that findings call them."""
    from whatelse import items, opening
    from whatelse.auditing.questions import handed
    from whatelse.auditing.roles import ZERO

    if not data or len(models) < 2:  # noqa: PLR2004 - a baseline and a candidate
        raise StudyError("a BASELINE, at least one CANDIDATE and --data D are needed; see whatelse audit --help")
    if data is True and not any(items.loader(name).takes(models[0]) for name in _LOGS):
        raise StudyError(
            f"--from-logs: {models[0]} is no log of lm-eval (samples_*.jsonl) or Inspect (.eval); leave it out, or say "
            "--data"
        )
    taken = {ZERO, *handed()}
    names = [text if name in taken else name for name, text in zip(opening.short_names(models), models, strict=True)]
    given = dict(zip(names, models, strict=True))
    return given.pop(next(iter(given))), given
