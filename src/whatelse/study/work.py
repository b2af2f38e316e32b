"""What a worker does: make one model, observe it, measure it."""

from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from whatelse import recipe, registry, settings, subject
from whatelse.errors import NotMeasurableError, StoreError, StudyError
from whatelse.evidence import Evidence, References
from whatelse.layers._own import remarks
from whatelse.study.plan import Cell, Job, Link
from whatelse.study.spec import Study, parse
from whatelse.study.store import KeptEvidence, Store
from whatelse.task import Task


@dataclass(frozen=True)
class Report:
    """What a job spent, in seconds, and which of its cells failed, with the error."""

    name: str
    training: float = 0.0
    compressing: float = 0.0
    measuring: float = 0.0
    analyzing: float = 0.0
    failed: tuple[tuple[str, str], ...] = ()


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
    door = registry.load("data", spec.data)
    task = door.load(settings.build(door.Config, spec.settings, f"data {spec.data}"))
    assert isinstance(task, Task)
    return task


def do(job: Job, text: str, store: Store) -> Report:
    """Make the model of a job and every cell of it that is not done, keep them, and say what was spent.

    A cell that raises is recorded as failed, and the others go on.

    Args:
        job: What to do.
        text: The study file.
        store: Where results are kept.

    Raises:
        StoreError: Results cannot be written.
    """
    study = _study(text)
    task = _task(text, job.task)
    missing = [c for c in job.cells if not store.has("values", c.key)]
    spent = {"training": 0.0, "compressing": 0.0}
    try:
        model = _make(job, study, task, store, spent)
        mine, base = _evidences(job, model, task, store)
    except StoreError:
        raise
    except Exception as error:  # whatever a method raises, the rest of the study goes on
        return Report(job.name, **spent, failed=tuple(_fail(c, job, error, store) for c in missing))
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
    return Report(job.name, **spent, measuring=time.perf_counter() - started, failed=tuple(failed))


@cache
def _study(text: str) -> Study:
    return parse(text, "study")


@cache
def _task(text: str, name: str) -> Task:
    return load_task(_study(text), name)


def number(parts: Sequence[str]) -> int:
    """Return a number made of names, 48 bits.

    Args:
        parts: The names.
    """
    return int.from_bytes(hashlib.sha256("\n".join(parts).encode()).digest()[:6], "big")


def _make(job: Job, study: Study, task: Task, store: Store, spent: dict[str, float]) -> nn.Module:
    if job.shadow is not None:
        task = shadow_task(task, job.shadow)
    done = max((i for i, link in enumerate(job.chain) if store.has("models", link.key)), default=-1)
    model = store.load_model(job.chain[done].key) if done >= 0 else _untrained(job.chain[0], study, task)
    for link in job.chain[max(done, 0) + 1 :]:
        assert link.step is not None
        started = time.perf_counter()
        made = recipe.apply(link.step, model, task, generator(link.key))
        seconds = time.perf_counter() - started
        spent["training" if link.step.name.split(".")[0] in recipe.TRAINING else "compressing"] += seconds
        left = recipe.left_alone(link.step, model, made)
        meta = {"seconds": seconds, "step": str(link.step), "left": left, "remarks": remarks(made)}
        store.save_model(link.key, made, meta)
        model = made
    return model


def check_net(study: Study, task: Task) -> None:
    """Refuse a network that cannot take the inputs of a task, before any work.

    Args:
        study: Gives the network.
        task: Gives the shape of its inputs.

    Raises:
        TaskError: The network cannot take such inputs.
    """
    _untrained(Link(None, "check"), study, task)


def _untrained(link: Link, study: Study, task: Task) -> nn.Module:
    net = registry.load("nets", study.net.item)
    config = settings.build(net.Config, study.net.settings, f"nets.{study.net.item}")
    made = net.build(config, task.shape, task.classes, generator(link.key))
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
    if not store.has("models", job.baseline):
        raise StudyError("its baseline failed")
    whole = subject_of(store.load_model(job.baseline), "baseline", job.baseline, task)
    base = Evidence(whole, task, shadows=_shadows(job.base_shadows, store), keep=keep)
    return Evidence(own, task, reference=base, shadows=_shadows(job.shadows, store), again=job.again), base


def _shadows(keys: tuple[str, ...], store: Store) -> Callable[[], References] | None:
    def load() -> References:
        if not all(store.has("values", name) for name in keys):
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
    meta |= {"parts_read": mine.parts_read, "flatters": mine.flatters, "seconds": time.perf_counter() - started}
    clusters = clusters_of(behaviour.OVER, mine, len(values))
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
