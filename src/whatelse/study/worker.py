"""What a worker does: make one model, observe it, measure it."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from whatelse import items, limits, recipe, registry
from whatelse.auditing import sequential
from whatelse.auditing.ask import ask, asked_alike, generator, subject_of, to_kept
from whatelse.auditing.effects import to_kept as keep_effects
from whatelse.auditing.roles import Role
from whatelse.errors import ChangedError, StoreError, StudyError
from whatelse.evidence.cache import Evidence, References
from whatelse.layers.compressed import remarks
from whatelse.models import placed
from whatelse.models.preparation import PLAIN, Way
from whatelse.modules.device import training_on
from whatelse.registry import Added
from whatelse.store import places
from whatelse.store.folder import KeptEvidence
from whatelse.store.protocol import Store
from whatelse.study import handed
from whatelse.study.analysis import analyze
from whatelse.study.jobs import Cell, Data, Effects, Handed, Job, Link, Made, Net, Watch, Work, together
from whatelse.study.plan import Origin, net_of
from whatelse.study.spec import Study
from whatelse.tasks.task import Task


@dataclass(frozen=True)
class Report:
    """What a job spent, in seconds, which of its cells failed, with the error, and which kept files were damaged."""

    name: str
    training: float = 0.0
    compressing: float = 0.0
    measuring: float = 0.0
    analyzing: float = 0.0
    failed: tuple[tuple[str, str], ...] = ()
    damaged: tuple[tuple[str, str], ...] = ()


def work_on(work: Work, store: Store, mark: str, added: Sequence[Added] = ()) -> Report:
    """Do whatever a plan asks for.

    Args:
        work: What to do.
        store: Where results are kept.
        mark: By which this process knows that it sees the store of whoever planned.
        added: Items of the user's own files, which another process does not know yet.

    Raises:
        StoreError: Results cannot be read or written, or are not kept where this process looks.
        ItemError: A file of the user's changed since the work was planned.
        StudyError: The data, or a model that was handed over, are not those that the work was planned for.
    """
    places.see(store, mark)
    for one in added:
        registry.add(one.path, one.origin)
    if isinstance(work, Job):
        return run_job(work, store)
    if isinstance(work, Watch):
        return watch(work, store)
    started = time.perf_counter()
    failed = analyze(together([work]) if isinstance(work, Effects) else work, store)
    return Report(work.name, analyzing=time.perf_counter() - started, failed=failed)


def load_task(study: Study, name: str) -> Task:
    """Return a task of a study.

    Args:
        study: A checked study.
        name: Name of the task in it.
    """
    spec = study.tasks[name]
    return _loaded(spec.data, spec.settings)


def _loaded(name: str, given: Mapping[str, Any], memory: str = "") -> Task:
    loader = items.loader(name)
    with limits.within(memory or None):
        return loader.load(loader.configure(given))


def run_job(job: Job, store: Store) -> Report:
    """Make the models of a job and every cell of it that is not done, keep them, and say what was spent.

    A cell that raises is recorded as failed, and the others go on.

    Args:
        job: What to do.
        store: Where results are kept.

    Raises:
        StoreError: Results cannot be written.
        StudyError: The data are not those that the work was planned for.
    """
    mine = store.fresh()  # what is found damaged here is told by the report alone
    spent = {"training": 0.0, "compressing": 0.0}
    missing = [c for c in job.cells if not mine.has("values", c.key)]
    report = _done(job, missing, mine, spent)
    damaged = tuple(mine.damaged.items())
    return replace(report, training=spent["training"], compressing=spent["compressing"], damaged=damaged)


def _done(job: Job, missing: list[Cell], store: Store, spent: dict[str, float]) -> Report:
    task = task_of(job.data)
    started = time.perf_counter()
    try:
        model = _make(job, job.origin, task, store, spent) if isinstance(job.origin, Made) else None
        if not missing and (not job.scores or store.has("values", job.scores)):
            return Report(job.name)
        started = time.perf_counter()
        mine, base = _of_handed(job, task, store) if model is None else _evidences(job, model, task, store)
    except (StoreError, ChangedError):
        raise
    except Exception as error:  # whatever a method raises, the rest of the study goes on
        return Report(job.name, failed=tuple(_fail(c, job, error, store) for c in missing))
    if job.scores and not store.has("values", job.scores):
        store.save("values", job.scores, {"logits": mine.logits()}, {})
    if job.shadow is not None:
        _keep_shadow(job, missing, mine, store)
    failed = () if job.shadow is not None else _measured(missing, job, mine, base, store)
    return Report(job.name, measuring=time.perf_counter() - started, failed=failed)


def _measured(
    missing: list[Cell], job: Job, mine: Evidence, base: Evidence, store: Store
) -> tuple[tuple[str, str], ...]:
    """Measure cells, and return those that failed.

    Raises:
        StoreError: Results cannot be written.
    """
    failed = []
    for cell in missing:
        try:
            _measure(cell, job, mine, base, store)
        except StoreError:
            raise
        except Exception as error:  # whatever a behaviour raises, the other cells go on
            failed.append(_fail(cell, job, error, store))
    return tuple(failed)


@lru_cache(maxsize=8)
def task_of(data: Data) -> Task:
    """Return the task of a job, held for the next one; it goes by what it is, not by its name in some study.

    Args:
        data: How it is opened, and what must be found.

    Raises:
        ChangedError: It is not the one that the work was planned for.
    """
    task = handed.task(data.key) if not data.door else _loaded(data.door, dict(data.given), data.memory)
    if task.key != data.key or data.names not in {"", task.names}:
        raise ChangedError(
            f"tasks.{data.task}: its data changed on disk after the work was planned, or differ on this machine; "
            "finished cells are kept: run again to measure on the data as they are now"
        )
    return task


def _of_handed(job: Job, task: Task, store: Store) -> tuple[Evidence, Evidence]:
    """Return evidence of a model that was handed over and of its baseline, held for the next question to them."""
    assert isinstance(job.origin, Handed)
    assert isinstance(job.before, Handed)
    keep = KeptEvidence(store, job.before.key, task.key)
    base = handed.evidence(job.before, Role.BASELINE, task, keep=keep, on=job.on)
    if job.subject == Role.BASELINE:
        return base, base
    return handed.evidence(job.origin, job.subject, task, reference=base, again=job.again, on=job.on), base


def _make(job: Job, made: Made, task: Task, store: Store, spent: dict[str, float]) -> nn.Module:
    """Return the last model of a chain; every model of it that is not kept whole is made and kept."""
    if job.shadow is not None:
        task = shadow_task(task, job.shadow)
    kept = {i for i, link in enumerate(made.chain) if link.step is not None and store.has("models", link.key)}
    model: nn.Module | None = None
    for i, link in enumerate(made.chain):
        if link.step is None or i in kept:
            model = None
            continue
        before = _model(made, i - 1, task, store) if model is None else model
        model = _step(link, before, task, store, spent, made.device)
    return _model(made, len(made.chain) - 1, task, store) if model is None else model


def _model(made: Made, at: int, task: Task, store: Store) -> nn.Module:
    link = made.chain[at]
    if link.step is not None:
        return store.load_model(link.key)
    if isinstance(made.net, Handed):
        return handed.module(made.net, Role.BASELINE, task)
    return untrained(made.net, task, link.drawn_by(made.device))


def _step(link: Link, model: nn.Module, task: Task, store: Store, spent: dict[str, float], device: str) -> nn.Module:
    assert link.step is not None
    started = time.perf_counter()
    with training_on(device):
        made = recipe.apply(link.step, model, task, generator(link.drawn_by(device)))
    seconds = time.perf_counter() - started
    spent["training" if link.step.name.split(".")[0] in recipe.TRAINING else "compressing"] += seconds
    left = recipe.left_alone(link.step, model, made)
    meta = {"seconds": seconds, "step": str(link.step), "left": left, "remarks": remarks(made)}
    store.save_model(link.key, made, meta)
    return made


def begun(study: Study, task: Task) -> Origin | None:
    """Return where the model lies that a study starts from, None of a network of ours; refused where it does not fit.

    Args:
        study: Gives the network, or the model.
        task: Gives the shape of its inputs.

    Raises:
        TaskError: It cannot take such inputs.
        StudyError: The model is named by what the environment does not say, or a device is named too.
        ArtifactError: The model cannot be opened.
    """
    if not study.net.model:
        untrained(net_of(study), task, "check")
        return None
    if placed.named(study.device):
        told = "a study of a model that is there computes on the CPU; leave it out"
        raise StudyError(f"device={study.device!r} with net.model={study.net.model!r}: {told}")
    text = os.path.expandvars(study.net.model)
    if "$" in study.net.model and not os.path.exists(text):
        told = "the environment does not say what stands there" if "$" in text else f"there is no {text}"
        raise StudyError(f"net.model={study.net.model!r}: {told}; set the variable to the folder that holds the model")
    model = handed.opened(text, Role.BASELINE, task, PLAIN)
    found = Handed(text, handed.key_of(text, task, model, PLAIN), PLAIN)
    subject_of(model, Role.BASELINE, found.key, task)
    return Origin(found, handed.content_of(text, task, model))


def untrained(net: Net, task: Task, name: str) -> nn.Module:
    """Return a network with random weights.

    Args:
        net: Which.
        task: Gives the shape of its inputs and the number of its classes.
        name: What its random numbers are made of.
    """
    item = items.net(net.item)
    return item.build(item.configure(dict(net.given)), task.shape, task.classes, generator(name))


def shadow_members(task: Task, number: int) -> tuple[Tensor, int]:
    """Return which records are a shadow's members, ``(P,)`` bool, and how many records are of train.

    The records are all of train, then as many of test as there are, at most the number of train. Shadows come in
    pairs: the second has the records that the first has not, so that every record is out of just half of them.

    Args:
        task: The task under audit.
        number: Number of the shadow, from 0.
    """
    members = len(task.train)
    count = members + min(members, len(task.test))
    order = torch.randperm(count, generator=generator("shadow members", task.key, str(number // 2)))
    inside = torch.zeros(count, dtype=torch.bool)
    half = order[: count // 2] if number % 2 == 0 else order[count // 2 :]
    inside[half] = True
    return inside, members


def shadow_task(task: Task, number: int) -> Task:
    """Return the task with a shadow's members as its train split.

    Args:
        task: The task under audit.
        number: Number of the shadow, from 0.
    """
    inside, members = shadow_members(task, number)
    train, test = task.train, task.test.take(torch.arange(len(inside) - members))
    mine = train.join(test).take(torch.nonzero(inside).flatten())
    return task.with_train(mine, mine.take(torch.arange(min(len(task.calibration), len(mine)))))


def _keep_shadow(job: Job, missing: Sequence[Cell], seen: Evidence, store: Store) -> None:
    assert job.shadow is not None
    task = seen.task
    inside, members = shadow_members(task, job.shadow)
    others = len(inside) - members
    said, *moves = job.cells
    if said in missing:
        logits = torch.cat([seen.logits("train"), seen.logits("test")[:others]])
        store.save("values", said.key, {"logits": logits, "inside": inside}, {"why": ""})
    for cell in (c for c in moves if c in missing):
        # No noise is small to a token id. What is kept is empty, so that the questions to texts go on.
        asked = [] if task.vocabulary else [task.train.inputs, task.test.inputs[:others]]
        found = {"sensitivity": torch.cat([seen.sensitivity(part) for part in asked])} if asked else {}
        store.save("values", cell.key, found, {"why": "" if asked else "needs inputs that noise can move"})


def _evidences(job: Job, model: nn.Module, task: Task, store: Store) -> tuple[Evidence, Evidence]:
    keep = KeptEvidence(store, job.baseline, task.key)
    assert isinstance(job.origin, Made)
    own = subject_of(model, job.subject, job.origin.key, task, Way(device=job.origin.device))
    if job.shadow is not None:
        mine = Evidence(own, task)
        return mine, mine
    if job.subject == Role.BASELINE:
        mine = Evidence(own, task, shadows=_shadows(job.shadows, store), keep=keep)
        return mine, mine
    if isinstance(job.before, Handed):
        base = handed.evidence(job.before, Role.BASELINE, task, keep=keep, on=job.on)
        return Evidence(own, task, reference=base, again=job.again, on=job.on), base
    if store.absent("models", job.baseline):
        raise StudyError("its baseline failed")
    way = Way(device=job.origin.device)
    whole = subject_of(store.load_model(job.baseline), Role.BASELINE, job.baseline, task, way)
    base = Evidence(whole, task, shadows=_shadows(job.base_shadows, store), keep=keep)
    return Evidence(own, task, reference=base, shadows=_shadows(job.shadows, store), again=job.again), base


def _shadows(keys: tuple[str, ...], store: Store) -> Callable[[], References] | None:
    def load() -> References:
        if any(store.absent("values", name) for name in keys):
            raise StudyError("some of its shadow models failed")
        loaded = [store.load("values", name)[0] for name in keys]
        every = {part: [t[part] for t in loaded if part in t] for part in ("logits", "inside", "sensitivity")}
        moves = every["sensitivity"]
        return References(
            torch.stack(every["logits"]), torch.stack(every["inside"]), torch.stack(moves) if moves else None
        )

    return load if keys else None


def _measure(cell: Cell, job: Job, mine: Evidence, base: Evidence, store: Store) -> None:
    rng = asked_alike(cell.item, dict(cell.given), mine.task.key, job.seed, job.again)
    outcome = ask(items.behaviour(cell.item), dict(cell.given), mine, base, rng)
    store.save("values", cell.key, *to_kept(outcome))
    store.forget("failed", cell.key)


def watch(what: Watch, store: Store) -> Report:
    """Measure models that are there, each only until its verdict is clear, and keep the effects.

    Args:
        what: The measurement and the models.
        store: Where effects are kept.

    Raises:
        StoreError: Results cannot be written.
        StudyError: The data are not those that the work was planned for.
    """
    started = time.perf_counter()
    task = task_of(what.data)
    models: dict[str, Evidence] = {}
    for name, origin in what.models:
        base = models.get(Role.BASELINE)
        if isinstance(origin, Made):
            model = _model(origin, len(origin.chain) - 1, task, store)
            own = subject_of(model, name, origin.key, task, Way(device=origin.device))
            models[name] = Evidence(own, task, reference=base, on=what.on)
            continue
        keep = KeptEvidence(store, origin.key, task.key) if base is None else None
        models[name] = handed.evidence(origin, name, task, reference=base, keep=keep, on=what.on)
    rng = generator("looks", what.label, task.key, str(what.seed))
    found = sequential.effects(what.measurement, models, what.pairs, what.family, rng)
    store.save_record("effects", what.key, keep_effects(found))
    return Report(what.name, measuring=time.perf_counter() - started)


def _fail(cell: Cell, job: Job, error: Exception, store: Store) -> tuple[str, str]:
    text = f"{type(error).__name__}: {error}"
    trace = "".join(traceback.format_exception(error))
    store.save_record("failed", cell.key, {"cell": job.name, "label": cell.label, "error": text, "trace": trace})
    return (job.called(cell), text)
