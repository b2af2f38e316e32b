"""What the work that is left of a study will cost, said before it starts: passes and time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from whatelse import items, recipe, settings
from whatelse.recipe import Step
from whatelse.store.protocol import Store
from whatelse.study import worker
from whatelse.study.jobs import Effects, Job, Plan, Watch
from whatelse.study.run import missing, size
from whatelse.study.speed import TRAINED, Speed
from whatelse.tasks.task import Task

# Passes forward of the sensitivity to noise that shadow models keep: the answer, and ten draws.
_MOVED = 11
# Seconds beside the passes, of one thread: a worker that starts, a cell, a step without training such as pruning.
START, _CELL, _STEP = 4.0, 0.01, 0.05
# Of the passes that measurements may take, the share that they do take: attacks leave what fell and what is far, and
# the baseline's part is kept. Of an audit of small networks on 10,000 images it was a fifth.
_TAKEN = 0.25
# Seconds of the analysis for each value in each resample of each model.
_DRAWN = 1e-9
_SHARED = "shared by all measurements of a model"


@dataclass(frozen=True)
class Cost:
    """What one kind of work costs.

    Attributes:
        kind: ``training`` or ``measuring``.
        name: Of what: the label of a measurement, or which models.
        passes: Forward-equivalents, at the most.
    """

    kind: str
    name: str
    passes: int


@dataclass(frozen=True)
class Estimate:
    """What the work that is left will cost.

    Attributes:
        left: Jobs and analyses that are not done.
        total: Jobs and analyses of the study.
        training: Forward-equivalents of all training that is not done: one example forward is one, one backward is
            one, so that a step of training is three.
        measuring: Those of all measurements that are not done, at the most: attacks stop when they have succeeded.
        seconds: About how long it will take, from the speed of the untrained network on this machine just now.
        workers: How many jobs run at once: those asked for, or as many as memory carries.
        costs: What the passes are for, the largest first.
        memory: About how many bytes each worker will take; 0 where that is not known.
        alone: About how long it would take in a process that runs already, one job after the other.
        asked: How many workers were asked for.
        told: What was found before the work starts and its owner must know of: models that differ otherwise, and why.
    """

    left: int
    total: int
    training: int
    measuring: int
    seconds: float
    workers: int
    costs: tuple[Cost, ...]
    memory: int = 0
    alone: float = 0.0
    asked: int = 0
    told: tuple[str, ...] = ()

    @property
    def small(self) -> bool:
        """Whether workers would gain less time than one of them takes to start, and take more of the processors'."""
        return self.alone <= self.seconds + START

    def __str__(self) -> str:
        """Return one line."""
        passes = f"{_count(self.training + self.measuring)} forward-equivalents"
        parts = f"{_count(self.training)} training, at most {_count(self.measuring)} measuring"
        workers = f"{self.workers} worker{'s' * (self.workers != 1)}"
        memory = f" of {self.memory / 2**30:.1f} GiB{' each' * (self.workers != 1)}" if self.memory else ""
        return (
            f"to do: {self.left} of {self.total} jobs, {passes} ({parts}), about {_duration(self.seconds)} on "
            f"{workers}{memory}{self._fewer()}"
        )

    def _fewer(self) -> str:
        told = f", not {self.asked}: there is no memory for more"
        return told if self.asked > self.workers else ""


def estimate(
    plan: Plan, store: Store, tasks: Mapping[str, Task], workers: int, speed: Callable[[str], Speed], free: int = 0
) -> Estimate:
    """Return what the missing work of a plan will cost.

    Args:
        plan: The work.
        store: Where finished work is found.
        tasks: By name.
        workers: How many jobs are to run at once.
        speed: Of a task's models, on this machine just now; asked where work on it is missing.
        free: Bytes that the workers may take together: fewer are taken where they would need more, one at the least. 0
            where that is not known.
    """
    jobs, effects = missing(plan, store)
    members = {name: worker.shadow_task(tasks[name], 0) for name in {j.task for j in jobs if j.shadow is not None}}
    watched = [e for e in effects if isinstance(e, Watch)]
    speeds = {name: speed(name) for name in sorted({j.task for j in jobs} | {w.task for w in watched})}
    costs: Counter[tuple[str, str]] = Counter()
    spent: dict[str, float] = {}
    seen: set[str] = set()
    looked_at: set[tuple[str, ...]] = set()
    for job in jobs:
        shadow = job.shadow is not None
        task = members[job.task] if shadow else tasks[job.task]
        steps = [link for link in _unmade(job, store) if link[0] not in seen]
        seen |= {key for key, _ in steps}
        trained = sum(training(step, task) for _, step in steps)
        costs["training", f"{'shadow models' if shadow else 'models'}, {job.task}"] += trained
        asked = Counter(dict(_asked(job, task, store)))
        if asked and not shadow:  # an audit has a job for every question, and what one saw is kept for the next
            model = (job.task, job.origin.key, str(job.seed), str(job.again))
            asked |= {} if model in looked_at else {_SHARED: 2 * len(task.test) + len(task.train)}
            looked_at.add(model)
        costs.update({("measuring", name): passes for name, passes in asked.items()})
        now = speeds[job.task]
        spent[job.name] = trained * now.trained + len(steps) * _STEP + len(asked) * _CELL
        spent[job.name] += _TAKEN * asked.total() * now.measured
    for watch in watched:
        passes = len(watch.models) * _effort(watch.measurement.item, watch.measurement.settings, tasks[watch.task])
        costs["measuring", watch.label] += passes
        spent[watch.name] = _TAKEN * passes * speeds[watch.task].measured
    analysis = _analysis(effects, tasks)
    memory, fit = _carried(workers, [one.memory for one in speeds.values()], free)
    listed = [Cost(kind, name, passes) for (kind, name), passes in costs.most_common() if passes]
    return Estimate(
        left=len(jobs) + len(effects),
        total=size(plan),
        seconds=_wall([*jobs, *watched], spent, analysis, fit) if jobs or effects else 0.0,
        workers=fit,
        asked=workers,
        costs=tuple(listed),
        alone=sum(spent.values()) + analysis,
        memory=memory,
        told=(),
        **{kind: sum(c.passes for c in listed if c.kind == kind) for kind in ("training", "measuring")},
    )


def _carried(workers: int, each: Sequence[int], free: int) -> tuple[int, int]:
    """Return the bytes that a worker takes at the most, and how many workers the free ones carry."""
    memory = max(each, default=0)
    return memory, min(workers, max(1, free // memory)) if free and memory else workers


def training(step: Step, task: Task) -> int:
    """Return the forward-equivalents of a step of a recipe.

    They are what the method's own ``effort`` says; where it has none, three for each example, epoch and round that
    its settings name. Those of recipes inside its settings come on top.

    Args:
        step: A method with its settings.
        task: Its train split gives the number of examples.
    """
    method = items.method(step.name)
    config = method.configure(dict(step.given))
    held = (one for text, role in settings.recipes(config) for one in recipe.inner(text, role))
    inner = sum(training(step, task) for steps in held for step in steps)
    if method.effort is not None:
        return inner + int(method.effort(config, task))
    given = {f.name: getattr(config, f.name) for f in fields(config)}
    return inner + TRAINED * int(given.get("epochs", 0)) * int(given.get("rounds", 1)) * len(task.train)


def _unmade(job: Job, store: Store) -> Iterator[tuple[str, Step]]:
    """Yield key and step of every model of a chain that is still to be made: those that are not kept whole."""
    for link in job.chain:
        if link.step is not None and not store.has("models", link.key):
            yield link.key, link.step


def _asked(job: Job, task: Task, store: Store) -> Iterator[tuple[str, int]]:
    """Yield the passes of every cell that is missing, by its label; those of a shadow with what its cells share."""
    missing = [cell for cell in job.cells if not store.has("values", cell.key)]
    if missing and job.shadow is not None:
        yield _SHARED, 2 * len(task.test) + len(task.train)
    for cell in missing:
        if job.shadow is not None:
            records = 2 * len(task.train) if cell in job.cells[1:] else 0  # the first is what they answer
            yield f"what shadow models say{' of noise' * (records > 0)}", _MOVED * records
            continue
        yield cell.label, _effort(cell.item, dict(cell.given), task)


def _effort(name: str, given: Mapping[str, Any], task: Task) -> int:
    item = items.behaviour(name)
    return int(item.effort(item.configure(given), task)) if item.effort is not None else 0


def _analysis(effects: Sequence[Effects | Watch], tasks: Mapping[str, Task]) -> float:
    return sum(
        _DRAWN * e.draws * len(tasks[e.task].test) * sum(len(keys) for _, keys in e.cells)
        for e in effects
        if isinstance(e, Effects)
    )


def _wall(jobs: Sequence[Job | Watch], spent: Mapping[str, float], analysis: float, workers: int) -> float:
    """Return how long it takes: all of it shared by the workers, but no less than the longest line of jobs in turn."""
    ends: dict[str, float] = {}
    for job in jobs:
        ends[job.name] = spent[job.name] + max((ends.get(name, 0.0) for name in job.needs), default=0.0)
    return START + max((sum(spent.values()) + analysis) / workers, max(ends.values(), default=0.0))


def _count(passes: int) -> str:
    for large, word in ((10**9, "billion"), (10**6, "million"), (10**3, "thousand")):
        if passes >= large:
            return f"{passes / large:.3g} {word}"
    return str(passes)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
