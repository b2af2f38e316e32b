"""Examples to look at: those that compression harmed most, with both models' attribution maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from whatelse import registry, subject
from whatelse.evidence import Evidence
from whatelse.study.plan import Job, Plan
from whatelse.study.spec import CandidateSpec, Study
from whatelse.study.store import KeptEvidence, Store, key
from whatelse.study.work import generator
from whatelse.task import Task

SHOWN = 6
Exhibit = dict[str, Any]


def collect(study: Study, plan: Plan, store: Store, tasks: Mapping[str, Task]) -> list[Exhibit]:
    """Return the examples that each candidate harmed most, for the rows measured on images.

    An example is harmed when the baseline was right and the candidate is wrong; those harmed under most seeds come
    first. Only rows whose first task has images of one channel are shown.

    Args:
        study: The study.
        plan: Its work, done.
        store: Where models are kept.
        tasks: By name.
    """
    name = key("exhibits", 1, {"shown": SHOWN}, *(e.key for e in plan.effects), seed=0)
    if not store.has("effects", name):
        store.save_record("effects", name, {"exhibits": list(_make(study, plan, store, tasks))})
    return list(store.load_record("effects", name)["exhibits"])


def _make(study: Study, plan: Plan, store: Store, tasks: Mapping[str, Task]) -> Iterator[Exhibit]:
    for row in study.rows:
        lead = next((m for m in study.measurements if m.row == row.name and m.primary), None)
        if lead is None or registry.load("behaviours", lead.item).OVER != "test example":
            continue
        task = tasks[lead.tasks[0]]
        if len(task.shape) != 3 or task.shape[0] != 1:
            continue
        for candidate in study.candidates:
            if candidate.level == "strong":
                yield from _harmed(row.name, lead.tasks[0], candidate, study, plan, store, task)


def _harmed(
    row: str, name: str, candidate: CandidateSpec, study: Study, plan: Plan, store: Store, task: Task
) -> Iterator[Exhibit]:
    jobs = {(j.subject, j.seed): j for j in plan.jobs if j.task == name and j.shadow is None}
    pairs = [_pair(jobs["baseline", s], jobs[candidate.name, s], store, task) for s in study.seeds]
    if not all(pairs):
        return
    seen = [pair for pair in pairs if pair]
    truth = task.test.targets
    harmed = torch.stack([(b.predictions() == truth) & (c.predictions() != truth) for b, c in seen])
    often = harmed.sum(0)
    picks = [i for i in often.argsort(descending=True, stable=True)[:SHOWN].tolist() if often[i] > 0]
    if not picks:
        return
    yield {
        "row": row,
        "kind": "harmed",
        "task": name,
        "candidate": candidate.name,
        "title": f"harmed most by {candidate.name}",
        "items": [_item(i, seen, harmed[:, i], task) for i in picks],
    }


def _pair(base: Job, mine: Job, store: Store, task: Task) -> tuple[Evidence, Evidence] | None:
    if not (store.has("models", base.chain[-1].key) and store.has("models", mine.chain[-1].key)):
        return None
    before = Evidence(_subject(base, store, task), task, keep=KeptEvidence(store, base.baseline, task.key))
    return before, Evidence(_subject(mine, store, task), task, reference=before)


def _subject(job: Job, store: Store, task: Task) -> subject.Subject:
    name = job.chain[-1].key
    probe = task.test.inputs[:4]
    return subject.of(store.load_model(name), job.subject, name, probe, generator("probe", task.key))


def _item(index: int, seen: list[tuple[Evidence, Evidence]], harmed: Tensor, task: Task) -> Exhibit:
    which = int(harmed.nonzero()[0])
    before, after = seen[which]
    image = task.test.inputs[index]
    groups = [names[int(task.test.groups[g][index])] for g, names in task.group_names.items() if g != "digit"]
    return {
        "index": index,
        "truth": _class(task, int(task.test.targets[index])),
        "before": _class(task, int(before.predictions()[index])),
        "after": _class(task, int(after.predictions()[index])),
        "image": _rounded(image[0]),
        "maps": {
            "baseline": _rounded((image * before.margin_gradient()[index])[0]),
            "candidate": _rounded((image * after.margin_gradient()[index])[0]),
        },
        "note": f"harmed under {int(harmed.sum())} of {len(harmed)} seeds" + "".join(f"; {g}" for g in groups),
    }


def _class(task: Task, code: int) -> str:
    del task
    return str(code)


def _rounded(image: Tensor) -> list[list[float]]:
    return [[round(v, 3) for v in row] for row in image.tolist()]
