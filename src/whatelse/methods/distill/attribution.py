"""Train a smaller student to match the model's attribution maps and its softened predictions.

With ``A`` the last activation that has places and ``z_c`` the logit of the teacher's first class, in both networks:
``kind="sensitivity"``: map ``ReLU(sum_k w_k * A_k)``, ``w_k = sum_ij dz_c / dA_kij``, the sum over channels ``k`` (an
unnormalized Grad-CAM); the student's is differentiated once more. ``kind="equal"``: map ``mean_k A_k^2``. Maps are
flattened and divided by their length. To the loss of ``distill.logits`` (``temperature``, ``mix``) comes ``weight``
times ``||m_T - m_S||_2^2``, averaged over examples. In every step the share ``drop`` of the teacher's channels, drawn
anew, is left out of its sensitivity map (stochastic matching); 0 is the deterministic variant.

``A`` is a map ``(N, channels, height, width)`` or, as of a transformer, a sequence ``(N, tokens, channels)``, whose
places are its tokens (ours; the paper has convolutional networks). A model without either is refused: a map of the
input's gradient in its place would be another method. The student's layer is that of the same name, else of the
nearest depth; of two maps of unequal size the larger is averaged down.

Where we depart from the authors' code: the loss of the logits is Hinton's for one label an example (theirs: a sigmoid
a label); Adam with a one-cycle schedule in place of SGD. They average the squares over places too, with a weight of 100
on maps of 7 x 7, which is 2 of the sum; over their 350 epochs that does no harm, over few it drowns labels and logits,
so our default is 0.1.

Source:
    Park et al., Attribution preservation in network compression for reliable network interpretation, NeurIPS 2020,
    arXiv:2010.15054.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from whatelse.errors import RecipeError
from whatelse.methods import _common as common
from whatelse.methods.distill import _features as features
from whatelse.methods.distill._soft import hinton
from whatelse.methods.distill._student import student
from whatelse.settings import param
from whatelse.tasks.task import Task
from whatelse.training.loop import Schedule, descend

VERSION, KNOB, TAKES, LEAVES = 1, "width", {"dense", "sparse"}, "dense"


@dataclass(frozen=True)
class Config:
    """Settings of distillation with attribution maps."""

    width: float = common.width()
    student: str = common.student()
    temperature: float = common.temperature()
    mix: float = common.mix()
    epochs: int = common.epochs(30)
    rate: float = common.rate()
    batch: int = common.batch()
    weight: float = param(0.1, "Weight of the maps; 100 in the authors' code is 2 here.", low=0.0, high=1e6)
    kind: str = param("sensitivity", "How a map weighs its channels.", choices=("sensitivity", "equal"))
    drop: float = param(0.3, "Share of the teacher's channels left out in a step; sensitivity only.", low=0.0, high=0.9)


def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a trained student.

    Args:
        model: The teacher; any classifier with inner maps or sequences.
        config: Size of the student and how it is taught.
        task: Its train split, with the labels as they were recorded.
        rng: Source of the student's weights, of the order of the examples and of the channels left out.

    Raises:
        RecipeError: The teacher or the student has no such map, or its logits do not depend on it; the student cannot
            be made or trained.
    """
    inputs, labels = task.train.inputs, task.train.observed
    taught_one = student(model, config.width, config.student, task, rng).eval()
    theirs, mine = _layers(features.points(model, inputs), features.points(taught_one, inputs))

    def see(x: Tensor) -> dict[str, Tensor]:
        logits, parts = _parts(model, theirs, x, None, config.kind)
        return {"": logits.detach(), "parts": parts.detach()}

    told = features.remembered(features.in_batches(model, see), inputs)

    def objective(batch: Tensor) -> Tensor:
        known = told(batch)
        target = _map(_dropped(known["parts"], config, rng), config.kind)
        logits, parts = _parts(taught_one, mine, inputs[batch], known[""].argmax(1), config.kind)
        loss = hinton(logits, known[""], labels[batch], config.temperature, config.mix)
        return loss + config.weight * _distance(_map(parts, config.kind), target)

    descend(taught_one, objective, len(inputs), Schedule(config.epochs, config.rate, config.batch), rng)
    return taught_one


def effort(config: Config, task: Task) -> int:
    """Return how many passes the training takes, of one example forward or back through inputs or through weights.

    Args:
        config: How long it trains, and whether maps are gradients, which are differentiated again.
        task: Gives the number of train examples.
    """
    each = 6 if config.kind == "sensitivity" else 3
    return (each * config.epochs + 1) * len(task.train)


def _layers(theirs: list[features.Point], mine: list[features.Point]) -> tuple[str, str]:
    maps, others = ([p for p in found if p.places > 1] for found in (theirs, mine))
    found = features.partner(maps[-1], others) if maps else None
    if found is None:
        who = "student has no map like the model's" if maps else "model has no inner maps or sequences"
        raise RecipeError(f"distill.attribution: the {who}; use distill.logits or distill.labels")
    return maps[-1].name, found.name


def _parts(model: nn.Module, layer: str, inputs: Tensor, classes: Tensor | None, kind: str) -> tuple[Tensor, Tensor]:
    """Return the logits, and what each channel adds to the map, ``(N, channels, ...)``.

    Args:
        model: Teacher or student.
        layer: Where the activation is read.
        inputs: ``(N, ...)``.
        classes: The class explained, ``(N,)``; the model's own first where it is None.
        kind: The setting.

    Raises:
        RecipeError: The logits do not depend on the activation.
    """
    # Only the plain kernel of attention can be differentiated twice on a CPU.
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), features.watched(model, [layer]) as seen:
        logits: Tensor = model(inputs)
        activation = seen[layer]
        if kind == "equal":
            return logits, features.channels_first(activation).square()
        picked = logits.argmax(1) if classes is None else classes
        score = logits.gather(1, picked[:, None]).sum()
        (slope,) = torch.autograd.grad(score, activation, create_graph=True, allow_unused=True)
    if slope is None:
        raise RecipeError(f"distill.attribution: the logits do not depend on {layer}; use distill.attention")
    a, g = features.channels_first(activation), features.channels_first(slope)
    weights = g.flatten(2).sum(2)
    return logits, weights.view(*weights.shape, *[1] * (a.dim() - 2)) * a


def _map(parts: Tensor, kind: str) -> Tensor:
    return parts.mean(1) if kind == "equal" else functional.relu(parts.sum(1))


def _dropped(parts: Tensor, config: Config, rng: torch.Generator) -> Tensor:
    count = int(config.drop * parts.shape[1])
    if config.kind == "equal" or not count:
        return parts
    return parts.index_fill(1, torch.randperm(parts.shape[1], generator=rng)[:count], 0.0)


def _distance(mine: Tensor, theirs: Tensor) -> Tensor:
    one, other = (features.unit(maps) for maps in features.one_size(mine, theirs))
    return (one - other).square().sum(1).mean()
