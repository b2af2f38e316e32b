"""Which cells a study has, under which keys, and which jobs make them in what order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from whatelse import items, recipe, registry
from whatelse.auditing import inquiry
from whatelse.auditing.questions import Measurement
from whatelse.recipe import Recipe, Step
from whatelse.store.folder import key
from whatelse.study.inquiry import actors_of, again_of, scratch_of
from whatelse.study.spec import Study, TaskSpec, template

# Seeds of the models that are not baselines lie far from those of baselines.
_TWIN, _SHADOW, _AGAIN = 10_000, 20_000, 30_000
# How answers are laid out in the store: what was kept in another way is made again.
_LAYOUT = "answer 1"


@dataclass(frozen=True)
class Link:
    """One model of a chain: the untrained network (``step`` is None) or what a step made of the model before."""

    step: Step | None
    key: str


Chain = tuple[Link, ...]


@dataclass(frozen=True)
class Cell:
    """One behaviour of one model on one task: the unit of work that is found again by its key."""

    key: str
    label: str
    item: str
    given: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Net:
    """The network that a chain starts from: an item of ``nets`` with those settings that differ from their default."""

    item: str
    given: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Data:
    """How a worker opens a task, and what it must find: data may change on disk after the work was planned.

    Attributes:
        task: Name of the task, for messages.
        door: Item of ``data``.
        given: Its settings that differ from their default.
        key: Key of the task that was planned for.
        names: Key of what its groups and columns are called; empty where no measurement depends on it.
    """

    task: str
    door: str
    given: tuple[tuple[str, Any], ...]
    key: str
    names: str = ""


@dataclass(frozen=True)
class Job:
    """Everything about one model on one task, done together so that its observations are shared.

    It carries all that a worker needs: no file of the study is read there again.

    Attributes:
        name: How progress and messages call it.
        task: Name of the task.
        data: Where a worker finds it.
        net: The network that its chain starts from.
        subject: Name of the candidate, of the control, or ``baseline``.
        seed: The seed of the study.
        again: 0; of the control that is measured once more, what its random numbers are told apart by.
        chain: How the model is made.
        baseline: Key of the model that it is compared with; that of its own for a baseline.
        shadow: Number of the shadow whose members it is trained on; None for a model under audit.
        shadows: Keys of what the shadow models of the same recipe say: logits and, where kept, sensitivities.
        base_shadows: Keys of what the shadow models of the baseline say.
        cells: What to measure; those of a shadow job have an empty item: its logits, and its sensitivities where a
            measurement needs them.
        needs: Names of the jobs that must have ended before.
    """

    name: str
    task: str
    data: Data
    net: Net
    subject: str
    seed: int
    again: int
    chain: Chain
    baseline: str
    shadow: int | None
    shadows: tuple[str, ...]
    base_shadows: tuple[str, ...]
    cells: tuple[Cell, ...]
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Effects:
    """One measurement on one task: all its effects, computed together from finished cells.

    Attributes:
        name: How progress and messages call it.
        key: Under which the effects are kept.
        label: Of the measurement.
        task: Name of the task.
        item: The behaviour.
        given: Its settings that differ from their default.
        cells: Keys by subject, one a seed.
        pairs: Which subject is held against which other; ``zero`` for the values themselves.
        draws: Resamples an interval.
        needs: Names of the jobs that must have ended before.
    """

    name: str
    key: str
    label: str
    task: str
    item: str
    given: tuple[tuple[str, Any], ...]
    cells: tuple[tuple[str, tuple[str, ...]], ...]
    pairs: tuple[tuple[str, str], ...]
    draws: int
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """All work of a study, every job after those that it needs."""

    jobs: tuple[Job, ...]
    effects: tuple[Effects, ...]


@dataclass(frozen=True)
class _Subject:
    name: str
    recipe: Recipe
    shadows: str = ""  # the subject whose shadow models serve; none where empty
    after: str = ""  # the subject whose chain this one continues
    seeds: int = 0  # how far the seeds of its own steps lie from those of the baseline
    again: int = 0


def plan(study: Study, tasks: Mapping[str, str], named: Mapping[str, str] | None = None) -> Plan:
    """Return the work of a study.

    Args:
        study: A checked study.
        tasks: Key of every task, by name.
        named: Key of what each task's groups and columns are called, by name: measurements depend on it, models not.
    """
    jobs: list[Job] = []
    for name, spec in study.tasks.items():
        subjects = _subjects(study, spec)
        data = data_of(study, name, tasks[name], (named or {}).get(name, ""))
        shadows = list(_shadow_jobs(study, data, subjects))
        jobs += shadows
        for seed in study.seeds:
            jobs += _audit_jobs(study, data, subjects, seed, shadows)
    return Plan(tuple(jobs), tuple(_effects(study, jobs)))


def net_of(study: Study) -> Net:
    """Return the network of a study as jobs carry it.

    Args:
        study: A checked study.
    """
    return Net(study.net.item, items.net(study.net.item).changed(study.net.settings))


def data_of(study: Study, task: str, key: str, names: str) -> Data:
    """Return a task of a study as jobs carry it.

    Args:
        study: A checked study.
        task: Name of the task.
        key: Its key.
        names: Key of what its groups and columns are called.
    """
    spec = study.tasks[task]
    return Data(task, spec.data, items.loader(spec.data).changed(spec.settings), key, names)


def pairs(study: Study, measurement: Measurement) -> tuple[tuple[str, str], ...]:
    """Return which subject is held against which other in a measurement, the primary control first.

    Args:
        study: The study.
        measurement: One of its measurements.
    """
    return inquiry.pairs(actors_of(study), measurement)


def _needs(measurement: Measurement, what: str) -> bool:
    return what in registry.card("behaviours", measurement.item).needs


def _subjects(study: Study, spec: TaskSpec) -> list[_Subject]:
    def steps(text: str) -> Recipe:
        return recipe.parse(template(text, spec))

    found = [_Subject("baseline", (), "baseline")]
    controls = {n: t for n, t in study.controls.items() if not spec.controls or n in spec.controls}
    for name, text in controls.items():
        if name != "scratch":
            like = "baseline" if name in {"twin", "retest"} else name
            found.append(_Subject(name, steps(text), like, again=int(name == "retest")))
    for c in study.candidates:
        found.append(_Subject(c.name, steps(c.recipe), c.name))
        if c.scratch and "scratch" in controls:
            found.append(_Subject(scratch_of(c), steps(controls["scratch"]), after=c.name))
        if c.again:
            found.append(_Subject(again_of(c.name), steps(c.recipe), c.name, seeds=_AGAIN))
    return found


def _chain(study: Study, spec: TaskSpec, steps: Recipe, task: str, seed: int, further: int = 0) -> Chain:
    net = net_of(study)
    version = items.net(net.item).version
    links = [Link(None, key(f"nets.{net.item}", version, dict(net.given), task, seed=seed))]
    first = recipe.parse(template(spec.baseline, spec))
    for step, own in (*((s, seed) for s in first), *((s, seed + further) for s in steps)):
        version = items.method(step.name).version
        links.append(Link(step, key(step.name, version, dict(step.given), links[-1].key, task, seed=own)))
    return tuple(links)


def _shadow_jobs(study: Study, data: Data, subjects: list[_Subject]) -> Iterator[Job]:
    task = data.task
    asked = [m for m in study.measurements if task in m.tasks and inquiry.needs_references(m)]
    if not asked:
        return
    spec = study.tasks[task]
    # A result of its own: a question that needs it, asked later, leaves the logits and what rests on them as they are.
    kept = {"shadow": 1} | ({"shadow.sensitivity": 2} if any(_needs(m, "sensitivities") for m in asked) else {})
    for k in range(spec.references):
        for subject in (s for s in subjects if s.shadows == s.name):
            chain = _chain(study, spec, subject.recipe, f"{data.key}/shadow {k}", _SHADOW + k)
            held = [key(what, v, {}, chain[-1].key, data.key, seed=_SHADOW + k) for what, v in kept.items()]
            cells = tuple(Cell(name, "", "", ()) for name in held)
            first = _name(task, f"shadow {k}", "baseline")
            name = _name(task, f"shadow {k}", subject.name)
            needs = () if subject.name == "baseline" else (first,)
            seed, net = _SHADOW + k, net_of(study)
            yield Job(name, task, data, net, subject.name, seed, 0, chain, "", k, (), (), cells, needs)


def _audit_jobs(study: Study, data: Data, subjects: list[_Subject], seed: int, shadows: list[Job]) -> Iterator[Job]:
    task, spec = data.task, study.tasks[data.task]
    named = {s.name: s for s in subjects}
    baseline = _chain(study, spec, (), data.key, seed)
    for subject in subjects:
        before = named[subject.after].recipe if subject.after else ()
        own = _TWIN + seed if subject.name == "twin" else seed
        chain = _chain(study, spec, (*before, *subject.recipe), data.key, own, subject.seeds)
        mine = [j for j in shadows if j.subject == subject.shadows]
        cells = tuple(_cells(study, data, subject, seed, (chain, baseline, mine)))
        needs = [_name(task, f"seed {seed}", n) for n in dict.fromkeys(["baseline", subject.after]) if n]
        theirs = [j.name for j in shadows if j.subject in {"baseline", subject.shadows}]
        needs += theirs if any("references" in registry.card("behaviours", c.item).needs for c in cells) else []
        yield Job(
            name=_name(task, f"seed {seed}", subject.name),
            task=task,
            data=data,
            net=net_of(study),
            subject=subject.name,
            seed=seed,
            again=subject.again,
            chain=chain,
            baseline=baseline[-1].key,
            shadow=None,
            shadows=tuple(c.key for j in mine for c in j.cells),
            base_shadows=tuple(c.key for j in shadows if j.subject == "baseline" for c in j.cells),
            cells=cells,
            needs=tuple(n for n in needs if n != _name(task, f"seed {seed}", subject.name)),
        )


def _cells(
    study: Study, data: Data, subject: _Subject, seed: int, made: tuple[Chain, Chain, list[Job]]
) -> Iterator[Cell]:
    chain, baseline, shadows = made
    for m in study.measurements:
        if data.task not in m.tasks or (inquiry.needs_references(m) and not subject.shadows):
            continue
        item = items.behaviour(m.item)
        given = dict(item.changed(m.settings))
        inputs = [_LAYOUT, chain[-1].key, data.key, *([data.names] if data.names else [])]
        if _is_pair(m.item):
            inputs.append(baseline[-1].key)
        if inquiry.needs_references(m):
            inputs += [c.key for j in shadows for c in j.cells[: 2 if _needs(m, "sensitivities") else 1]]
        inputs += [f"again {subject.again}"] if subject.again else []
        name = key(m.item, item.version, given, *inputs, seed=seed)
        yield Cell(name, m.label, m.item, tuple(given.items()))


def _is_pair(item: str) -> bool:
    return items.behaviour(item).pair


def _effects(study: Study, jobs: list[Job]) -> Iterator[Effects]:
    for m in study.measurements:
        for task in m.tasks:
            cells: dict[str, list[str]] = {}
            needs = []
            for job in jobs:
                for cell in job.cells:
                    if job.task == task and cell.label == m.label:
                        cells.setdefault(job.subject, []).append(cell.key)
                        needs.append(job.name)
            held = pairs(study, m)
            # The label and the task decide which resamples are drawn.
            given = {"pairs": held, "draws": study.draws, "label": m.label, "task": task, "cells": list(cells.items())}
            name = key("effects", 7, given, m.item, seed=0)
            found = tuple((s, tuple(keys)) for s, keys in cells.items())
            settings = items.behaviour(m.item).changed(m.settings)
            yield Effects(
                _name("effects", task, m.label),
                name,
                m.label,
                task,
                m.item,
                settings,
                found,
                held,
                study.draws,
                tuple(needs),
            )


def _name(*parts: str) -> str:
    return " · ".join(parts)
