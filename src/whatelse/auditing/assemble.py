"""The one record that leaves the machine room, put together: findings, models, claims, and what was looked at."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

import whatelse
from whatelse import items
from whatelse.auditing import apart, claims, overlap, prune_potential, redrawn, verdicts
from whatelse.auditing.effects import Moved
from whatelse.auditing.inquiry import Inquiry
from whatelse.auditing.questions import Row
from whatelse.auditing.verdicts import Compared
from whatelse.findings import record
from whatelse.findings.checks import Check, Comparability
from whatelse.findings.consistent import check
from whatelse.findings.exhibits import Exhibit
from whatelse.tasks.task import Task


@dataclass(frozen=True)
class Costs:
    """What a model costs; None where that was not measured.

    Attributes:
        parameters: Nonzero ones.
        bytes: Of the saved model.
        macs: Multiply-accumulates of one example.
    """

    parameters: int | None = None
    bytes: int | None = None
    macs: int | None = None


def costs(inquiry: Inquiry, compared: Sequence[Compared]) -> dict[str, Costs]:
    """Return what every model costs, by its name: from the exact measurements, each under its item's own name.

    Args:
        inquiry: What was asked.
        compared: The effects of every measurement.
    """
    wanted, spent = set(asdict(Costs())), dict[str, dict[str, int]]()
    named = {m.label: m.item.rpartition(".")[2] for m in inquiry.measurements}
    for each in compared:
        for one in each.contrasts if named[each.label] in wanted else ():
            if isinstance(one.outcome, Moved) and math.isfinite(one.outcome.effect.after):
                spent.setdefault(one.candidate, {})[named[each.label]] = round(one.outcome.effect.after)
                spent.setdefault(one.control, {})[named[each.label]] = round(one.outcome.effect.before)
    return {name: Costs(**each) for name, each in spent.items()}


@dataclass(frozen=True)
class Circumstances:
    """What else a reader must know of how findings came about.

    Attributes:
        ended: When, ISO 8601.
        timing: Seconds spent.
        failed: Cells that raised.
        checks: What was looked at of each model against the baseline, by name.
    """

    ended: str
    timing: record.Timing
    failed: tuple[record.Failure, ...] = ()
    checks: Mapping[str, Sequence[Check]] | None = None


def assemble(
    inquiry: Inquiry,
    tasks: Mapping[str, Task],
    compared: Sequence[Compared],
    models: Sequence[record.Candidate],
    exhibits: Sequence[Exhibit],
    around: Circumstances,
) -> record.Findings:
    """Return everything that leaves the machine room, checked.

    Args:
        inquiry: What was asked.
        tasks: By name.
        compared: The effects of every measurement.
        models: The candidates and controls.
        exhibits: Examples to show.
        around: How it came about.

    Raises:
        FindingsError: Something is named that is not there, or there twice.
    """
    found = verdicts.decided(inquiry, compared)
    judged = [claims.judge(claim, inquiry, found, models) for claim in inquiry.claims]
    made = record.Findings(
        whatelse=whatelse.__version__,
        created=around.ended,
        study=record.Study(
            inquiry.name, inquiry.title, " ".join(inquiry.description.split()), inquiry.text, inquiry.draws
        ),
        environment=record.Environment(
            python=platform.python_version(),
            torch=torch.__version__,
            numpy=np.__version__,
            platform=f"{platform.system()} {platform.machine()}",
            threads=1,
        ),
        timing=around.timing,
        seeds=inquiry.seeds,
        tasks=tuple(_task(inquiry, name, task) for name, task in tasks.items()),
        rows=tuple(_row(inquiry, row) for row in inquiry.rows),
        candidates=tuple(models),
        findings=found.findings,
        claims=redrawn.settled(inquiry, compared, models, judged),
        exhibits=tuple(exhibits),
        failed=around.failed,
        potential=tuple(prune_potential.potentials(models, found.findings)),
        comparability=_comparability(tasks, around.checks or {}),
    )
    check(made)
    return made


def _comparability(tasks: Mapping[str, Task], checks: Mapping[str, Sequence[Check]]) -> Comparability:
    """Return what was looked at of the data, whatever was found, and of models that someone else made."""
    found = [one for name, task in tasks.items() for one in overlap.overlaps(task, name)]
    told = [f"task {one.task}: {one.remark}" if len(tasks) > 1 else one.remark for one in found if one.remark]
    return Comparability({name: tuple(each) for name, each in checks.items()}, tuple(found), tuple(told))


def _task(inquiry: Inquiry, name: str, task: Task) -> record.Task:
    about = inquiry.tasks[name]
    splits = {split: len(held) for split, held in task.splits.items()}
    return record.Task(name, about.title, about.description, splits, task.classes, task.key, about.references)


def _row(inquiry: Inquiry, row: Row) -> record.Row:
    told = record.Row(row.name, row.title, row.status, row.survey, row.cited, row.question)
    lead = next((m for m in inquiry.measurements if m.row == row.name and m.primary), None)
    if lead is None:
        return replace(told, apart=apart.read(row.apart).apart) if row.apart else told
    item = items.behaviour(lead.item)
    return replace(told, task=lead.tasks[0], unit=item.unit, better=item.better, margin=lead.margin)
