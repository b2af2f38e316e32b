"""The findings of a study, from its finished cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from whatelse import items
from whatelse.auditing import assemble as assembling
from whatelse.auditing import effects, verdicts
from whatelse.auditing.ask import Failed
from whatelse.auditing.assemble import Circumstances, Costs
from whatelse.auditing.effects import Contrast
from whatelse.auditing.inquiry import About, Inquiry
from whatelse.auditing.roles import Actor, Role
from whatelse.findings.exhibits import Exhibit
from whatelse.findings.record import Candidate, Failure, Findings, Timing
from whatelse.recipe import Recipe, parse, write
from whatelse.store.protocol import Store
from whatelse.study.jobs import Effects, Job, Plan, Watch
from whatelse.study.plan import actors, pairs
from whatelse.study.spec import Study, template
from whatelse.tasks.task import Task


def assemble(
    study: Study,
    plan: Plan,
    store: Store,
    tasks: Mapping[str, Task],
    exhibits: Sequence[Exhibit],
    took: tuple[str, Timing],
) -> Findings:
    """Return everything that leaves the machine room.

    Args:
        study: The study.
        plan: Its work, done.
        store: Where effects are kept.
        tasks: By name.
        exhibits: Examples to show.
        took: When it ended, and seconds spent.
    """
    inquiry, asked = inquiry_of(study), {m.label: m for m in study.measurements}
    compared = [
        verdicts.Compared(e.label, e.task, pairs(study, asked[e.label]), effects_of(e, store))
        for e in plan.effects
        if store.has("effects", e.key)
    ]
    models = list(_candidates(study, plan, store, assembling.costs(inquiry, compared)))
    around = Circumstances(*took, failed(plan, store))
    return assembling.assemble(inquiry, tasks, compared, models, exhibits, around)


def inquiry_of(study: Study, *beside: Actor) -> Inquiry:
    """Return what a study asks, as verdicts need it.

    Args:
        study: A checked study.
        beside: Models that take part beside its own.
    """
    return Inquiry(
        name=study.name,
        title=study.title,
        description=study.description,
        text=study.text,
        draws=study.draws,
        seeds=tuple(study.seeds),
        rows=tuple(study.rows),
        measurements=tuple(study.measurements),
        tasks={name: About(t.title, t.description, t.references) for name, t in study.tasks.items()},
        actors=(*actors(study), *beside),
        claims=tuple(study.claims),
    )


def effects_of(work: Effects | Watch, store: Store) -> tuple[Contrast, ...]:
    """Return the effects that a store keeps.

    Args:
        work: What made them.
        store: Where they are kept.
    """
    return effects.of_kept(store.load_record("effects", work.key))


def _candidates(study: Study, plan: Plan, store: Store, spent: Mapping[str, Costs]) -> Iterator[Candidate]:
    first = next(iter(study.tasks))
    jobs = {j.subject: j for j in plan.jobs if j.task == first and j.shadow is None and j.seed == study.seeds[0]}
    specs = {c.name: c for c in study.candidates}
    parts = {actor.name: actor for actor in actors(study)}
    for name, job in jobs.items():
        actor = parts[name]
        # A candidate trained from random weights stands beside it in its family.
        spec = specs.get(actor.of if actor.role is Role.SCRATCH else name)
        knob_name, knob = _knob(parse(template(specs[name].recipe, study.tasks[first])) if name in specs else ())
        yield Candidate(
            name=name,
            family=spec.family if spec else "",
            role=actor.role,
            recipe=write(tuple(link.step for link in job.chain if link.step is not None)),
            kind=spec.kind if spec else "",
            level=spec.level if spec else "",
            knob=knob,
            knob_name=knob_name,
            **asdict(spent.get(name, Costs())),
            left_alone=tuple(_left_alone(job, store)),
            remarks=tuple(_remarks(job, store)),
        )


def _knob(steps: Recipe | tuple[()]) -> tuple[str, float | None]:
    for step in steps:
        method = items.method(step.name)
        if method.knob:
            value: Any = getattr(method.configure(dict(step.given)), method.knob)
            return method.knob, float(value)
    return "", None


def _left_alone(job: Job, store: Store) -> list[str]:
    """Return the layers that the steps of a recipe did not touch, training aside."""
    steps = [link for link in job.chain if link.step is not None and not link.step.name.startswith("train.")]
    made = [link.key for link in steps if store.has("models", link.key)]
    return [name for key in made for name in store.load("models", key)[1]["left"]]


def _remarks(job: Job, store: Store) -> list[str]:
    """Return how a model is really computed where a reader might think otherwise, each remark once."""
    if not job.chain:  # it was there before
        return []
    last = job.chain[-1].key
    found = store.load("models", last)[1].get("remarks", {}) if store.has("models", last) else {}
    return list(dict.fromkeys(found.values()))


def failed(plan: Plan, store: Store) -> tuple[Failure, ...]:
    """Return the cells that raised, and what they said.

    Args:
        plan: The work, done.
        store: Where cells are kept.
    """
    found = []
    for job in plan.jobs:
        for cell in job.cells:
            if not store.has("values", cell.key) and store.has("failed", cell.key):
                record = store.load_record("failed", cell.key)
                found.append(Failure(job.called(cell), record["error"]))
    return tuple(found)


def failed_watches(plan: Plan, contrasts: Mapping[str, Sequence[Contrast]]) -> Iterator[Failure]:
    """Yield what raised while it was measured until its verdict is clear: it has no cells.

    Args:
        plan: The work, done.
        contrasts: By label of the measurement.

    Yields:
        One failure a model.
    """
    for one in plan.effects:
        for contrast in contrasts[one.label] if isinstance(one, Watch) else ():
            if isinstance(contrast.outcome, Failed):
                yield Failure(f"{contrast.candidate} · {one.label}", contrast.outcome.error)
