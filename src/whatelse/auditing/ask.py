"""One way to ask a behaviour of a model, and what comes of it: measured, not measurable, or failed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from whatelse.answer import Answer, Doubt, Parts, Shown
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.items import Behaviour
from whatelse.models.model import Model
from whatelse.models.preparation import PLAIN, Way
from whatelse.models.take import Given, take
from whatelse.tasks.task import Task


@dataclass(frozen=True, eq=False)
class Measured:
    """An answer, what it took, and which rows belong together.

    Attributes:
        answer: What the behaviour said.
        passes: Examples that went ``forward`` and ``backward`` for it.
        seconds: How long it took.
        clusters: The cluster of the example that each row is of, ``(N,)``; None where examples stand alone.
    """

    answer: Answer
    passes: Mapping[str, int]
    seconds: float
    clusters: Tensor | None = None


@dataclass(frozen=True)
class NotMeasurable:
    """Why a question cannot be answered of this model on these data.

    Attributes:
        why: The reason.
        notes: Remarks all the same.
    """

    why: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failed:
    """A behaviour, a method or a summary raised.

    Attributes:
        error: Type and message.
    """

    error: str


Outcome = Measured | NotMeasurable | Failed


def generator(*parts: str) -> torch.Generator:
    """Return a generator whose seed is made of names: the same on every machine and in every order of work.

    Args:
        parts: What the random numbers are for.
    """
    return torch.Generator().manual_seed(number(parts))


def number(parts: Sequence[str]) -> int:
    """Return a number made of names, 48 bits.

    Args:
        parts: The names.
    """
    return int.from_bytes(hashlib.sha256("\n".join(parts).encode()).digest()[:6], "big")


def subject_of(model: Given, name: str, made: str, task: Task, way: Way = PLAIN) -> Model:
    """Return the model under audit, its gradient checked on the first test examples.

    Args:
        model: A torch module, or what satisfies a protocol of `whatelse.models.model`.
        name: How messages call it.
        made: Its key.
        task: Gives the examples.
        way: How it is asked.
    """
    return take(model, name, made, task, generator("probe", task.key), way)


def ask(
    behaviour: Behaviour, given: Mapping[str, Any], mine: Evidence, base: Evidence, rng: torch.Generator
) -> Measured | NotMeasurable:
    """Return what a behaviour answers of one model.

    Args:
        behaviour: What is asked.
        given: Its settings.
        mine: Evidence of the model.
        base: Evidence of the baseline, which is the same one if the model is the baseline.
        rng: Source of randomness.

    Raises:
        Exception: Whatever the behaviour raises.
    """
    started = time.perf_counter()
    config = behaviour.configure(given)
    before = asdict(mine.passes)
    with mine.heard() as said:
        try:
            answer = behaviour.answer(base, mine, config, rng)
        except NotMeasurableError as error:
            return NotMeasurable(str(error), (*mine.subject.remarks, *said.notes))
    notes = (*mine.subject.remarks, *said.notes, *answer.notes)
    answer = replace(answer, notes=notes, doubts=(*said.doubts, *answer.doubts))
    spent = {kind: count - before[kind] for kind, count in asdict(mine.passes).items()}
    seconds = time.perf_counter() - started
    return Measured(answer, spent, seconds, _clusters_of(behaviour.unit_of_analysis, mine.task, answer))


def asked_alike(item: str, given: Mapping[str, Any], task: str, seed: int, again: int = 0) -> torch.Generator:
    """Return the source of randomness of a question: the same for every model that is asked under a seed.

    Args:
        item: Dotted name of the behaviour.
        given: Its settings that differ from their default.
        task: Key of the task.
        seed: Of the study.
        again: 0, or the number of another measurement with other random numbers.
    """
    return generator(item, str(sorted(given.items())), task, str(seed), *([f"again {again}"] if again else []))


def to_tensors(measured: Measured) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return an answer as a store keeps it: tensors, and a JSON-ready record.

    Args:
        measured: What `ask` returned.
    """
    answer = measured.answer
    tensors = {f"column {name}": column for name, column in answer.columns.items()}
    tensors |= {name: t for name, t in (("rows", answer.rows), ("clusters", measured.clusters)) if t is not None}
    for at, shown in enumerate(answer.shown):
        tensors |= {f"shown {at} {name}": tensor for name, tensor in shown.tensors.items()}
    return tensors, {
        "columns": list(answer.columns),
        "parts": asdict(answer.parts),
        "notes": list(answer.notes),
        "doubts": [asdict(doubt) for doubt in answer.doubts],
        "shown": [shown.kind for shown in answer.shown],
        "ends": dict(answer.ends),
        "passes": dict(measured.passes),
        "seconds": measured.seconds,
    }


def to_kept(outcome: Measured | NotMeasurable) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return an outcome as a store keeps it.

    Args:
        outcome: What `ask` returned.
    """
    if isinstance(outcome, NotMeasurable):
        return {}, {"not measurable": outcome.why, "notes": list(outcome.notes)}
    return to_tensors(outcome)


def of_kept(tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Measured | NotMeasurable:
    """Return the outcome that a store kept.

    Args:
        tensors: What `to_kept` gave.
        meta: Likewise.
    """
    if "not measurable" in meta:
        return NotMeasurable(meta["not measurable"], tuple(meta["notes"]))
    parts = Parts(tuple(meta["parts"]["names"]), meta["parts"]["unit"], meta["parts"]["better"])
    answer = Answer(
        {name: tensors[f"column {name}"] for name in meta["columns"]},
        rows=tensors.get("rows"),
        parts=parts,
        notes=tuple(meta["notes"]),
        doubts=tuple(Doubt(**doubt) for doubt in meta["doubts"]),
        shown=tuple(Shown(kind, dict(_of(tensors, f"shown {at} "))) for at, kind in enumerate(meta["shown"])),
        ends=meta["ends"],
    )
    return Measured(answer, meta["passes"], meta["seconds"], tensors.get("clusters"))


def _of(tensors: Mapping[str, Tensor], prefix: str) -> Iterator[tuple[str, Tensor]]:
    return ((name.removeprefix(prefix), tensor) for name, tensor in tensors.items() if name.startswith(prefix))


def _clusters_of(unit: str, task: Task, answer: Answer) -> Tensor | None:
    """Return the cluster of the example that each row is of, ``(N,)``; None where examples stand alone."""
    splits = splits_of(unit)
    held = [task.splits[name] for name in splits if name in task.splits]
    codes = [split.clusters for split in held if split.clusters is not None]
    if not codes or len(codes) < len(held):
        return None
    every = torch.cat(codes)
    mine = every[answer.rows] if answer.rows is not None else every[: len(answer)]
    return mine.contiguous() if len(set(mine.tolist())) < len(mine) else None


def clustered(task: Task) -> bool:
    """Return whether test examples belong together.

    Args:
        task: The examples.
    """
    codes = task.test.clusters
    return codes is not None and len(set(codes.tolist())) < len(codes)


def splits_of(unit: str) -> list[str]:
    """Return the splits whose examples rows stand for, in order.

    Args:
        unit: What a row stands for: the unit of analysis of a behaviour.
    """
    return {"test example": ["test"], "record": ["train", "test"], "example": ["test", "shifted"]}.get(unit, [])
