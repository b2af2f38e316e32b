"""Compress a model by a recipe, write it, prove what was written, and measure what it costs beside the original."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from whatelse import __version__, artifact, formats, recipe, registry, subject
from whatelse.errors import NotMeasurableError, StoreError
from whatelse.evidence import Evidence
from whatelse.layers._own import remarks
from whatelse.task import Task

_PROBES, _SLOWER, _DISK = 64, 1.05, "disk"


@dataclass(frozen=True)
class Done:
    """One step of a recipe as it was done.

    Attributes:
        step: As a recipe has it.
        seconds: How long it took.
        left_alone: Layers whose weights it did not touch.
    """

    step: str
    seconds: float
    left_alone: list[str]


@dataclass(frozen=True)
class Compressed:
    """A compressed model and how it was made.

    Attributes:
        model: The model, frozen and in evaluation mode.
        steps: What was done, in order.
        remarks: Layers that are computed otherwise than a reader might think, by name.
    """

    model: nn.Module
    steps: list[Done]
    remarks: dict[str, str]


@dataclass(frozen=True)
class Cost:
    """One cost of both models.

    Attributes:
        name: Of the behaviour that measured it, or ``disk``.
        unit: Of both numbers.
        before: Of the original.
        after: Of the compressed model.
        middle: The middle half of repeated measurements of a wall time; None for a number that does not vary.
    """

    name: str
    unit: str
    before: float
    after: float
    middle: tuple[float, float] | None = None


def compress(
    model: nn.Module, steps: str, task: Task, seed: int = 0, show: Callable[[str], None] = lambda step: None
) -> Compressed:
    """Return a model compressed by a recipe; the given model is left as it was.

    Args:
        model: Any classifier, ``(N, ...)`` to ``(N, classes)``.
        steps: A recipe, such as ``prune.magnitude(sparsity=0.9) > train.finetune(epochs=2)``.
        task: Its train and calibration splits may be read, and nothing else.
        seed: Decides everything random.
        show: Called with every step before it begins.

    Raises:
        RecipeError: The recipe cannot be read, or a step cannot treat the model.
    """
    done = []
    for number, step in enumerate(recipe.parse(steps)):
        show(str(step))
        started = time.perf_counter()
        made = recipe.apply(step, model, task, torch.Generator().manual_seed(1000 * seed + number))
        done.append(Done(str(step), time.perf_counter() - started, recipe.left_alone(model, made)))
        model = made
    return Compressed(model, done, remarks(model))


def write(small: Compressed, folder: Path, task: Task, steps: str, seed: int, also: tuple[str, ...] = ()) -> None:
    """Write a compressed model as a folder, after proving in a fresh process that it says there what it says here.

    The folder appears whole or not at all.

    Args:
        small: What to write.
        folder: Must not exist, or be empty.
        task: Gives the inputs of the proof.
        steps: The recipe, for the record.
        seed: The seed, for the record.
        also: ``onnx`` and ``pt2``, to write these formats too.

    Raises:
        StoreError: The folder cannot be written, or is not empty.
        ArtifactError: The model cannot be described or exported, or reloads as another one.
    """
    check_free(folder)
    inputs = task.calibration.inputs[:_PROBES]
    record: dict[str, Any] = {
        "whatelse": __version__,
        "torch": torch.__version__,
        "recipe": recipe.write(recipe.parse(steps)),
        "seed": seed,
        "task": {"name": task.name, "key": task.key},
        "steps": [asdict(done) for done in small.steps],
        "remarks": small.remarks,
        "proof": {"examples": len(inputs), "fresh process": "bit for bit"},
    }
    with torch.no_grad():
        outputs = small.model(inputs)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as part:
            aside = Path(part) / "whole"
            artifact.save(small.model, aside, record)
            artifact.prove(aside, inputs, outputs)
            for kind in also:
                export = {"onnx": formats.onnx, "pt2": formats.program}[kind]
                record["proof"][f"model.{kind}"] = export(small.model, aside / f"model.{kind}", inputs)
            artifact.write_json(aside / artifact.RECORD, record)
            if folder.exists():
                folder.rmdir()
            aside.replace(folder)
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror or error}") from error


def check_free(folder: Path) -> None:
    """Refuse a folder that already holds something, before any work.

    Args:
        folder: Where a model is to be written.

    Raises:
        StoreError: It is not empty, or it is a file.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise StoreError(f"{folder} is there already; give another --out, or remove it")


def costs(before: nn.Module, after: nn.Module, task: Task) -> list[Cost]:
    """Return what both models cost and how well they do on the select split, the timings taken in turn.

    Args:
        before: The original.
        after: The compressed model.
        task: Gives the examples.

    Raises:
        ArtifactError: One of the models cannot be described.
    """
    rng = torch.Generator().manual_seed(0)
    splits = {**task.splits, "test": task.split("select")}  # test is for verdicts, never for a look in passing
    shown = Task(task.name, task.classes, task.bounds, splits, task.group_names)
    made = []
    for name, model in (("original", before), ("compressed", after)):
        offers = frozenset({"predicts", "opens"})
        made.append(Evidence(subject.Subject(name, model, name, offers), shown))
    found = [Cost(_DISK, "bytes", _disk(before), _disk(after))]
    for name in ("generalization.accuracy", *(n for n in registry.names("behaviours") if n.startswith("efficiency."))):
        found += _measured(name, made, rng)
    return found


def warnings_of(found: list[Cost]) -> list[str]:
    """Return one line for each cost in which the compressed model is worse than the original.

    Args:
        found: What `costs` returned.
    """
    lines = []
    for cost in found:
        times = cost.after / max(cost.before, 1e-12)
        if cost.name == _DISK and cost.after > cost.before:
            lines.append(f"the compressed model is larger on disk than the original: {times:.2f} times")
        if cost.middle and cost.middle[0] > _SLOWER:
            lines.append(f"the compressed model is slower than the original: {times:.2f} times its time")
    return lines


def _disk(model: nn.Module) -> float:
    with tempfile.TemporaryDirectory() as folder:
        artifact.save(model, Path(folder), {})
        return float(sum((Path(folder) / n).stat().st_size for n in (artifact.MODEL, artifact.ARCHITECTURE)))


def _measured(name: str, made: list[Evidence], rng: torch.Generator) -> list[Cost]:
    item = registry.load("behaviours", name)

    def whole(values: Tensor) -> float:
        return float(item.summarise(values.numpy(), np.ones((1, len(values))))[0])

    short = name.rpartition(".")[2]
    try:
        if "compare" in vars(item):
            values = item.compare(*made, item.Config(), rng)
            low, high = np.quantile(values.numpy(), (0.25, 0.75))
            return [Cost(short, item.UNIT, 1.0, whole(values), (float(low), float(high)))]
        old, new = (whole(item.measure(evidence, item.Config(), rng)) for evidence in made)
    except NotMeasurableError:
        return []
    return [Cost(short, item.UNIT, old, new)]
