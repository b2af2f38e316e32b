"""Train a smaller student in two stages: first its lower half on an inner layer of the model, then all of it.

Stage 1 (``hint_epochs``): the hint ``u_h`` is the output of the model's ``layer``, the guided layer ``v_g`` the
student's of the same name, else of the nearest depth. ``1/2 * ||u_h(x) - r(v_g(x))||^2``, averaged over examples,
trains the student's layers up to the guided one, and the regressor ``r``; nothing after the guided layer is called, so
batch norms there do not move either. ``r`` is a convolution whose kernel is (size of the guided map) - (size of the
hint) + 1 an axis, a linear layer for tokens and vectors, followed by the hint's nonlinearity where the hint is the
output of one, and absent where the two layers already have one shape, as in a pruned student.
Stage 2 (``epochs``): ``CE(y, p_student) - lambda * sum_k p_teacher^T[k] * log p_student^T[k]``, with
``p^T = softmax(z / T)`` and ``lambda`` falling linearly from ``mix`` to ``mix_end``. As in the paper there is no factor
``T^2``: ``mix`` is not the share that it is in ``distill.logits``.

Where we depart from the paper: Adam with a one-cycle schedule in place of RMSProp; ``lambda`` falls from the first step
on (the authors' code waits five epochs); no maxout layers and no max-norm on ``r``. A guided map smaller than the hint
is refused, as by the authors' code.

Source:
    Romero et al., FitNets: Hints for thin deep nets, ICLR 2015, arXiv:1412.6550.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.errors import RecipeError, nearest
from whatelse.methods import _common as common
from whatelse.methods.distill import _features as features
from whatelse.methods.distill._features import Point, partner, points, up_to
from whatelse.methods.distill._student import student
from whatelse.settings import param
from whatelse.tasks.task import Task
from whatelse.training.initialize import initialize
from whatelse.training.loop import Objective, Schedule, descend

VERSION, KNOB, TAKES, LEAVES = 1, "width", {"dense", "sparse"}, "dense"
_NONLINEAR = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh)


@dataclass(frozen=True)
class Config:
    """Settings of distillation with hints."""

    width: float = common.width()
    student: str = common.student()
    temperature: float = param(3.0, "Softens both predictions; 1 leaves them as they are.", low=0.1, high=1000.0)
    mix: float = param(4.0, "Weight of the teacher's predictions at the start; the labels have 1.", low=0.0, high=1e3)
    epochs: int = param(30, "Passes over train in the second stage.", low=0, high=10_000)
    rate: float = param(8e-3, "Peak learning rate of the one-cycle schedule of each stage.", low=0.0, high=1.0)
    batch: int = common.batch()
    mix_end: float = param(1.0, "Weight of the teacher's predictions at the end.", low=0.0, high=1e3)
    hint_epochs: int = param(15, "Passes over train in the first stage.", low=0, high=10_000)
    layer: str = param("", "Name of the teacher's layer that gives the hint; empty for the middle one.")


def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a trained student.

    Args:
        model: The teacher; any classifier with a hidden layer.
        config: Size of the student and how it is taught.
        task: Its train split, with the labels as they were recorded.
        rng: Source of the student's weights, of the regressor's and of the order of the examples.

    Raises:
        RecipeError: There is no hidden layer, or not the one named; no layer of the student corresponds to it; the
            student cannot be made or trained.
    """
    inputs = task.train.inputs
    taught_one = student(model, config.width, config.student, task, rng).eval()
    hint = _hint(points(model, inputs), config.layer)
    guided = partner(hint, points(taught_one, inputs))
    if guided is None:
        raise RecipeError(f"distill.hints: no layer of the student corresponds to {hint.name}; name another layer")
    read = features.reader(model, [hint.name])
    regressor = _regressor(guided, hint, model.get_submodule(hint.name)).to(read(inputs[:2])[hint.name].dtype)
    initialize(regressor, rng)
    told = features.remembered(features.in_batches(model, read), inputs)

    def match(batch: Tensor) -> Tensor:
        return _distance(told(batch)[hint.name], regressor(up_to(taught_one, guided.name, inputs[batch])))

    first = Schedule(config.hint_epochs, config.rate, config.batch)
    descend(taught_one, match, len(inputs), first, rng, beside=regressor.parameters())
    second = Schedule(config.epochs, config.rate, config.batch)

    def teacher(batch: Tensor) -> Tensor:
        return told(batch)[""]

    descend(taught_one, _Second(taught_one, teacher, task, config), len(inputs), second, rng)
    return taught_one


def effort(config: Config, task: Task) -> int:
    """Return how many passes the training takes, of one example forward or back through inputs or through weights.

    Args:
        config: How long the two stages are.
        task: Gives the number of train examples.
    """
    return (3 * (config.hint_epochs + config.epochs) + 1) * len(task.train)


def _hint(found: list[Point], layer: str) -> Point:
    if not found:
        raise RecipeError("distill.hints: the model has no hidden layer to take a hint from; use distill.logits")
    if not layer:
        return features.before(features.ends(found), 0.5)
    named = {point.name: point for point in found}
    if layer not in named:
        raise RecipeError(f"distill.hints: no hidden layer named {layer!r}; {nearest(layer, named)}")
    return named[layer]


def _regressor(guided: Point, hint: Point, part: nn.Module) -> nn.Module:
    """Return what maps the guided layer to the hint.

    Raises:
        RecipeError: The guided map is smaller than the hint, or has another number of tokens.
    """
    if guided.shape == hint.shape:
        return nn.Identity()
    kernel = [a - b + 1 for a, b in zip(guided.shape[1:], hint.shape[1:], strict=True)]
    tokens = len(hint.shape) == 2 and guided.shape[0] != hint.shape[0]
    if tokens or (len(hint.shape) == 3 and min(kernel) < 1):
        sizes = f"{guided.shape} of the student cannot be mapped to the hint {hint.shape}"
        raise RecipeError(f"distill.hints: {guided.name} {sizes}; name another layer")
    with torch.device("meta"):
        if len(hint.shape) == 3:
            mapping: nn.Module = nn.Conv2d(guided.shape[0], hint.shape[0], (kernel[0], kernel[1]))
        else:
            mapping = nn.Linear(guided.shape[-1], hint.shape[-1])
    mapping.to_empty(device="cpu")
    return nn.Sequential(mapping, deepcopy(part)) if isinstance(part, _NONLINEAR) else mapping


def _distance(hint: Tensor, guess: Tensor) -> Tensor:
    return (hint - guess).square().flatten(1).sum(1).mean() / 2


class _Second:
    """The objective of stage 2; it counts the examples that it has seen, by which lambda falls."""

    def __init__(self, model: nn.Module, teacher: Objective, task: Task, config: Config) -> None:
        self.model, self.teacher, self.split, self.config = model, teacher, task.train, config
        self.seen = 0

    def __call__(self, batch: Tensor) -> Tensor:
        done = self.seen / (self.config.epochs * len(self.split))
        self.seen += len(batch)
        weight = self.config.mix + (self.config.mix_end - self.config.mix) * done
        logits = self.model(self.split.inputs[batch])
        return _loss(logits, self.teacher(batch), self.split.observed[batch], self.config.temperature, weight)


def _loss(logits: Tensor, taught: Tensor, labels: Tensor, temperature: float, weight: float) -> Tensor:
    soft = functional.softmax(taught / temperature, 1)
    hard = functional.cross_entropy(logits, labels)
    return hard + weight * functional.cross_entropy(logits / temperature, soft)
