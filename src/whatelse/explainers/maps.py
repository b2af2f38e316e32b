"""Attribution maps of the log-odds margin and ranks inside them: what the items of this family share.

Every map explains the class that the baseline predicts, for the baseline and the candidate alike. *gradient* is the
gradient of the margin, *gradient x input* multiplies it by the input; both come from the pass that all behaviours
share. *integrated gradients* averages the gradient on the way from an empty input and multiplies by the difference,
*smoothgrad* averages it over eight noisy copies, *grad-cam* weighs the channels of the last convolution, *occlusion*
hides one patch, column or token after the other, *kernel shap* all but coalitions of them. Of tokens a map holds one
value each: the length of the gradient of the embedding, or its product with the embedding; padding gets zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Doubt
from whatelse.evidence.cache import Evidence
from whatelse.evidence.loudness import margin
from whatelse.explainers import captum, kernel_shap
from whatelse.tasks.task import Task

KINDS = ("gradient x input", "gradient", "integrated gradients", "smoothgrad", "grad-cam", "occlusion", "kernel shap")
# They say what a feature contributes; the others, how the margin moves with it.
CONTRIBUTIONS = ("gradient x input", "integrated gradients", "grad-cam", "occlusion", "kernel shap")
_VERSION = 1
_MAY_MISS = 0.05
# Values of one chunk: 4 MB in double precision.
_VALUES = 500_000


@dataclass(frozen=True)
class Asked:
    """Which maps.

    Attributes:
        kind: One of `KINDS`.
        steps: Gradients along the path of integrated gradients.
        examples: Test examples, from the first; 0 takes all.
        coalitions: Of kernel shap, with which each example is asked at most; 0 for eight a part.
    """

    kind: str = "gradient x input"
    steps: int = 32
    examples: int = 0
    coalitions: int = 0


class Checked(NamedTuple):
    """What must be said beside values that rest on maps.

    Attributes:
        notes: How complete integrated gradients are.
        doubts: That they are not complete enough.
    """

    notes: tuple[str, ...] = ()
    doubts: tuple[Doubt, ...] = ()


def size(evidence: Evidence, asked: Asked) -> int:
    """Return how many test examples have a map.

    Args:
        evidence: Gives the test examples.
        asked: Which maps.
    """
    return first(evidence.task, asked.examples)


def first(task: Task, examples: int) -> int:
    """Return how many test examples are asked for.

    Args:
        task: Gives the test examples.
        examples: The most; 0 takes all.
    """
    return min(len(task.test), examples) if examples else len(task.test)


def effort(asked: Asked, task: Task) -> int:
    """Return how many passes maps cost beyond the shared ones, of one example forward or backward.

    Args:
        asked: Which maps.
        task: Gives the test examples and their shape.
    """
    if asked.kind == "integrated gradients":
        each = 2 * asked.steps
    elif asked.kind == "occlusion":
        each = 1 + captum.patches(task)
    elif asked.kind == "kernel shap":
        each = 1 + kernel_shap.asked(task, asked.coalitions)
    else:
        tokens = asked.kind == "gradient x input" and task.modality == "tokens"
        each = {"smoothgrad": 2 * captum.COPIES, "grad-cam": 2}.get(asked.kind, int(tokens))
    # The empty input, or the one that shows Grad-CAM its layers.
    return each * first(task, asked.examples) + (1 if each else 0)


def chunks(evidence: Evidence, asked: Asked) -> Iterator[tuple[slice, Tensor]]:
    """Yield signed maps chunk by chunk: which test examples, and ``(n, features)`` in double precision.

    Chunks are the same for every model of a task.

    Args:
        evidence: Gives gradients or answers; keeps maps that cost passes of their own.
        asked: Which maps.

    Yields:
        Rows of test, and their maps.

    Raises:
        MissingExtraError: The map needs Captum, which is not installed.
        NotMeasurableError: The model, or the task, does not have such a map.
    """
    whole = _whole(evidence, asked)
    inputs = evidence.split("test").inputs
    tokens = evidence.task.modality == "tokens"
    times_input = asked.kind == "gradient x input" and not tokens
    for rows in pieces(size(evidence, asked), inputs[0].numel()):
        # In single precision, as the model computes: what ties there ties here.
        found = whole[rows] * inputs[rows] if times_input else whole[rows].expand(inputs[rows].shape)
        flat = found.flatten(1).double()
        yield rows, flat.where(told(evidence, rows), 0.0) if tokens else flat


def pieces(count: int, features: int) -> list[slice]:
    """Return slices that cover examples in order, each small enough for a few copies in double precision.

    Args:
        count: Number of examples.
        features: Values of one example.
    """
    step = max(1, _VALUES // max(1, features))
    return [slice(i, min(i + step, count)) for i in range(0, count, step)]


def told(evidence: Evidence, rows: slice) -> Tensor:
    """Return which features are there, ``(n, features)`` bool: all, except padding tokens.

    Args:
        evidence: Gives the test examples.
        rows: Which of them.
    """
    inputs = evidence.split("test").inputs[rows].flatten(1)
    return inputs != 0 if evidence.task.modality == "tokens" else torch.ones_like(inputs, dtype=torch.bool)


def useless(maps: Tensor) -> Tensor:
    """Return whether a map says nothing: all zero, or not finite somewhere, ``(N,)``.

    Args:
        maps: ``(N, features)``.
    """
    return (maps == 0).all(1) | ~maps.isfinite().all(1)


def ranks(values: Tensor) -> Tensor:
    """Return the rank of each value in its row, from 1, ties at their average, ``(N, features)``.

    Args:
        values: Finite, ``(N, features)``; maps are of single precision, in which they sort in half the time.
    """
    single = values.float().numpy()
    order = np.argsort(single, 1)  # a third of the time that torch takes
    along = np.take_along_axis(single, order, 1)
    count = along.shape[1]
    place = np.arange(count, dtype=np.float32)
    starts, ends = np.ones_like(along, dtype=bool), np.ones_like(along, dtype=bool)
    starts[:, 1:] = ends[:, :-1] = along[:, 1:] != along[:, :-1]
    first = np.maximum.accumulate(np.where(starts, place, 0), 1)
    last = np.minimum.accumulate(np.where(ends, place, count)[:, ::-1], 1)[:, ::-1]
    found = np.empty_like(single)
    np.put_along_axis(found, order, (first + last) / 2 + 1, 1)
    return torch.from_numpy(found).to(values)


def completeness(evidence: Evidence, asked: Asked) -> Tensor:
    """Return how far integrated gradients miss the change of the margin, and that change, ``(M, 2)``, none negative.

    Args:
        evidence: Gives the maps and the answers.
        asked: Which maps; the kind is taken to be integrated gradients.

    Raises:
        MissingExtraError: Captum is not installed.
        NotMeasurableError: The model does not differentiate, or inputs are texts.
    """
    path = Asked("integrated gradients", asked.steps, asked.examples)
    total = torch.cat([maps.sum(1) for _, maps in chunks(evidence, path)])
    labels = evidence.explained("test")[: len(total)]
    empty = evidence.answers(captum.start(evidence)[None]).expand(len(total), -1)
    ends = [margin(evidence, scores.double(), labels) for scores in (evidence.logits("test")[: len(total)], empty)]
    change = ends[0] - ends[1]
    return torch.stack([(total - change).abs(), change.abs()], 1)


def check(evidence: Evidence, asked: Asked) -> Checked:
    """Return the completeness error of integrated gradients; above 5 % of the change they are not to be trusted.

    Args:
        evidence: Whose maps.
        asked: Which; of kinds other than integrated gradients nothing is said.

    Raises:
        MissingExtraError: Captum is not installed.
        NotMeasurableError: The model does not differentiate, or inputs are texts.
    """
    if asked.kind != "integrated gradients":
        return Checked()
    error, change = completeness(evidence, asked).sum(0).tolist()
    missed = error / change if change else 0.0
    line = f"integrated gradients of {evidence.subject.name} miss {100 * missed:.2g} % of the change of the margin"
    if missed <= _MAY_MISS:
        return Checked((line,))
    told = f"{line}; at most {100 * _MAY_MISS:.0f} % may be: too few steps, or gradients of a surrogate"
    return Checked((line,), (Doubt(told),))


def _whole(evidence: Evidence, asked: Asked) -> Tensor:
    """Return the maps of all examples asked for, before the product with the input, in single precision."""
    if asked.kind in {"gradient x input", "gradient"}:
        gradient = evidence.margin_gradient("test")
        if evidence.task.modality != "tokens":
            return gradient
        name, steps, examples = f"map {_VERSION} {asked.kind}", 0, 0
    else:
        steps = asked.steps if asked.kind == "integrated gradients" else 0
        examples = size(evidence, asked)
        name = f"map {_VERSION} {asked.kind} steps={steps} examples={examples}"
        name += f" coalitions={asked.coalitions}" if asked.kind == "kernel shap" else ""
    return evidence.once(name, lambda: {"map": _made(evidence, asked, examples)})["map"]


def _made(evidence: Evidence, asked: Asked, examples: int) -> Tensor:
    if asked.kind == "gradient":
        length: Tensor = torch.linalg.vector_norm(evidence.margin_gradient("test"), dim=-1)
        return length.float()
    if asked.kind == "gradient x input":
        return torch.einsum("ntw,ntw->nt", evidence.margin_gradient("test"), evidence.embedded("test")).float()
    inputs, labels = evidence.split("test").inputs[:examples], evidence.explained("test")[:examples]
    if asked.kind == "integrated gradients":
        return captum.integrated(evidence, inputs, labels, asked.steps)
    if asked.kind == "kernel shap":
        return kernel_shap.mapped(evidence, inputs, labels, asked.coalitions)
    make = {"smoothgrad": captum.smooth, "grad-cam": captum.grad_cam, "occlusion": captum.occluded}[asked.kind]
    return make(evidence, inputs, labels)
