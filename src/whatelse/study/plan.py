"""Which cells a study has, under which keys, and which jobs make them in what order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from whatelse import items, recipe, registry
from whatelse.auditing.questions import Measurement
from whatelse.auditing.roles import ZERO, Actor, Role
from whatelse.engines import Resources
from whatelse.items import Control, Item
from whatelse.models import placed
from whatelse.models.preparation import Way
from whatelse.recipe import Recipe
from whatelse.store.folder import key
from whatelse.study.cells import cell, effects
from whatelse.study.jobs import Cell, Data, Effects, Handed, Job, Link, Made, Net, Plan
from whatelse.study.spec import CandidateSpec, Study, TaskSpec, template

ACCELERATED = Resources(gpus=0.25)
# Seeds of shadow models lie far from those of baselines.
_SHADOW = 20_000


@dataclass(frozen=True)
class _Subject:
    name: str
    recipe: Recipe
    shadows: str = ""  # the subject whose shadow models serve; none where empty
    after: str = ""  # the subject whose chain this one continues
    whole_seed: int = 0  # how far the seed of all its steps lies from that of the study
    own_seed: int = 0  # how far the seeds of its own steps lie from those of the baseline
    again: int = 0


def plan(
    study: Study,
    tasks: Mapping[str, str],
    named: Mapping[str, str] | None = None,
    learned: Mapping[str, str] | None = None,
    given: Mapping[str, Origin] | None = None,
) -> Plan:
    """Return the work of a study.

    Args:
        study: A checked study.
        tasks: Key of every task, by name.
        named: Key of what each task's groups and columns are called, by name: measurements depend on it, models not.
        learned: Key of what methods see of each task, by name, where that is not the task.
        given: Where the model lies that all start from, by the name of the task; nothing where it is a network of ours.
    """
    jobs: list[Job] = []
    for name, spec in study.tasks.items():
        subjects = _subjects(study, spec)
        data = data_of(study, name, tasks[name], (named or {}).get(name, ""))
        begin = _Begin((learned or tasks)[name], (given or {}).get(name))
        shadows = list(_shadow_jobs(study, data, subjects, begin))
        jobs += shadows
        for seed in study.seeds:
            jobs += _audit_jobs(study, data, subjects, seed, shadows, begin)
    return Plan(tuple(jobs), tuple(_effects(study, jobs)))


@dataclass(frozen=True)
class Origin:
    """A model that is there before a study.

    Attributes:
        handed: Where it lies.
        content: Key of what it holds, whatever data it is asked.
    """

    handed: Handed
    content: str


@dataclass(frozen=True)
class _Begin:
    """What models of a task are made of.

    Attributes:
        learned: Key of what methods see.
        origin: The model that all start from; None where it is a network of ours.
    """

    learned: str
    origin: Origin | None = None


def net_of(study: Study) -> Net:
    """Return the network of a study as jobs carry it.

    Args:
        study: A checked study.
    """
    return Net(study.net.item, items.net(study.net.item).changed(study.net.settings), placed.named(study.device))


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


def resources(made: Made | Handed) -> Resources:
    """Return what a job needs while it runs: of an accelerator a share, as passes are short and others ask meanwhile.

    Args:
        made: Its model.
    """
    device = made.way.device if isinstance(made, Handed) else made.device
    return ACCELERATED if device else Resources()


def pairs(study: Study, measurement: Measurement) -> tuple[tuple[str, str], ...]:
    """Return which subject is held against which other in a measurement, the primary control first.

    Args:
        study: The study.
        measurement: One of its measurements.
    """
    if measurement.control == ZERO:
        return tuple((s, ZERO) for s in [Role.BASELINE, *(c.name for c in study.candidates)])
    controls = {name: items.control(name) for name in study.controls}
    found = [(name, str(Role.BASELINE)) for name, control in controls.items() if control.held == "baseline"]
    also = [name for name, control in controls.items() if control.also]
    for c in study.candidates:
        first = measurement.control or c.control
        found.append((c.name, first))
        others = [str(Role.BASELINE), *also] if measurement.primary else []
        found += [(c.name, other) for other in others if other != first]
        for control, name in own_controls(c):
            if control.held == "candidate":
                found.append((name, c.name))
            elif control.shadows or not needs_references(measurement):
                found.append((c.name, name))
    return tuple(found)


def own_controls(candidate: CandidateSpec) -> list[tuple[Control, str]]:
    """Return the controls that serve one candidate alone, each with its name.

    Args:
        candidate: A candidate of a study.
    """
    named = [items.control(name) for name in candidate.own_controls]
    return [(control, control.named.format(candidate=candidate.name)) for control in named]


def scratch_of(candidate: CandidateSpec) -> str:
    """Return the name of the control that trains a candidate's architecture from random weights.

    Args:
        candidate: A candidate with such a control.
    """
    return items.control("scratch").named.format(candidate=candidate.name)


def again_of(candidate: str) -> str:
    """Return the name of the control that is a candidate compressed once more under another seed.

    Args:
        candidate: Its name.
    """
    return items.control("recompressed").named.format(candidate=candidate)


def actors(study: Study) -> tuple[Actor, ...]:
    """Return every model of a study with the part that it plays.

    Args:
        study: A checked study.
    """
    shared = [
        Actor(name, Role(control.role))
        for name in study.controls
        if (control := items.control(name)).after != "candidate"
    ]
    own = [Actor(name, Role(control.role), c.name) for c in study.candidates for control, name in own_controls(c)]
    candidates = [Actor(c.name, Role.CANDIDATE) for c in study.candidates]
    return (Actor(Role.BASELINE, Role.BASELINE), *shared, *candidates, *own)


def needs_references(measurement: Measurement) -> bool:
    """Say whether a measurement needs shadow models.

    Args:
        measurement: Any measurement.
    """
    return _needs(measurement, "references")


def _needs(measurement: Measurement, what: str) -> bool:
    return what in registry.card("behaviours", measurement.item).needs


def _subjects(study: Study, spec: TaskSpec) -> list[_Subject]:
    def steps(text: str) -> Recipe:
        return recipe.parse(template(text, spec))

    found = [_Subject(Role.BASELINE, (), shadows=Role.BASELINE)]
    given = {n: steps(t) for n, t in study.controls.items() if not spec.controls or n in spec.controls}
    for name, own in given.items():
        control = items.control(name)
        if control.after == "baseline":
            found.append(_subject(control, name, own))
    for c in study.candidates:
        found.append(_Subject(c.name, steps(c.recipe), c.name))
        for control, name in own_controls(c):
            mine = control.name.replace("_", " ")
            if control.recipe == "candidate":
                found.append(_subject(control, name, steps(c.recipe), c.name))
            elif mine in given:
                found.append(replace(_subject(control, name, given[mine], c.name), after=c.name))
    return found


def _subject(control: Control, name: str, own: Recipe, candidate: str = "") -> _Subject:
    shadows = {"": "", "own": name, "baseline": str(Role.BASELINE), "candidate": candidate}[control.shadows]
    return _Subject(name, own, shadows, "", control.whole_seed, control.own_seed, control.again)


def _made(study: Study, spec: TaskSpec, steps: Recipe, begin: _Begin, seed: int, further: int = 0) -> Made:
    task = begin.learned
    net, links = _first(study, begin, seed)
    first = recipe.parse(template(spec.baseline, spec))
    for step, own in (*((s, seed) for s in first), *((s, seed + further) for s in steps)):
        method = items.method(step.name)
        inputs = (links[-1].key, task, *_from(method))
        links.append(Link(step, key(step.name, method.version, dict(step.given), *inputs, seed=own)))
    # Not in what keys are made of: random numbers come of these, and are the same on any device.
    mark = Way(device=placed.named(study.device)).mark
    return Made(net, tuple(replace(link, key=f"{link.key}{mark}") for link in links))


def _first(study: Study, begin: _Begin, seed: int) -> tuple[Net | Handed, list[Link]]:
    """Return what a chain starts from, and its first link."""
    if begin.origin is not None:
        return begin.origin.handed, [Link(None, begin.origin.content)]
    net = net_of(study)
    item = items.net(net.item)
    named = key(f"nets.{net.item}", item.version, dict(net.given), begin.learned, *_from(item), seed=seed)
    return net, [Link(None, named)]


def _itself(made: Made) -> Made | Handed:
    """Return the model that is there where a chain does nothing to it."""
    return made.net if isinstance(made.net, Handed) and len(made.chain) == 1 else made


def _from(item: Item) -> tuple[str, ...]:
    """Return what tells an item of another origin from ours: its file may change while its VERSION does not."""
    return (item.origin,) if item.origin else ()


def _shadow_jobs(study: Study, data: Data, subjects: list[_Subject], begin: _Begin) -> Iterator[Job]:
    task = data.task
    asked = [m for m in study.measurements if task in m.tasks and needs_references(m)]
    if not asked:
        return
    spec = study.tasks[task]
    # A result of its own: a question that needs it, asked later, leaves the logits and what rests on them as they are.
    kept = {"shadow": 1} | ({"shadow.sensitivity": 2} if any(_needs(m, "sensitivities") for m in asked) else {})
    for k in range(spec.references):
        for subject in (s for s in subjects if s.shadows == s.name):
            made = _made(study, spec, subject.recipe, replace(begin, learned=f"{data.key}/shadow {k}"), _SHADOW + k)
            held = [key(what, v, {}, made.key, data.key, seed=_SHADOW + k) for what, v in kept.items()]
            cells = tuple(Cell(name, "", "", ()) for name in held)
            first = _name(task, f"shadow {k}", "baseline")
            name = _name(task, f"shadow {k}", subject.name)
            needs = () if subject.name == Role.BASELINE else (first,)
            here = resources(made)
            yield Job(name, data, made, subject.name, _SHADOW + k, 0, made, k, (), (), cells, needs, resources=here)


def _audit_jobs(
    study: Study, data: Data, subjects: list[_Subject], seed: int, shadows: list[Job], begin: _Begin
) -> Iterator[Job]:
    task, spec = data.task, study.tasks[data.task]
    named = {s.name: s for s in subjects}
    baseline = _itself(_made(study, spec, (), begin, seed))
    for subject in subjects:
        before = named[subject.after].recipe if subject.after else ()
        steps = (*before, *subject.recipe)
        origin = _itself(_made(study, spec, steps, begin, seed + subject.whole_seed, subject.own_seed))
        mine = [j for j in shadows if j.subject == subject.shadows]
        cells = tuple(_cells(study, data, subject, seed, (origin, baseline, mine)))
        needs = [_name(task, f"seed {seed}", n) for n in dict.fromkeys([str(Role.BASELINE), subject.after]) if n]
        theirs = [j.name for j in shadows if j.subject in {"baseline", subject.shadows}]
        needs += theirs if any("references" in registry.card("behaviours", c.item).needs for c in cells) else []
        yield Job(
            name=_name(task, f"seed {seed}", subject.name),
            data=data,
            origin=origin,
            subject=subject.name,
            seed=seed,
            again=subject.again,
            before=baseline,
            shadow=None,
            shadows=tuple(c.key for j in mine for c in j.cells),
            base_shadows=tuple(c.key for j in shadows if j.subject == "baseline" for c in j.cells),
            cells=cells,
            needs=tuple(n for n in needs if n != _name(task, f"seed {seed}", subject.name)),
            resources=resources(origin),
        )


def _cells(
    study: Study, data: Data, subject: _Subject, seed: int, made: tuple[Made | Handed, Made | Handed, list[Job]]
) -> Iterator[Cell]:
    origin, baseline, shadows = made
    for m in study.measurements:
        if data.task not in m.tasks or (needs_references(m) and not subject.shadows):
            continue
        kept = [c.key for j in shadows for c in j.cells[: 2 if _needs(m, "sensitivities") else 1]]
        references = kept if needs_references(m) else []
        yield cell(m, data, (origin, baseline), seed, subject.again, references)


def _effects(study: Study, jobs: list[Job]) -> Iterator[Effects]:
    for m in study.measurements:
        for task in m.tasks:
            mine = [(job, c) for job in jobs if job.task == task for c in job.cells if c.label == m.label]
            # The label and the task decide which resamples are drawn.
            redraws = _claimed(study, m, task)
            yield effects(m, task, mine, pairs(study, m), study.draws, (m.label, task), redraws=redraws)


def _claimed(study: Study, m: Measurement, task: str) -> bool:
    """Say whether claims rest on a measurement, or on what is corrected with it."""
    if len(study.seeds) == 1 or not study.claims:
        return False
    expected = [e for claim in study.claims for e in claim.expect if e.label == m.label]
    return any((e.task or m.tasks[0]) == task for e in expected) or (m.primary and task == m.tasks[0])


def _name(*parts: str) -> str:
    return " · ".join(parts)
