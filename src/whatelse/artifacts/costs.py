"""What a model and its compressed copy cost, side by side."""

from __future__ import annotations

import contextlib
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from whatelse import items, registry
from whatelse.answer import Answer
from whatelse.artifacts import folder as artifact
from whatelse.artifacts import formats, language
from whatelse.artifacts.compress import Compressed, Save
from whatelse.errors import ArtifactError, NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.layers.compressed import CompressedLayer
from whatelse.models import subject
from whatelse.models.causal import Causal
from whatelse.models.model import Model
from whatelse.modules import codec
from whatelse.modules.decoder import Decoder
from whatelse.tasks.task import Task

_PROBES, _MORE = 64, 1.05
_FAR = 2  # times the share that a file's weights take of the original's, from which on the graph is named
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


def costs(before: nn.Module, after: nn.Module, task: Task, save: Save = artifact.save) -> list[Cost]:
    """Return what both models cost and how well they do on the select split, the timings taken in turn.

    Args:
        before: The original.
        after: The compressed model.
        task: Gives the examples.
        save: Writes a model as the compressed one is written.

    Raises:
        ArtifactError: One of the models cannot be described.
    """
    rng = torch.Generator().manual_seed(0)
    made = []
    for name, model in (("original", before), ("compressed", after)):
        # Test is for verdicts, never for a look in passing.
        made.append(Evidence(_subject(name, model), task, on="select"))
    found = _disk(before, after, save)
    found.append(Cost("parameters, zeros too", "parameters", _weights(before), _weights(after)))
    asked = ["generalization.accuracy", *(n for n in registry.names("behaviours") if n.startswith("efficiency."))]
    if isinstance(before, Decoder):
        asked = ["efficiency.bytes", "efficiency.parameters"]
        said = language.perplexity(before, task), language.perplexity(after, task)
        found.append(Cost("perplexity, calibration windows", "", *said))
    for name in asked:
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


def _subject(name: str, model: nn.Module) -> Model:
    """Return a model as evidence takes it: of a language model what it stores, as it is asked texts and not windows."""
    if isinstance(model, Decoder):
        reader = Causal.of(name, model)
        return Model(name, reader, name, stores=reader)
    return subject.Subject(name, model, name, without=frozenset({"differentiates"}))


def _disk(before: nn.Module, after: nn.Module, save: Save) -> list[Cost]:
    try:
        sizes = _bytes(before, save), _bytes(after, save)
        return [Cost("bytes on disk", "bytes", *sizes, warned="is larger on disk")]
    except ArtifactError:  # the original of a tree may be of a kind that cannot be saved
        return []


def _bytes(model: nn.Module, save: Save) -> float:
    with tempfile.TemporaryDirectory() as folder:
        save(model, Path(folder), {})
        return float(sum(path.stat().st_size for path in Path(folder).iterdir() if path.name != artifact.RECORD))


def _packed(model: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in codec.encode(model)[0].values())


def _weights(model: nn.Module) -> float:
    owned = (
        m.weights() if isinstance(m, CompressedLayer) else list(m.parameters(recurse=False)) for m in model.modules()
    )
    return float(sum(t.numel() for t in {id(t): t for several in owned for t in several}.values()))


def _measured(name: str, made: list[Evidence], rng: torch.Generator) -> list[Cost]:
    item = items.behaviour(name)
    config = item.configure({})

    def whole(answer: Answer) -> float:
        return float(item.summarise(answer, config, np.ones((1, len(answer))))[0])

    shown, warned = _SHOWN.get(name, (name.rpartition(".")[2], ""))
    try:
        if item.pair:
            ratios = item.answer(made[0], made[1], config, rng)
            low, high = np.quantile(ratios.matrix(), (0.25, 0.75))
            once = _milliseconds(made[0], config)
            return [Cost(shown, "ms", once, once * whole(ratios), (float(low), float(high)), warned)]
        old, new = (whole(item.answer(evidence, evidence, config, rng)) for evidence in made)
    except NotMeasurableError as error:
        return [Cost(shown, item.unit, None, None, why=str(error))]
    return [Cost(shown, item.unit, old, new, warned=warned)]


@torch.no_grad()
def _milliseconds(evidence: Evidence, config: Any) -> float:  # noqa: ANN401 - the Config of the latency
    inputs, times = evidence.split("test").inputs[: config.batch], []
    for _ in range(config.turns):
        started = time.perf_counter()
        evidence.model(inputs)
        times.append(1000 * (time.perf_counter() - started))
    return float(np.median(times))
