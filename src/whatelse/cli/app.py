"""The command line: thin, and nothing in it that the library does not do."""

from __future__ import annotations

import json
import sys
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from whatelse import limits, registry
from whatelse.cli.files import probe as _probe
from whatelse.cli.files import write as _write
from whatelse.errors import ArtifactError, StudyError, WhatElseError, nearest

if TYPE_CHECKING:
    from whatelse.findings.record import Findings

UNUSABLE, INTERRUPTED = 3, 130


def _hold(context: typer.Context, given: str) -> str:
    """Let the limit that is given hold until the command ends."""
    context.with_resource(limits.within(given))
    return given


app = typer.Typer(
    name="whatelse",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="You compressed the model. [bold]What else changed?[/bold]\n\nCompress PyTorch models, measure everything "
    "else that changed, and get verdicts that statistics can defend. Exit codes: 0 done, 3 unusable input, "
    "130 interrupted (finished work is kept); of gate also 1 NO-GO and 2 INCONCLUSIVE.",
)

Json = Annotated[str, typer.Option("--json", metavar="FILE", help="Write the findings as JSON; - for standard output.")]
Html = Annotated[str, typer.Option("--html", metavar="FILE", help="Write one self-contained HTML page.")]
Results = Annotated[
    Path, typer.Option("--results", metavar="DIR", help="Where finished cells are kept and found again.")
]
On = Annotated[str, typer.Option("--on", metavar="ENGINE", help="Where jobs run: processes (here) or ray.")]
Workers = Annotated[int, typer.Option("--workers", min=0, help="Jobs at once; 0 for as many as cores.")]
Full = Annotated[
    bool,
    typer.Option("--full", help="Also what the study marks full, and its careful settings; needs whatelse[methods]."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what is left to do and what it will cost.")]
_ALLOWED = "What opening a file may take, such as 8G [2G, or 16 times the file]."
Memory = Annotated[str, typer.Option("--max-memory", metavar="SIZE", help=_ALLOWED, callback=_hold)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table; errors only.")]
Kept = Path("whatelse-results")


@app.command("list")
def list_(
    kind: Annotated[str, typer.Argument(metavar="[methods|behaviours]", help="Only one kind.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")] = False,
) -> None:
    """Name every method and behaviour, with one line each, its settings and its needs."""
    kinds: tuple[registry.Kind, ...] = ("methods", "behaviours")
    if kind and kind not in kinds:
        raise StudyError(f"whatelse list {kind}: no such kind; {nearest(kind, kinds)}")
    cards = {k: [registry.card(k, n) for n in registry.names(k)] for k in kinds if kind in {"", k}}
    if as_json:
        listing = {k: [{**vars(c), "constants": c.constants} for c in found] for k, found in cards.items()}
        sys.stdout.write(json.dumps(listing, indent=1) + "\n")
        return
    console = Console()
    for k, found in cards.items():
        table = Table(title=k, title_justify="left", box=None, padding=(0, 2, 0, 0))
        table.add_column("name", style="bold", no_wrap=True)
        table.add_column("what it is")
        table.add_column("settings" if k == "methods" else "needs", style="dim")
        for c in found:
            table.add_row(c.name, c.summary, ", ".join(c.settings if k == "methods" else c.needs))
        console.print(table)


@app.command()
def table(
    json_file: Json = "table.json",
    html: Html = "table.html",
    results: Results = Kept,
    on: On = "processes",
    workers: Workers = 0,
    full: Full = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    copy: Annotated[str, typer.Option("--copy", metavar="FILE", help="Only write the study file.")] = "",
) -> None:
    """Measure the survey's Table 1 on real handwritten digits; write it as a page and as JSON.

    It is nothing but a study file that ships in the package: --copy gives it to you as a start for your own.
    Safe to interrupt: a second run goes on where the first one was.
    """
    text = resources.files("whatelse.study").joinpath("table1.toml").read_text("utf-8")
    if copy:
        _write(copy, text)
        return
    asked = (text, "table1.toml")
    if dry_run:
        _foretell(asked, results, (on, workers), full=full)
    else:
        _conduct(asked, (json_file, html), results, (on, workers), full=full, quiet=quiet)


@app.command("study")
def study_(
    file: Annotated[
        str, typer.Argument(metavar="STUDY", help="What to measure: a file, or the name of one that ships: adult, ...")
    ],
    json_file: Json = "",
    html: Html = "",
    results: Results = Kept,
    on: On = "processes",
    workers: Workers = 0,
    full: Full = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    copy: Annotated[str, typer.Option("--copy", metavar="FILE", help="Only write the study file.")] = "",
) -> None:
    """Measure a grid of recipes, behaviours and seeds. Safe to interrupt: a second run finds its work done.

    Without --json and --html it writes STUDY.json and STUDY.html into the current folder.
    """
    from whatelse.study import spec

    text = spec.find(file)
    if copy:
        _write(copy, text)
        return
    if dry_run:
        _foretell((text, file), results, (on, workers), full=full)
        return
    stem = Path(file).stem
    out = (json_file, html) if json_file or html else (f"{stem}.json", f"{stem}.html")
    _conduct((text, file), out, results, (on, workers), full=full, quiet=quiet)


@app.command("compress")
def compress_(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A folder written by compress, file.py:function, or 'cnn()'.")
    ],
    steps: Annotated[str, typer.Option("--recipe", metavar="RECIPE", help="What to do: method(setting=...) > ...")],
    data: Annotated[str, typer.Option("--data", metavar="D", help="A file .npz or .safetensors, or a data loader.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to make.")],
    weights: Annotated[str, typer.Option("--weights", metavar="FILE[:NAME]", help="For file.py:function.")] = "",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Decides everything random.")] = 0,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write model.onnx too, checked in onnxruntime.")] = False,
    pt2: Annotated[bool, typer.Option("--pt2", help="Write model.pt2 too, an exported PyTorch program.")] = False,
    json_file: Annotated[str, typer.Option("--json", metavar="FILE", help="Write costs as JSON; - for stdout.")] = "",
    max_memory: Memory = "",
    quiet: Quiet = False,
) -> None:
    """Make a smaller model, write it, reload it in a fresh process and prove it equal, and say what it costs."""
    from whatelse import opening, recipe
    from whatelse.artifacts import compress, costs

    recipe.parse(steps)
    compress.check_free(out)
    if json_file:
        _probe(json_file)
    also = tuple(kind for kind, wanted in (("onnx", onnx), ("pt2", pt2)) if wanted)
    task = opening.load_task(data)
    whole = opening.open_module(model, task, weights)
    compress.check_before(whole, steps, task, also)
    terminal = Console(stderr=True, quiet=quiet)
    with terminal.status("starting") as status:
        small = compress.compress(whole, steps, task, seed, lambda step: status.update(escape(step)))
        status.update("writing, and proving the copy equal in a fresh process")
        failed = compress.write(small, out, task, steps, seed, also)
        status.update("measuring both models in turn")
        written, told = costs.files(whole, small.model, out, task, also)
        found = written + costs.costs(whole, small.model, task)
    warned = told + costs.warnings_of(found, small.model, task)
    record = costs.record(small, found, warned)
    if json_file:
        _write(json_file, json.dumps(record, indent=1, allow_nan=False) + "\n")
    if not quiet and json_file != "-":
        from whatelse.report.costs import print_costs

        print_costs(record, Console())
        terminal.print(f"written: {out}, reloaded in a fresh process, outputs equal bit for bit", highlight=False)
    for line in warned:
        sys.stderr.write(f"warning: {line}\n")
    for reason in failed.values():
        raise ArtifactError(f"{out} is written and proven; {reason}")


@app.command("audit")
def audit_(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="BASELINE CANDIDATE...", help="Folders written by compress, or file.py:function."),
    ] = None,
    data: Annotated[
        str, typer.Option("--data", metavar="D", help="A file .npz or .safetensors, or a data loader.")
    ] = "",
    placebo: Annotated[str, typer.Option(metavar="MODEL", help="The baseline given the same extra training.")] = "",
    twin: Annotated[str, typer.Option(metavar="MODEL", help="The baseline's recipe under another seed.")] = "",
    recompressed: Annotated[
        str, typer.Option("--recompressed", "--again", metavar="MODEL", help="The candidate, compressed once more.")
    ] = "",
    remeasure: Annotated[int, typer.Option(min=0, metavar="N", help="Measure the baseline N more times.")] = 0,
    asked: Annotated[str, typer.Option("--questions", metavar="FILE", help="What to ask, as --copy writes it.")] = "",
    json_file: Json = "",
    html: Html = "",
    results: Results = Kept,
    on: On = "processes",
    workers: Workers = 0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Decides everything random.")] = 0,
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
    from whatelse.auditing import questions as asking
    from whatelse.cli.progress import bar
    from whatelse.study import audit, run, spec

    if copy:
        _write(copy, asking.default())
        return
    if not data or len(models or ()) < 2:  # noqa: PLR2004 - a baseline and a candidate
        raise StudyError("a BASELINE, at least one CANDIDATE and --data D are needed; see whatelse audit --help")
    out = (json_file, html) if json_file or html else ("audit.json", "audit.html")
    for name in out:
        _probe(name)
    questions = asking.read_questions(spec.find(asked), asked) if asked else None
    run.check_engine(on)
    names = opening.short_names(models or [])
    given = dict(zip(names, models or [], strict=True))
    base = given.pop(names[0])
    controls = {"placebo": placebo, "twin": twin, "recompressed": recompressed}
    with bar(quiet=quiet) as (show, _):
        found = audit.audit(
            *(base, given, data, questions),
            controls={name: text for name, text in controls.items() if text},
            seed=seed,
            remeasure=remeasure,
            stop=stop,
            force=force,
            results=results,
            on=on,
            workers=workers,
            max_memory=max_memory,
            show=show,
        )
    _hand_out(found, out, "audit", quiet=quiet)


@app.command("gate")
def gate_(
    findings: Annotated[str, typer.Argument(metavar="FINDINGS.json", help="What --json wrote.")] = "",
    budgets: Annotated[str, typer.Option("--budgets", metavar="FILE", help="What damage is accepted.")] = "",
    candidate: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this one; may be repeated.")] = None,
    junit: Annotated[str, typer.Option("--junit", metavar="FILE", help="Write the decision as JUnit XML.")] = "",
    markdown: Annotated[str, typer.Option("--markdown", metavar="FILE", help="Write it as Markdown.")] = "",
    json_file: Annotated[str, typer.Option("--json", metavar="FILE", help="Write it as JSON; - for stdout.")] = "",
    copy: Annotated[str, typer.Option("--copy", metavar="FILE", help="Only write the default budgets.")] = "",
    quiet: Quiet = False,
) -> None:
    """Hold findings against budgets: exit code 0 GO, 1 NO-GO, 2 INCONCLUSIVE, 3 unusable input.

    Without --budgets the default ones decide; --copy gives them to you as a start for your own.
    """
    from whatelse.gate import budgets as owners
    from whatelse.gate import command, terminal

    if copy:
        _write(copy, owners.default())
        return
    asked = {form: n for form, n in (("junit", junit), ("markdown", markdown), ("json", json_file)) if n}
    for name in asked.values():
        _probe(name)
    decision, texts = command.rule(findings, budgets, candidate or (), registry.names("behaviours"), asked)
    for form, name in asked.items():
        _write(name, texts[form])
    if not quiet and "-" not in asked.values():
        terminal.print_gate(decision, Console())
    raise typer.Exit(decision.code)


@app.command()
def report(
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
        _write_page(found, html, findings.read_text("utf-8"))
    if card:
        _write(card, cards.render(found))
    if markdown:
        _write(markdown, tables.render(found))
    if not quiet and "-" not in {html, card, markdown}:
        _print(found)


def _conduct(
    asked: tuple[str, str], out: tuple[str, str], results: Path, place: tuple[str, int], *, full: bool, quiet: bool
) -> None:
    from whatelse.cli.progress import bar
    from whatelse.study import run, spec
    from whatelse.study.run_study import run_study

    study = spec.parse(*asked, tier="full" if full else "quick")
    run.check_engine(place[0])
    for name in out:
        _probe(name)
    with bar(quiet=quiet) as (show, announce):
        found = run_study(study, results, on=place[0], workers=place[1], show=show, announce=announce)
    _hand_out(found, out, asked[1], quiet=quiet)


def _hand_out(found: dict[str, object], out: tuple[str, str], where: str, *, quiet: bool) -> None:
    """Write findings as JSON and as a page, and print the table; where JSON goes to stdout, doubts go to stderr."""
    from whatelse.findings import checks
    from whatelse.findings import record as reader

    json_file, html = out
    text_of = json.dumps(found, indent=1, allow_nan=False) + "\n"
    if json_file:
        _write(json_file, text_of)
    read = reader.parse(found, where)
    if html:
        _write_page(read, html, text_of)
    for line in checks.told(read.comparability) if json_file == "-" and not quiet else ():
        sys.stderr.write(f"warning: {line}\n")
    if not quiet and json_file != "-":
        _print(read)
        written = " and ".join(name for name in (html, json_file) if name)
        Console(stderr=True).print(f"written: {written}", highlight=False)


def _foretell(asked: tuple[str, str], results: Path, place: tuple[str, int], *, full: bool) -> None:
    from whatelse.cli.progress import foretell
    from whatelse.study import run, spec
    from whatelse.study.run_study import dry_run

    run.check_engine(place[0])
    foretell(dry_run(spec.parse(*asked, tier="full" if full else "quick"), results, place[1]))


def _print(found: Findings) -> None:
    from whatelse.report import table as tables

    tables.print_table(found, Console())


def _write_page(found: Findings, name: str, text: str) -> None:
    """Write the page, unless it stands there already, whole, made of the same findings by the same release."""
    from whatelse.report import page_cache

    mark = page_cache.mark(text)
    if name == "-" or not page_cache.stands(Path(name), mark):
        from whatelse.report import page

        _write(name, page_cache.closed(page.render(found, mark)))


def main() -> None:
    """Run the command line; every error of the user's is one line on stderr and exit code 3."""
    try:
        code = app(standalone_mode=False)
    except typer.TyperException as error:
        _fail(error.format_message(), UNUSABLE)
    except WhatElseError as error:
        _fail(str(error), UNUSABLE)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:
        _fail(
            "interrupted; finished cells are kept, nothing half-written is: run the same command again to go on",
            INTERRUPTED,
        )
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> None:
    one_line = " ".join(message.split())
    sys.stderr.write(f"whatelse: {one_line}\n")
    sys.exit(code)
