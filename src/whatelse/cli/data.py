"""Looking at data before any model is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from whatelse.cli.files import probe, write
from whatelse.cli.options import Items, Memory, Quiet, Told, with_data
from whatelse.errors import StudyError, nearest

if TYPE_CHECKING:
    from whatelse.auditing.data_check import DataSeen, Gate

ORDER = 8
_ACTIONS = ("check",)
_MOST = 40  # Lines of one table.


@with_data
def command(
    action: Annotated[str, typer.Argument(metavar="check", help="What to do.")],
    data: Annotated[str, typer.Argument(metavar="DATA", help="As --data of audit takes it.")],
    asked: Annotated[str, typer.Option("--questions", metavar="FILE", help="What an audit would ask.")] = "",
    *,
    told: Told,
    json_file: Annotated[str, typer.Option("--json", metavar="FILE", help="Write as JSON; - for stdout.")] = "",
    max_memory: Memory = "",
    quiet: Quiet = False,
    items: Items = None,
) -> None:
    """Say what was understood of data: columns, classes, groups, duplicates, and what can be decided at that size."""
    from whatelse import items as registered
    from whatelse import opening
    from whatelse.auditing import data_check
    from whatelse.auditing import questions as asking
    from whatelse.study import spec

    if action not in _ACTIONS:
        raise StudyError(f"data {action}: {nearest(action, _ACTIONS)}")
    probe(json_file)
    text = opening.data_text(data, told)
    name, given = opening.data_call(text)
    loader = registered.loader(name)
    task = opening.load_task(text)
    questions = asking.read_questions(
        spec.find(asked) if asked else asking.default(task.modality), asked or "audit.toml"
    )
    columns = loader.describe(loader.configure(given)) if loader.describe else ()
    seen = data_check.look(task, questions, columns)
    if json_file:
        write(json_file, json.dumps(asdict(seen), indent=1, allow_nan=False) + "\n")
    if not quiet and json_file != "-":
        _print(seen, Console())


def _print(seen: DataSeen, console: Console) -> None:
    for line in _inputs(seen):
        console.print(line, highlight=False)
    rows: list[tuple[object, ...]]
    if seen.columns:
        rows = [(c.name, c.kind, c.role, c.distinct, c.missing, c.told) for c in seen.columns]
        _table(console, ("column", "kind", "taken for", "values", "missing", ""), rows)
    splits = list(seen.splits)
    whole = [("all", *(str(n) for n in seen.splits.values()))]
    shares = [
        (name, *(f"{n} ({n / max(1, seen.splits[s]):.1%})" for s, n in sizes.items()))
        for name, sizes in seen.classes.items()
    ]
    _table(console, ("class", *splits), [*whole, *shares])
    if seen.groups:
        rows = [(f"{g.grouping}: {g.name}", *(g.sizes[s] for s in splits)) for g in seen.groups]
        _table(console, ("group", *splits), rows)
    for line in _duplicates(seen):
        console.print(line, highlight=False)
    console.print(
        f"\nWhat can be decided, if one of two models alone is right on {seen.changed:.0%} of examples "
        "(equivalent within the margin, power .9):",
        highlight=False,
    )
    _table(console, ("question", "margin", "decided by", "n", "needed", "can"), [_gate(g) for g in seen.gates])
    for hint in seen.hints:
        console.print(f"• {escape(hint)}", highlight=False)


def _inputs(seen: DataSeen) -> Iterator[str]:
    from whatelse.tasks.language import FORMS

    name = f"[bold]{escape(seen.task)}[/bold]: {seen.modality}"
    if seen.sentences:
        drawn = "" if seen.clusters == seen.sentences else f" in {seen.clusters} clusters"
        yield f"{name}; test has {seen.sentences} different sentences{drawn}, which intervals draw whole"
        return
    if seen.modality in FORMS:
        drawn = "" if seen.clusters == seen.splits["test"] else f" in {seen.clusters} clusters"
        yield f"{name}; test has {seen.splits['test']} of them{drawn}, which intervals draw whole"
        return
    bounds = f"bounds {seen.bounds[0]:g} to {seen.bounds[1]:g}" if seen.bounds else "no bounds"
    yield f"{name}, inputs {' x '.join(map(str, seen.shape))}, {bounds}"
    persons = f"; test has {seen.clusters} persons" if seen.clusters is not None else ""
    yield f"inputs of test lie from {seen.lowest:g} to {seen.highest:g}{persons}"


def _gate(gate: Gate) -> tuple[object, ...]:
    told = f"{gate.can}: {gate.why}" if gate.why else gate.can
    if gate.can == "no" and gate.within is not None:
        told = f"no; within {gate.within:.2g}"
    return gate.label, f"{gate.margin:g}", gate.part, gate.n or "", gate.needed or "", told


def _duplicates(seen: DataSeen) -> Iterator[str]:
    found = seen.alike
    within = ", ".join(f"{count} in {name}" for name, count in found.within.items() if count)
    shared = ", ".join(f"{count} of test in {name}" for name, count in found.in_test.items() if count)
    yield f"equal examples: {within or 'none within a split'}; {shared or 'none of test in another split'}"
    if found.looked:
        yield (
            f"near-duplicates: {found.near} of {found.looked} examples of test that were looked at, against "
            f"{found.against} of {found.beside}"
        )
    if found.conflicts:
        yield f"equal examples with different labels: {found.conflicts}"


def _table(console: Console, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(name)
    for row in rows[:_MOST]:
        table.add_row(*(escape(str(one)) for one in row))
    console.print()
    console.print(table)
    if len(rows) > _MOST:
        console.print(f"... and {len(rows) - _MOST} more; all of them are in --json", highlight=False)
