"""Compress a model by a recipe, write it, prove what was written, and measure what it costs beside the original."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from whatelse import __version__, items, recipe
from whatelse.artifacts import folder as artifact
from whatelse.artifacts import formats, language, pack_quantized
from whatelse.errors import ArtifactError, RecipeError, StoreError, in_short
from whatelse.layers.compressed import CompressedLayer, remarks
from whatelse.models import placed
from whatelse.modules import codec
from whatelse.modules.decoder import Decoder
from whatelse.modules.device import training_on
from whatelse.modules.lent import quietly, resting
from whatelse.tasks.task import Task

Save = Callable[[nn.Module, Path, Mapping[str, Any]], None]
AFRESH = "fresh process"  # in the record: how near its outputs were
_PROBES, _MORE = 64, 1.05
# How a model can be written, and by what.
_FORMS: dict[str, Any] = {"whatelse": artifact, "transformers": language, pack_quantized.NAME: pack_quantized}
# How a user calls the forms of a language model.
FORMATS = ("floats", pack_quantized.NAME, "whatelse")
_FIT, _MATRIX = 2, 2  # examples that show what a model answers with; dimensions of class scores


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
        form: How it is written: ``whatelse``, or as a folder that ``from_pretrained`` loads, ``transformers`` for
            floats and ``compressed-tensors`` for few bits.
    """

    model: nn.Module
    steps: list[Done]
    remarks: dict[str, str]
    form: str = "whatelse"

    @property
    def saved(self) -> Save:
        """What writes it."""
        save: Save = _FORMS[self.form].save
        return save


def as_floats(small: Compressed) -> Compressed:
    """Return a language model as floats in the classes of transformers; any other model as it is.

    Args:
        small: What `compress` returned.

    Raises:
        ArtifactError: A part of it has no such form; it is named.
    """
    if not isinstance(small.model, Decoder):
        return small
    made = small.model.plain()
    return Compressed(made, small.steps, remarks(made), "transformers")


def as_codes(small: Compressed) -> Compressed:
    """Return a language model as compressed-tensors has it: codes and scales in the place of linear layers.

    Args:
        small: What `compress` returned of a language model.

    Raises:
        ArtifactError: The format has no place for a part, which is named.
    """
    assert isinstance(small.model, Decoder)
    made = pack_quantized.formed(small.model)
    return Compressed(made, small.steps, remarks(made), pack_quantized.NAME)


def compress(
    model: nn.Module,
    steps: str,
    task: Task,
    seed: int = 0,
    show: Callable[[str], None] = lambda step: None,
    device: str = "",
) -> Compressed:
    """Return a model compressed by a recipe; the given model is left as it was.

    Args:
        model: Any classifier, ``(N, ...)`` to ``(N, classes)``.
        steps: A recipe, such as ``prune.magnitude(sparsity=0.9) > train.finetune(epochs=2)``.
        task: Its train and calibration splits may be read, and nothing else.
        seed: Decides everything random.
        show: Called with every step before it begins.
        device: Where it is trained, such as ``cuda``, or ``auto`` for what is there; empty for the CPU. The model that
            comes back is on the CPU.

    Raises:
        TaskError: The device is not there.
        RecipeError: The recipe cannot be read, or a step cannot treat the model, as where it does not answer with class
            scores alone.
    """
    placed.check(device)
    with resting(model, "the model", task.test.inputs[:1]) as guest:
        check_answers(guest.model, task.test.inputs[:_FIT], "the model")
    done = []
    for number, step in enumerate(recipe.parse(steps)):
        show(str(step))
        started = time.perf_counter()
        with training_on(placed.named(device)):
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
        "proof": {"examples": len(inputs)},
    }
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as part:
            aside = Path(part) / "whole"
            small.saved(small.model, aside, record)
            record["proof"][AFRESH] = _FORMS[small.form].prove(aside, inputs, outputs)
            for kind in also:
                path = aside / f"model.{kind}"
                try:
                    record["proof"][path.name] = formats.write(kind, small.model, path, inputs)
                except ArtifactError as error:
                    path.unlink(missing_ok=True)
                    failed[kind] = str(error)
            drawings = [part.drawing() for part in small.model.modules() if isinstance(part, CompressedLayer)]
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
    matrix = _MATRIX + isinstance(model, Decoder)  # of every token
    if not isinstance(outputs, Tensor) or outputs.dim() != matrix or not outputs.is_floating_point():
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
    broken = int((~outputs.isfinite()).flatten(1).any(1).sum())
    if broken:
        raise ArtifactError(f"{name} returns NaN or infinity for {broken} of {len(inputs)} calibration examples")
    return outputs


def check_before(model: nn.Module, steps: str, task: Task, also: tuple[str, ...], form: str = "") -> None:
    """Refuse, before any work, what could not be written after it.

    Args:
        model: The original.
        steps: A recipe.
        task: Gives a few inputs.
        also: The formats of others that are asked for.
        form: Which of `FORMATS` is asked for; empty for what fits.

    Raises:
        RecipeError: The recipe cannot be read, or the model does not answer with class scores alone.
        ArtifactError: The model cannot be described, so neither could what is made of it; or it returns NaN.
        MissingExtraError: A package for one of the formats is not installed.
    """
    if form and form not in FORMATS:
        raise ArtifactError(f"--format {form}: there is no such form; allowed are {', '.join(FORMATS)}")
    if form and not isinstance(model, Decoder):
        raise ArtifactError(f"--format {form}: only a language model can be written otherwise; leave it out")
    if form == pack_quantized.NAME:
        pack_quantized.check(model)
    check_answers(model, task.calibration.inputs[:_FIT], "the model")
    # A tree has nothing of the model that it was fitted to.
    if not any(items.method(step.name).leaves == "tree" for step in recipe.parse(steps)):
        codec.encode(model)
    answers(model, task.calibration.inputs[:_PROBES], "the model")
    for kind in also:
        if isinstance(model, Decoder):
            raise ArtifactError(f"--{kind}: a language model is written as a folder of transformers or of whatelse")
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
