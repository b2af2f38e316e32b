"""What a worker does: make one model, observe it, measure it."""

from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from whatelse import recipe, registry, settings
from whatelse.errors import NotMeasurableError, StoreError, StudyError
from whatelse.evidence.cache import Evidence, References
from whatelse.layers.compressed import remarks
from whatelse.models import subject
from whatelse.store.folder import KeptEvidence, Store
from whatelse.study.plan import Cell, Data, Job, Link, Net, net_of
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


def generator(*parts: str) -> torch.Generator:
    """Return a generator whose seed is made of names: the same on every machine and in every order of work.

    Args:
        parts: What the random numbers are for.
    """
    return torch.Generator().manual_seed(number(parts))


def load_task(study: Study, name: str) -> Task:
    """Return a task of a study.

    Args:
        study: A checked study.
        name: Name of the task in it.
    """
    spec = study.tasks[name]
    return _loaded(spec.data, spec.settings)


def _loaded(name: str, given: Mapping[str, Any]) -> Task:
    door = registry.load("data", name)
    task = door.load(settings.build(door.Config, given, f"data {name}"))
    assert isinstance(task, Task)
    return task


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
    mine = Store(store.root)  # what is found damaged here is told by the report alone
    spent = {"training": 0.0, "compressing": 0.0}
    missing = [c for c in job.cells if not mine.has("values", c.key)]
    report = _done(job, missing, mine, spent)
    damaged = tuple(mine.damaged.items())
    return replace(report, training=spent["training"], compressing=spent["compressing"], damaged=damaged)


def _done(job: Job, missing: list[Cell], store: Store, spent: dict[str, float]) -> Report:
    task = _task(job.data)
    try:
        model = _make(job, task, store, spent)
        if not missing:
            return Report(job.name)
        mine, base = _evidences(job, model, task, store)
    except StoreError:
        raise
    except Exception as error:  # whatever a method raises, the rest of the study goes on
        return Report(job.name, failed=tuple(_fail(c, job, error, store) for c in missing))
    started = time.perf_counter()
    failed = []
    if job.shadow is not None:
        _keep_shadow(job, missing, mine, store)
        missing = []
    for cell in missing:
        try:
            _measure(cell, job, mine, base, store)
        except StoreError:
            raise
        except Exception as error:  # whatever a behaviour raises, the other cells go on
            failed.append(_fail(cell, job, error, store))
    return Report(job.name, measuring=time.perf_counter() - started, failed=tuple(failed))


@lru_cache(maxsize=8)
def _task(data: Data) -> Task:
    """Return the task of a job, held for the next one; it goes by what it is, not by its name in some study.

    Raises:
        StudyError: It is not the one that the work was planned for.
    """
    task = _loaded(data.door, dict(data.given))
    if task.key != data.key or data.names not in {"", task.names}:
        raise StudyError(
            f"tasks.{data.task}: its data changed on disk after the work was planned, or differ on this machine; "
            "finished cells are kept: run again to measure on the data as they are now"
        )
    return task


def number(parts: Sequence[str]) -> int:
    """Return a number made of names, 48 bits.

    Args:
        parts: The names.
    """
    return int.from_bytes(hashlib.sha256("\n".join(parts).encode()).digest()[:6], "big")


def _make(job: Job, task: Task, store: Store, spent: dict[str, float]) -> nn.Module:
    """Return the last model of a chain; every model of it that is not kept whole is made and kept."""
    if job.shadow is not None:
        task = shadow_task(task, job.shadow)
    kept = {i for i, link in enumerate(job.chain) if link.step is not None and store.has("models", link.key)}
    model: nn.Module | None = None
    for i, link in enumerate(job.chain):
        if link.step is None or i in kept:
            model = None
            continue
        before = _model(job, i - 1, task, store) if model is None else model
        model = _step(link, before, task, store, spent)
    return _model(job, len(job.chain) - 1, task, store) if model is None else model


def _model(job: Job, at: int, task: Task, store: Store) -> nn.Module:
    link = job.chain[at]
    return untrained(job.net, task, link.key) if link.step is None else store.load_model(link.key)


def _step(link: Link, model: nn.Module, task: Task, store: Store, spent: dict[str, float]) -> nn.Module:
    assert link.step is not None
    started = time.perf_counter()
    made = recipe.apply(link.step, model, task, generator(link.key))
    seconds = time.perf_counter() - started
    spent["training" if link.step.name.split(".")[0] in recipe.TRAINING else "compressing"] += seconds
    left = recipe.left_alone(link.step, model, made)
    meta = {"seconds": seconds, "step": str(link.step), "left": left, "remarks": remarks(made)}
    store.save_model(link.key, made, meta)
    return made


def check_net(study: Study, task: Task) -> None:
    """Refuse a network that cannot take the inputs of a task, before any work.

    Args:
        study: Gives the network.
        task: Gives the shape of its inputs.

    Raises:
        TaskError: The network cannot take such inputs.
    """
    untrained(net_of(study), task, "check")


def untrained(net: Net, task: Task, name: str) -> nn.Module:
    """Return a network with random weights.

    Args:
        net: Which.
        task: Gives the shape of its inputs and the number of its classes.
        name: What its random numbers are made of.
    """
    item = registry.load("nets", net.item)
    config = settings.build(item.Config, dict(net.given), f"nets.{net.item}")
    made = item.build(config, task.shape, task.classes, generator(name))
    assert isinstance(made, nn.Module)
    return made


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


def subject_of(model: nn.Module, name: str, made: str, task: Task) -> subject.Subject:
    """Return the subject of a model of a study, its gradient checked on the first test examples.

    Args:
        model: The model.
        name: How messages call it.
        made: Its key.
        task: Gives the examples.
    """
    rng = generator("probe", task.key)
    tokens = task.vocabulary > 0
    return subject.of(model, name, made, task.test.inputs[:64], rng, tokens=tokens, classes=task.classes)


def _evidences(job: Job, model: nn.Module, task: Task, store: Store) -> tuple[Evidence, Evidence]:
    keep = KeptEvidence(store, job.baseline, task.key)
    own = subject_of(model, job.subject, job.chain[-1].key, task)
    if job.shadow is not None:
        mine = Evidence(own, task)
        return mine, mine
    if job.subject == "baseline":
        mine = Evidence(own, task, shadows=_shadows(job.shadows, store), keep=keep)
        return mine, mine
    if store.absent("models", job.baseline):
        raise StudyError("its baseline failed")
    whole = subject_of(store.load_model(job.baseline), "baseline", job.baseline, task)
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
    # The same for every model of this seed: all are asked with the same random numbers.
    told = [str(job.seed), *([f"again {job.again}"] if job.again else [])]
    rng = generator(cell.item, str(sorted(cell.given)), mine.task.key, *told)
    tensors, meta = ask(cell.item, dict(cell.given), mine, base, rng)
    store.save("values", cell.key, tensors, meta)
    store.forget("failed", cell.key)


def ask(
    item: str, given: Mapping[str, Any], mine: Evidence, base: Evidence, rng: torch.Generator
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return what a behaviour answers of one model: tensors, of which ``values`` is one, and a JSON-ready record.

    Args:
        item: Dotted name of the behaviour.
        given: Its settings.
        mine: Evidence of the model.
        base: Evidence of the baseline, which is the same one if the model is the baseline.
        rng: Source of randomness.
    """
    started = time.perf_counter()
    behaviour = registry.load("behaviours", item)
    config = settings.build(behaviour.Config, given, item)
    mine.forget()
    before = asdict(mine.passes)
    values, why = torch.zeros(0), ""
    try:
        if "compare" in vars(behaviour):
            values = behaviour.compare(base, mine, config, rng)
        else:
            values = behaviour.measure(mine, config, rng)
    except NotMeasurableError as error:
        why = str(error)
    spent = {k: v - before[k] for k, v in asdict(mine.passes).items()}
    notes = [*mine.subject.remarks, *mine.notes]
    meta: dict[str, Any] = {
        "why": why,
        "notes": notes,
        "doubts": mine.doubts,
        "parts": list(mine.parts),
        "passes": spent,
    }
    meta |= {"parts_read": mine.parts_read, "flatters": mine.flatters, "ends": mine.ends}
    meta["seconds"] = time.perf_counter() - started
    clusters = clusters_of(behaviour.UNIT_OF_ANALYSIS, mine, len(values))
    kept = {} if clusters is None else {"clusters": clusters}
    return {"values": values, **kept, **mine.pictures, **{f"tree {n}": column for n, column in mine.tree.items()}}, meta


def clusters_of(over: str, seen: Evidence, count: int) -> Tensor | None:
    """Return the cluster of the example that each value is of, ``(count,)``; None where examples stand alone.

    Args:
        over: What a value stands for.
        seen: Gives the task, and which examples were taken where they are not the first.
        count: Number of values.
    """
    splits = {"test example": ["test"], "record": ["train", "test"], "example": ["test", "shifted"]}.get(over, [])
    held = [seen.task.splits[name] for name in splits if name in seen.task.splits]
    codes = [split.clusters for split in held if split.clusters is not None]
    if not codes or len(codes) < len(held):
        return None
    every = torch.cat(codes)
    mine = every[seen.rows] if seen.rows is not None else every[:count]
    return mine.contiguous() if len(set(mine.tolist())) < len(mine) else None


def _fail(cell: Cell, job: Job, error: Exception, store: Store) -> tuple[str, str]:
    text = f"{type(error).__name__}: {error}"
    trace = "".join(traceback.format_exception(error))
    store.save_record("failed", cell.key, {"cell": job.name, "label": cell.label, "error": text, "trace": trace})
    return (f"{job.name} · {cell.label}", text)
