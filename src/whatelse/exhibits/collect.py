"""What to look at: examples that were harmed most, what attacks rebuilt, trees, and what most models read otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whatelse import items, toml_schema
from whatelse.answer import Answer
from whatelse.auditing.ask import Measured, of_kept, subject_of
from whatelse.auditing.questions import Measurement
from whatelse.evidence.cache import Evidence
from whatelse.exhibits import pie, vulnerable_records
from whatelse.exhibits import trees as drawn
from whatelse.items import Behaviour
from whatelse.models.subject import Subject
from whatelse.store.folder import KeptEvidence, Store, key
from whatelse.study.jobs import Job, Plan
from whatelse.study.plan import pairs
from whatelse.study.spec import CandidateSpec, Study
from whatelse.tasks.task import Task

SHOWN = 4
# A population is as many models as seeds; so many test examples, from the first, are asked of each.
ASKED = 2000
Exhibit = dict[str, Any]
Jobs = dict[tuple[str, int], Job]


def collect(study: Study, plan: Plan, store: Store, tasks: Mapping[str, Task]) -> list[Exhibit]:
    """Return what the report shows beside its numbers.

    For the strong level of every family, in the rows whose primary measurement is of images of one channel or of
    three, shown in gray: the examples whose value moved furthest to the worse, on average over seeds, from the control
    to the candidate, with what each pixel contributes where both models differentiate; or, where the measurement
    rebuilds inputs, what it rebuilt from the baseline and from the candidate. Where it keeps trees, those; where it is
    about records, the members that are exposed more and those most exposed. With more
    than one seed, on any task: what most models of a candidate read otherwise than most baselines, in the row of the
    first primary measurement of test examples. Of tables and texts no row is printed.

    Args:
        study: The study.
        plan: Its work, done.
        store: Where models and values are kept.
        tasks: By name.
    """
    asked = {"shown": SHOWN, "study": toml_schema.write(study)}  # levels and rows decide what is shown
    held = [k for task in tasks.values() for k in (task.key, task.names)]
    name = key("exhibits", 6, asked, *held, *(e.key for e in plan.effects), seed=0)
    if not store.has("effects", name):
        store.save_record("effects", name, {"exhibits": list(_make(study, plan, store, tasks))})
    return list(store.load_record("effects", name)["exhibits"])


def _make(study: Study, plan: Plan, store: Store, tasks: Mapping[str, Task]) -> Iterator[Exhibit]:
    strong = [c for c in study.candidates if c.level == "strong"]
    leads = [m for m in study.measurements if m.primary]
    for lead in leads:
        yield from _of_lead(lead, strong, _jobs(plan, lead), study, store, tasks[lead.tasks[0]])
    first = next((m for m in leads if _of_test(m)), None)
    if first is not None and len(study.seeds) > 1:
        yield from _populations(strong, _jobs(plan, first), first, study, store, tasks[first.tasks[0]])


def _of_lead(
    lead: Measurement, strong: list[CandidateSpec], jobs: Jobs, study: Study, store: Store, task: Task
) -> Iterator[Exhibit]:
    """Say what one measurement has to show.

    Yields:
        Trees, or records, or what was rebuilt, or whom it harmed.
    """
    if trees := list(_trees(["baseline", *(c.name for c in strong)], jobs, lead, study, store, task)):
        yield from trees
        return
    if items.behaviour(lead.item).part == "operating point":
        yield from (e for c in strong for e in _exposed(c, jobs, lead, study, store, task))
    if not _of_test(lead) or not pie.pictured(task):
        return
    if rebuilt := _rebuilt("baseline", jobs, lead, study, store, task):
        yield rebuilt
        yield from (e for c in strong if (e := _rebuilt(c.name, jobs, lead, study, store, task)))
        return
    for candidate in strong:
        yield from _harmed(candidate, jobs, lead, study, store, task)


def _of_test(m: Measurement) -> bool:
    return items.behaviour(m.item).unit_of_analysis == "test example"


def _jobs(plan: Plan, m: Measurement) -> Jobs:
    return {(j.subject, j.seed): j for j in plan.jobs if j.task == m.tasks[0] and j.shadow is None}


def _trees(names: list[str], jobs: Jobs, m: Measurement, study: Study, store: Store, task: Task) -> Iterator[Exhibit]:
    for name in names:
        tree = drawn.exhibit(_shown(_values(jobs[name, study.seeds[0]], m, store), "tree"), m.row, name, task)
        if tree is not None:
            yield tree | {"task": m.tasks[0]}


def _populations(
    candidates: list[CandidateSpec], jobs: Jobs, m: Measurement, study: Study, store: Store, task: Task
) -> Iterator[Exhibit]:
    base = _labels("baseline", jobs, study, store, task)
    twins = _labels("twin", jobs, study, store, task)
    if base is None:
        return
    floor = None if twins is None else len(pie.exemplars(base, twins).rows)
    for candidate in candidates:
        mine = _labels(candidate.name, jobs, study, store, task)
        if mine is None:
            continue
        made = pie.exhibit(
            pie.exemplars(base, mine),
            task,
            row=m.row,
            name=m.tasks[0],
            candidate=candidate.name,
            models=len(base),
            asked=base.shape[1],
            floor=floor,
        )
        if made is not None:
            yield made


def _labels(name: str, jobs: Jobs, study: Study, store: Store, task: Task) -> Tensor | None:
    """Return what the models of every seed predict, ``(seeds, asked)``; None where one is missing."""
    mine = [jobs.get((name, seed)) for seed in study.seeds]
    if any(job is None or not store.has("models", job.chain[-1].key) for job in mine):
        return None
    inputs = task.test.inputs[:ASKED]
    return torch.stack([Evidence(_subject(j, store, task), task).answers(inputs).argmax(1) for j in mine if j])


def _values(job: Job, m: Measurement, store: Store) -> Answer | None:
    """Return what a cell kept; None where it failed or could not be measured."""
    cell = next((c for c in job.cells if c.label == m.label), None)
    if cell is None or not store.has("values", cell.key):
        return None
    outcome = of_kept(*store.load("values", cell.key))
    return outcome.answer if isinstance(outcome, Measured) else None


def _shown(answer: Answer | None, kind: str) -> Mapping[str, Tensor]:
    return next((shown.tensors for shown in answer.shown if shown.kind == kind), {}) if answer else {}


def _rebuilt(name: str, jobs: Jobs, m: Measurement, study: Study, store: Store, task: Task) -> Exhibit | None:
    answer = _values(jobs[name, study.seeds[0]], m, store)
    kept = _shown(answer, "rebuilt")
    if answer is None or not kept:
        return None
    values = answer[next(iter(answer.columns))]
    unit = items.behaviour(m.item).unit
    return {
        "row": m.row,
        "kind": "reconstruction",
        "task": m.tasks[0],
        "candidate": name,
        "title": f"rebuilt from the gradient of {'the baseline' if name == 'baseline' else name}",
        "items": [
            {
                "index": i,
                "image": pie.picture(kept["shown"][i], task),
                "reconstruction": pie.picture(kept["made"][i], task),
                "note": f"{float(values[i]):.0f} {unit}",
            }
            for i in range(min(SHOWN, len(kept["made"])))
        ],
    }


def _exposed(
    candidate: CandidateSpec, jobs: Jobs, m: Measurement, study: Study, store: Store, task: Task
) -> list[Exhibit]:
    held = _held(candidate, jobs, m, study, store)
    if not held:
        return []
    before, after = ([torch.from_numpy(pair[i].matrix()) for pair in held] for i in (0, 1))
    return vulnerable_records.exhibits(before, after, task, row=m.row, name=m.tasks[0], candidate=candidate.name)


def _held(
    candidate: CandidateSpec, jobs: Jobs, m: Measurement, study: Study, store: Store
) -> list[tuple[Answer, Answer]]:
    """Return what control and candidate kept, one pair a seed; nothing where one is missing."""
    control = next(against for name, against in pairs(study, m) if name == candidate.name)
    if control == "zero":
        return []
    held = [(_values(jobs[control, s], m, store), _values(jobs[candidate.name, s], m, store)) for s in study.seeds]
    whole = [(a, b) for a, b in held if a is not None and b is not None]
    return whole if len(whole) == len(held) else []


def _harmed(
    candidate: CandidateSpec, jobs: Jobs, m: Measurement, study: Study, store: Store, task: Task
) -> Iterator[Exhibit]:
    held = _held(candidate, jobs, m, study, store)
    item = items.behaviour(m.item)
    sides = [[_outcomes(h[i], item, item.configure(m.settings)) for h in held] for i in (0, 1)]
    if not held or any(one is None for side in sides for one in side):
        return
    before, after = (torch.stack([one for one in side if one is not None]) for side in sides)
    sign = -1 if item.better == "higher" else 1
    harm = sign * (after - before)
    order = harm.mean(0).argsort(descending=True, stable=True)
    picks = [i for i in order[:SHOWN].tolist() if harm[:, i].mean() > 0]
    if not picks:
        return
    yield {
        "row": m.row,
        "kind": "harmed",
        "task": m.tasks[0],
        "candidate": candidate.name,
        "title": f"harmed most by {candidate.name}",
        "items": [
            _item(i, jobs, candidate.name, study.seeds[int(harm[:, i].argmax())], store, task)
            | {"note": _note(m, before[:, i], after[:, i], len(study.seeds)) + _groups(i, task)}
            for i in picks
        ],
    }


def _outcomes(answer: Answer, item: Behaviour, config: object) -> Tensor | None:
    """Return one number for each example, ``(N,)``; None where it has none of its own.

    The outcome that the behaviour says it has; or the first of two columns, the second being a group. Of more columns
    it is the summary of the example alone, such as that of an attack by several means.
    """
    double = answer.over(answer.matrix().astype(np.float64))
    if item.outcomes is not None and np.isfinite(told := item.outcomes(double, config)[:, 0]).all():
        return torch.from_numpy(told)
    if len(answer.columns) <= 2:
        return next(iter(answer.columns.values()))
    rows = [np.eye(1, len(answer), i) for i in range(len(answer))] if len(answer) <= ASKED else []
    with np.errstate(divide="ignore", invalid="ignore"):
        each = [item.summarise(double, config, row)[0] for row in rows]
    return torch.tensor(each) if each and np.isfinite(each).all() else None


def _note(m: Measurement, before: Tensor, after: Tensor, seeds: int) -> str:
    return f"{m.label}: {float(before.mean()):.2g} → {float(after.mean()):.2g}, mean of {seeds} seeds"


def _groups(index: int, task: Task) -> str:
    codes = {g: int(task.test.groups[g][index]) for g in task.group_names}
    named = [task.group_names[g][code] for g, code in codes.items() if code >= 0]
    return "".join(f"; {name}" for name in named if not name.isdigit())


def _item(index: int, jobs: Jobs, name: str, seed: int, store: Store, task: Task) -> Exhibit:
    base = jobs["baseline", seed]
    before = Evidence(_subject(base, store, task), task, keep=KeptEvidence(store, base.baseline, task.key))
    after = Evidence(_subject(jobs[name, seed], store, task), task, reference=before)
    image = task.test.inputs[index]
    shown = pie.picture(image, task)
    item: Exhibit = {
        "index": index,
        "truth": str(int(task.test.targets[index])),
        "before": str(int(before.predictions()[index])),
        "after": str(int(after.predictions()[index])),
        **({} if shown is None else {"image": shown}),
    }
    if not all("differentiates" in e.subject.offers for e in (before, after)):
        return item
    maps = {n: _rounded(image * e.margin_gradient()[index]) for n, e in (("baseline", before), ("candidate", after))}
    return {**item, "maps": maps}


def _subject(job: Job, store: Store, task: Task) -> Subject:
    name = job.chain[-1].key
    return subject_of(store.load_model(name), job.subject, name, task)


def _rounded(contributions: Tensor) -> list[list[float]]:
    """Return what each pixel contributes with all its channels."""
    return [[round(v, 3) for v in row] for row in contributions.sum(0).tolist()]
