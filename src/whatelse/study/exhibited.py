"""What a study shows beside its numbers, made from what its store keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache

from whatelse import items, toml_schema
from whatelse.answer import Answer
from whatelse.auditing.ask import Measured, of_kept, subject_of
from whatelse.auditing.questions import Measurement
from whatelse.auditing.roles import ZERO, Role
from whatelse.evidence.cache import Evidence
from whatelse.exhibits import collect
from whatelse.exhibits.asked import Asked, Candidate
from whatelse.findings import codec
from whatelse.findings.exhibits import Exhibit
from whatelse.store.folder import KeptEvidence, key
from whatelse.store.protocol import Store
from whatelse.study import handed
from whatelse.study.jobs import Handed, Job, Plan
from whatelse.study.plan import pairs
from whatelse.study.spec import Study
from whatelse.tasks.task import Task


def exhibits(study: Study, plan: Plan, store: Store, tasks: Mapping[str, Task]) -> tuple[Exhibit, ...]:
    """Return what the report shows beside its numbers, of the strong level of every family, kept once it is made.

    Args:
        study: The study.
        plan: Its work, done.
        store: Where models and values are kept.
        tasks: By name.
    """
    made = [(one.name, one.version, one.origin) for one in collect.kinds()]
    asked = {"kinds": made, "study": toml_schema.write(study)}  # levels and rows decide what is shown
    held = [k for task in tasks.values() for k in (task.key, task.names)]
    name = key("exhibits", 7, asked, *held, *(e.key for e in plan.effects), seed=0)
    if not store.has("effects", name):
        leads = [_asked(m, study, plan, store, tasks[m.tasks[0]]) for m in study.measurements if m.primary]
        store.save_record("effects", name, {"exhibits": [codec.to_json(one) for one in collect.collect(leads)]})
    kept = store.load_record("effects", name)["exhibits"]
    return tuple(codec.record(Exhibit, one, f"exhibits[{at}]") for at, one in enumerate(kept))


def _asked(m: Measurement, study: Study, plan: Plan, store: Store, task: Task) -> Asked:
    """Return a measurement with what was answered on the first of its tasks, to be looked up as it is needed."""
    jobs = {(j.subject, j.seed): j for j in plan.jobs if j.task == m.tasks[0] and j.shadow is None}
    control = {name: "" if against == ZERO else against for name, against in reversed(pairs(study, m))}

    @cache
    def answer_of(name: str, seed: int) -> Answer | None:
        job = jobs.get((name, seed))
        return None if job is None else _answer(job, m, store)

    @lru_cache(maxsize=2)  # two models side by side: their observations may be large
    def evidence_of(name: str, seed: int) -> Evidence | None:
        job = jobs.get((name, seed))
        if job is None or not store.has("models", job.origin.key):
            return None
        made = job.origin.key
        subject = subject_of(store.load_model(made), name, made, task)
        if name == Role.BASELINE:
            return Evidence(subject, task, keep=KeptEvidence(store, made, task.key))
        base = evidence_of(Role.BASELINE, seed)
        return None if base is None else Evidence(subject, task, reference=base)

    strong = [c.name for c in study.candidates if c.level == "strong"]
    return Asked(
        measurement=m,
        behaviour=items.behaviour(m.item),
        task=task,
        seeds=tuple(study.seeds),
        candidates=tuple(Candidate(name, control[name]) for name in strong),
        twin=Role.TWIN if Role.TWIN in study.controls else "",
        answer_of=answer_of,
        evidence_of=evidence_of,
    )


def of_audit(
    asked: Sequence[Measurement],
    jobs: Iterable[Job],
    store: Store,
    task: Task,
    held: Mapping[str, Sequence[tuple[str, str]]],
) -> tuple[Exhibit, ...]:
    """Return what an audit shows beside its numbers, of every candidate. It is not kept: it may hold rows of people.

    Args:
        asked: All measurements.
        jobs: Those of the models that were handed over, done; models of this process are still lent.
        store: Where values are kept.
        task: The examples.
        held: By label of the measurement, each candidate with what it is held against.
    """
    found = {(m.label, j.subject): j for j in jobs if j.again == 0 for m in asked if j.cells[0].label == m.label}
    leads = [_handed(m, found, store, task, held[m.label]) for m in asked if m.primary]
    with handed.lent((), ()):  # what is opened to be looked at is let go
        return tuple(collect.collect(leads))


def _handed(
    m: Measurement,
    jobs: Mapping[tuple[str, str], Job],
    store: Store,
    task: Task,
    held: Sequence[tuple[str, str]],
) -> Asked:
    @cache
    def answer_of(name: str, seed: int) -> Answer | None:
        job = jobs.get((m.label, name))
        return None if job is None else _answer(job, m, store)

    def evidence_of(name: str, seed: int) -> Evidence | None:
        job = jobs.get((m.label, name))
        if job is None or not isinstance(job.origin, Handed):
            return None
        base = None if name == Role.BASELINE else evidence_of(Role.BASELINE, seed)
        return handed.evidence(job.origin, name, task, reference=base)

    control = {name: "" if against == ZERO else against for name, against in reversed(held)}
    return Asked(
        measurement=m,
        behaviour=items.behaviour(m.item),
        task=task,
        seeds=(next(iter(jobs.values())).seed,) if jobs else (0,),
        candidates=tuple(Candidate(name, against) for name, against in control.items()),
        twin="",
        answer_of=answer_of,
        evidence_of=evidence_of,
    )


def _answer(job: Job, m: Measurement, store: Store) -> Answer | None:
    """Return what a cell kept; None where it failed or could not be measured."""
    cell = next((c for c in job.cells if c.label == m.label), None)
    if cell is None or not store.has("values", cell.key):
        return None
    outcome = of_kept(*store.load("values", cell.key))
    return outcome.answer if isinstance(outcome, Measured) else None
