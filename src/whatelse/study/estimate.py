"""What the work that is left of a study will cost, said before it starts: passes and time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from torch import nn
from torch.nn import functional

from whatelse import items, recipe, settings
from whatelse.recipe import Step
from whatelse.store.protocol import Store
from whatelse.study import worker
from whatelse.study.jobs import Effects, Job, Plan, Watch
from whatelse.study.plan import net_of
from whatelse.study.run import missing, size
from whatelse.study.spec import Study
from whatelse.tasks.task import Task

# A pass forward, one back through the inputs, one back through the weights.
_TRAINED = 3
# Passes forward of the sensitivity to noise that shadow models keep: the answer, and ten draws.
_MOVED = 11
# Seconds beside the passes, of one thread: a worker that starts, a cell, a step without training such as pruning.
_START, _CELL, _STEP = 4.0, 0.01, 0.05
# A step of training beside its three passes, of small networks: the optimizer and the schedule.
_OPTIMIZED = 1.3
# Of the passes that measurements may take, the share that they do take: attacks stop where they succeeded, and the
# baseline's part is kept. Of the digits' table it was two fifths.
_TAKEN = 0.5
# Seconds of the analysis for each value in each resample of each model.
_DRAWN = 1e-9


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
        workers: How many jobs run at once.
        costs: What the passes are for, the largest first.
    """

    left: int
    total: int
    training: int
    measuring: int
    seconds: float
    workers: int
    costs: tuple[Cost, ...]

    def __str__(self) -> str:
        """Return one line."""
        passes = f"{_count(self.training + self.measuring)} forward-equivalents"
        parts = f"{_count(self.training)} training, at most {_count(self.measuring)} measuring"
        workers = f"{self.workers} worker{'s' * (self.workers != 1)}"
        return (
            f"to do: {self.left} of {self.total} jobs, {passes} ({parts}), about {_duration(self.seconds)} on {workers}"
        )


def estimate(study: Study, plan: Plan, store: Store, tasks: Mapping[str, Task], workers: int) -> Estimate:
    """Return what the missing work of a plan will cost.

    Args:
        study: The study.
        plan: Its work.
        store: Where finished work is found.
        tasks: By name.
        workers: How many jobs run at once.
    """
    jobs, effects = missing(plan, store)
    members = {name: worker.shadow_task(tasks[name], 0) for name in {j.task for j in jobs if j.shadow is not None}}
    speeds = {name: _speeds(study, tasks[name]) for name in {j.task for j in jobs}}
    costs: Counter[tuple[str, str]] = Counter()
    spent: dict[str, float] = {}
    seen: set[str] = set()
    for job in jobs:
        shadow = job.shadow is not None
        task = members[job.task] if shadow else tasks[job.task]
        steps = [link for link in _unmade(job, store) if link[0] not in seen]
        seen |= {key for key, _ in steps}
        trained = sum(training(step, task) for _, step in steps)
        costs["training", f"{'shadow models' if shadow else 'models'}, {job.task}"] += trained
        asked = Counter(dict(_asked(job, task, store)))
        costs.update({("measuring", name): passes for name, passes in asked.items()})
        forward, step = speeds[job.task]
        spent[job.name] = trained * step + len(steps) * _STEP + _TAKEN * asked.total() * forward + len(asked) * _CELL
    listed = [Cost(kind, name, passes) for (kind, name), passes in costs.most_common() if passes]
    total = {kind: sum(c.passes for c in listed if c.kind == kind) for kind in ("training", "measuring")}
    return Estimate(
        left=len(jobs) + len(effects),
        total=size(plan),
        seconds=_wall(jobs, spent, _analysis(effects, tasks), workers) if jobs or effects else 0.0,
        workers=workers,
        costs=tuple(listed),
        **total,
    )


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
    inner = sum(training(s, task) for text, _ in settings.recipes(config) for s in recipe.parse(text))
    if method.effort is not None:
        return inner + int(method.effort(config, task))
    given = {f.name: getattr(config, f.name) for f in fields(config)}
    return inner + _TRAINED * int(given.get("epochs", 0)) * int(given.get("rounds", 1)) * len(task.train)


def _unmade(job: Job, store: Store) -> Iterator[tuple[str, Step]]:
    """Yield key and step of every model of a chain that is still to be made: those that are not kept whole."""
    for link in job.chain:
        if link.step is not None and not store.has("models", link.key):
            yield link.key, link.step


def _asked(job: Job, task: Task, store: Store) -> Iterator[tuple[str, int]]:
    """Yield the passes of every cell that is missing, by its label, and those that all of a job's cells share."""
    missing = [cell for cell in job.cells if not store.has("values", cell.key)]
    if missing:
        yield "shared by all measurements of a model", 2 * len(task.test) + len(task.train)
    for cell in missing:
        if job.shadow is not None:
            records = 2 * len(task.train) if "sensitivity" in cell.key else 0
            yield f"what shadow models say{' of noise' * (records > 0)}", _MOVED * records
            continue
        item = items.behaviour(cell.item)
        config = item.configure(dict(cell.given))
        yield cell.label, int(item.effort(config, task)) if item.effort is not None else 0


def _speeds(study: Study, task: Task) -> tuple[float, float]:
    """Return the seconds of a pass in measurements and in training, of the untrained network on one batch of each."""
    model = worker.untrained(net_of(study), task, "speed")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a worker has it
    try:
        model.eval().requires_grad_(requires_grad=False)
        measured = _timed(model, task.test.inputs[:64], tokens=task.vocabulary > 0) / 2
        model.train().requires_grad_(requires_grad=True)
        trained = _timed(model, task.train.inputs[:50], tokens=True) / _TRAINED
    finally:
        torch.set_num_threads(threads)
    return measured, _OPTIMIZED * trained


def _timed(model: nn.Module, inputs: torch.Tensor, *, tokens: bool) -> float:
    """Return the seconds an example of a pass forward and back; inputs that are tokens have no gradient."""
    best = float("inf")
    for _ in range(4):  # the first warms up
        started = time.perf_counter()
        said = model(inputs.detach().clone().requires_grad_(not tokens))
        if said.requires_grad:
            functional.cross_entropy(said, said.detach().argmax(1)).backward()  # type: ignore[no-untyped-call] # torch's own
        best = min(best, time.perf_counter() - started)
    return best / len(inputs)


def _analysis(effects: Sequence[Effects | Watch], tasks: Mapping[str, Task]) -> float:
    return sum(
        _DRAWN * e.draws * len(tasks[e.task].test) * sum(len(keys) for _, keys in e.cells)
        for e in effects
        if isinstance(e, Effects)
    )


def _wall(jobs: Sequence[Job], spent: Mapping[str, float], analysis: float, workers: int) -> float:
    """Return how long it takes: all of it shared by the workers, but no less than the longest line of jobs in turn."""
    ends: dict[str, float] = {}
    for job in jobs:
        ends[job.name] = spent[job.name] + max((ends.get(name, 0.0) for name in job.needs), default=0.0)
    return _START + max((sum(spent.values()) + analysis) / workers, max(ends.values(), default=0.0))


def _count(passes: int) -> str:
    for large, word in ((10**9, "billion"), (10**6, "million"), (10**3, "thousand")):
        if passes >= large:
            return f"{passes / large:.3g} {word}"
    return str(passes)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
