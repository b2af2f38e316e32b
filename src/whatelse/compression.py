"""Compress a model by a recipe, write it, prove what was written, and measure what it costs beside the original."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from whatelse import __version__, artifact, formats, recipe, registry, subject
from whatelse.errors import ArtifactError, NotMeasurableError, RecipeError, StoreError, in_short
from whatelse.evidence import Evidence
from whatelse.layers._own import Own, remarks
from whatelse.lent import quietly, resting
from whatelse.nets import _artifact
from whatelse.task import Task

_PROBES, _MORE = 64, 1.05
_FAR = 2  # times the share that a file's weights take of the original's, from which on the graph is named
_FIT, _MATRIX = 2, 2  # examples that show what a model answers with; dimensions of class scores
# How the table calls what behaviours measure, and what it warns of where the number grew.
_SHOWN = {
    "generalization.accuracy": ("accuracy, select split", ""),
    "efficiency.bytes": ("bytes of its tensors", ""),
    "efficiency.parameters": ("parameters, zeros aside", ""),
    "efficiency.macs": ("multiply-accumulates, 1 example", "computes more"),
    "efficiency.memory": ("peak memory, 1 batch, bytes", "needs more memory"),
    "efficiency.latency": ("time of a batch, in turn, ms", "is slower"),
}


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
        name: What is measured.
        unit: Of both numbers.
        before: Of the original; None where it is not measurable of one of the two.
        after: Of the compressed model; likewise.
        middle: The middle half of the ratios of a wall time, taken in turn; None for a number that does not vary.
        warned: What to call a model for which the number is larger; empty where larger is no harm.
        why: The reason where it is not measurable.
    """

    name: str
    unit: str
    before: float | None
    after: float | None
    middle: tuple[float, float] | None = None
    warned: str = ""
    why: str = ""


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
        RecipeError: The recipe cannot be read, or a step cannot treat the model, as where it does not answer with class
            scores alone.
    """
    with resting(model, "the model", task.test.inputs[:1]) as guest:
        check_answers(guest.model, task.test.inputs[:_FIT], "the model")
    done = []
    for number, step in enumerate(recipe.parse(steps)):
        show(str(step))
        started = time.perf_counter()
        made = recipe.apply(step, model, task, torch.Generator().manual_seed(1000 * seed + number))
        done.append(Done(str(step), time.perf_counter() - started, recipe.left_alone(step, model, made)))
        model = made
    return Compressed(model, done, remarks(model))


def write(
    small: Compressed, folder: Path, task: Task, steps: str, seed: int, also: tuple[str, ...] = ()
) -> dict[str, str]:
    """Write a compressed model as a folder, after proving in a fresh process that it says there what it says here.

    The folder appears whole or not at all. A format of others that cannot be written is left out of it.
    Returns the reasons why formats were left out, by format.

    Args:
        small: What to write.
        folder: Must not exist, or be empty.
        task: Gives the inputs of the proof.
        steps: The recipe, for the record.
        seed: The seed, for the record.
        also: ``onnx`` and ``pt2``, to write these formats too.

    Raises:
        StoreError: The folder cannot be written, or is not empty.
        ArtifactError: The model cannot be described, returns NaN, or reloads as another one.
    """
    check_free(folder)
    inputs = task.calibration.inputs[:_PROBES]
    outputs = answers(small.model, inputs, "the compressed model")
    failed: dict[str, str] = {}
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
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as part:
            aside = Path(part) / "whole"
            artifact.save(small.model, aside, record)
            artifact.prove(aside, inputs, outputs)
            for kind in also:
                path = aside / f"model.{kind}"
                try:
                    record["proof"][path.name] = formats.write(kind, small.model, path, inputs)
                except ArtifactError as error:
                    path.unlink(missing_ok=True)
                    failed[kind] = str(error)
            drawings = [part.drawing() for part in small.model.modules() if isinstance(part, Own)]
            if any(drawings):
                (aside / "drawing.txt").write_text("\n".join(filter(None, drawings)), "utf-8")
            artifact.write_json(aside / artifact.RECORD, record)
            if folder.exists():
                folder.rmdir()
            aside.replace(folder)
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror or error}") from error
    return failed


def check_answers(model: nn.Module, inputs: Tensor, name: str) -> None:
    """Refuse a model whose answers are not class scores alone: what trains it, or replaces its layers, asks for them.

    Args:
        model: Any module, at rest.
        inputs: ``(N, ...)``.
        name: How the message calls it.

    Raises:
        RecipeError: It takes inputs of another type, or answers otherwise than with ``(N, classes)``.
    """
    way = "let its forward take the data's own type and answer with class scores (N, classes) alone"
    try:
        with torch.no_grad(), quietly():
            outputs = model(inputs.clone())
    except Exception as error:  # whatever a module's own forward raises
        raise RecipeError(f"{name} cannot be compressed as it is: {in_short(error)}; {way}") from error
    if not isinstance(outputs, Tensor) or outputs.dim() != _MATRIX or not outputs.is_floating_point():
        kind = f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
        raise RecipeError(f"{name} cannot be compressed as it is: its answer is of {kind}; {way}")


def answers(model: nn.Module, inputs: Tensor, name: str) -> Tensor:
    """Return what a model says of inputs, ``(N, classes)``.

    Args:
        model: The model.
        inputs: ``(N, ...)``.
        name: How the message calls it.

    Raises:
        ArtifactError: Some answers are not finite.
    """
    with torch.no_grad():
        outputs: Tensor = model(inputs)
    broken = int((~outputs.isfinite()).any(1).sum())
    if broken:
        raise ArtifactError(f"{name} returns NaN or infinity for {broken} of {len(inputs)} calibration examples")
    return outputs


def check_before(model: nn.Module, steps: str, task: Task, also: tuple[str, ...]) -> None:
    """Refuse, before any work, what could not be written after it.

    Args:
        model: The original.
        steps: A recipe.
        task: Gives a few inputs.
        also: The formats of others that are asked for.

    Raises:
        RecipeError: The recipe cannot be read, or the model does not answer with class scores alone.
        ArtifactError: The model cannot be described, so neither could what is made of it; or it returns NaN.
        MissingExtraError: A package for one of the formats is not installed.
    """
    check_answers(model, task.calibration.inputs[:_FIT], "the model")
    # A tree has nothing of the model that it was fitted to.
    if not any(registry.load("methods", step.name).LEAVES == "tree" for step in recipe.parse(steps)):
        _artifact.encode(model)
    answers(model, task.calibration.inputs[:_PROBES], "the model")
    for kind in also:
        formats.check(kind)


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
    shown = replace(task, splits=splits)
    made = []
    for name, model in (("original", before), ("compressed", after)):
        offers = frozenset({"predicts", "opens"})
        made.append(Evidence(subject.Subject(name, model, name, offers), shown))
    found = [*_disk(before, after), Cost("parameters, zeros too", "parameters", _weights(before), _weights(after))]
    for name in ("generalization.accuracy", *(n for n in registry.names("behaviours") if n.startswith("efficiency."))):
        found += _measured(name, made, rng)
    return found


def files(
    before: nn.Module, after: nn.Module, folder: Path, task: Task, kinds: tuple[str, ...]
) -> tuple[list[Cost], list[str]]:
    """Return the sizes of written files of other formats beside the original's, and a line on each that saves less.

    Less than `artifact.MODEL` does: because the weights are stored as floats, or because the graph takes the bytes.

    Args:
        before: The original; it is exported once more, to no lasting place.
        after: The compressed model.
        folder: What `write` wrote.
        task: Gives a few inputs.
        kinds: Formats of others that may have been written.
    """
    packed = _packed(after)
    found, lines = [], []
    for kind in kinds:
        path = folder / f"model.{kind}"
        if not path.is_file():
            continue
        floats, numbers = formats.held(kind, path)
        if floats > _MORE * packed:
            lines.append(
                f"{path.name} stores weights as floats, {floats:,} bytes; {artifact.MODEL} packs them into {packed:,}"
            )
        with contextlib.suppress(ArtifactError):  # an original that has no such form is beside nothing
            old = formats.size(kind, before, task.calibration.inputs[:_PROBES])
            sizes = float(old), float(path.stat().st_size)
            found.append(Cost(f"bytes of {path.name}", "bytes", *sizes, warned=f"is larger as {path.name}"))
            share, alone = sizes[1] / old, packed / _packed(before)
            if share > _FAR * alone and floats <= _MORE * packed:
                lines.append(
                    f"{path.name} is {share:.2f} of the original's, its packed weights {alone:.2f} of theirs: of "
                    f"{path.stat().st_size:,} bytes {numbers:,} are numbers ({packed:,} packed), the rest is the graph"
                )
    return found, lines


def warnings_of(found: list[Cost], after: nn.Module, task: Task) -> list[str]:
    """Return one line for each cost in which the compressed model is worse than the original, and for a dead model.

    Args:
        found: What `costs` returned.
        after: The compressed model.
        task: Gives the examples.
    """
    lines = []
    for cost in found:
        if cost.before is None or cost.after is None:
            continue
        times = cost.after / max(cost.before, 1e-12)
        if cost.warned and (cost.middle[0] if cost.middle else times) > _MORE:
            lines.append(f"the compressed model {cost.warned} than the original: {times:.2f} times")
    with torch.no_grad():
        if len(after(task.calibration.inputs).argmax(1).unique()) == 1:
            lines.append("the compressed model gives one and the same answer to every calibration example")
    return lines


def record(small: Compressed, found: list[Cost], warned: list[str]) -> dict[str, Any]:
    """Return what was done and what it costs, JSON-ready.

    Args:
        small: What `compress` returned.
        found: What `costs` and `files` returned.
        warned: What `warnings_of` returned.
    """
    steps = [vars(done) for done in small.steps]
    return {"costs": [vars(c) for c in found], "steps": steps, "remarks": small.remarks, "warnings": warned}


def _disk(before: nn.Module, after: nn.Module) -> list[Cost]:
    try:
        return [Cost("bytes on disk", "bytes", _bytes(before), _bytes(after), warned="is larger on disk")]
    except ArtifactError:  # the original of a tree may be of a kind that cannot be saved
        return []


def _bytes(model: nn.Module) -> float:
    with tempfile.TemporaryDirectory() as folder:
        artifact.save(model, Path(folder), {})
        return float(sum((Path(folder) / name).stat().st_size for name in (artifact.MODEL, artifact.ARCHITECTURE)))


def _packed(model: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in _artifact.encode(model)[0].values())


def _weights(model: nn.Module) -> float:
    owned = (m.weights() if isinstance(m, Own) else list(m.parameters(recurse=False)) for m in model.modules())
    return float(sum(t.numel() for t in {id(t): t for several in owned for t in several}.values()))


def _measured(name: str, made: list[Evidence], rng: torch.Generator) -> list[Cost]:
    item = registry.load("behaviours", name)

    def whole(values: Tensor) -> float:
        return float(item.summarise(values.numpy(), np.ones((1, len(values))))[0])

    shown, warned = _SHOWN.get(name, (name.rpartition(".")[2], ""))
    try:
        if "compare" in vars(item):
            ratios = item.compare(*made, item.Config(), rng)
            low, high = np.quantile(ratios.numpy(), (0.25, 0.75))
            once = _milliseconds(made[0], item.Config())
            return [Cost(shown, "ms", once, once * whole(ratios), (float(low), float(high)), warned)]
        old, new = (whole(item.measure(evidence, item.Config(), rng)) for evidence in made)
    except NotMeasurableError as error:
        return [Cost(shown, item.UNIT, None, None, why=str(error))]
    return [Cost(shown, item.UNIT, old, new, warned=warned)]


@torch.no_grad()
def _milliseconds(evidence: Evidence, config: Any) -> float:  # noqa: ANN401 - the Config of the latency
    inputs, times = evidence.split("test").inputs[: config.batch], []
    for _ in range(config.turns):
        started = time.perf_counter()
        evidence.model(inputs)
        times.append(1000 * (time.perf_counter() - started))
    return float(np.median(times))
