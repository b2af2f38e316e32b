"""Train a smaller student to keep the robustness of an adversarially trained teacher.

The teacher is what the recipe ``teacher`` makes of the model, by default the model trained further on attacked
examples. The student sees attacked examples of itself, ``x' = argmax CE(y, f(x'))`` over the L-infinity ball of radius
``eps`` (PGD, as in ``train.adversarial``), and is to answer there as the teacher answers without attack:
``mix * T^2 * KL(p_teacher^T(x) || p_student^T(x')) + (1 - mix) * CE(y, p_student(x))``, with ``p^T = softmax(z / T)``
(ARD). With ``align`` comes the mean of ``align * |grad_x CE(y, p_student(x)) - grad_x CE(y, p_teacher(x))|_2``
over examples (KDIGA). ``eps = 0`` leaves plain distillation with the gradient term, ``align = 0`` leaves ARD.

Where we depart: ARD attacks the student in training mode, here it is in evaluation mode, so that the attack moves no
batch statistics; the gradients of the teacher are taken once; Adam with a one-cycle schedule in place of SGD.

Source:
    Goldblum, Fowl, Feizi, Goldstein, Adversarially robust distillation, AAAI 2020, arXiv:1905.09747; Shao, Yi, Chen,
    Hsieh, How and when adversarial robustness transfers in knowledge distillation?, 2021, arXiv:2110.12072.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from whatelse import recipe
from whatelse.methods import _common as common
from whatelse.methods.distill._soft import divergence
from whatelse.methods.distill._student import student
from whatelse.modules.calibration import batches
from whatelse.settings import param
from whatelse.tasks.task import Task
from whatelse.training.adversary import Ball, attackable, pgd
from whatelse.training.loop import Schedule, answers, descend

VERSION, KNOB, TAKES, LEAVES = 1, "width", {"dense", "sparse"}, "dense"


@dataclass(frozen=True)
class Config:
    """Settings of robust distillation."""

    width: float = common.width()
    student: str = common.student()
    teacher: str = param(
        "train.adversarial()", "Recipe that makes the teacher of the model; empty: the model itself.", recipe="inner"
    )
    temperature: float = common.temperature()
    mix: float = common.mix()
    align: float = param(0.0, "Weight of the distance between the gradients by the input.", low=0.0)
    eps: float = param(0.1, "Radius of the L-infinity ball, in units of the input.", low=0.0, high=1.0)
    step: float = param(0.25, "Length of a step of the attack as a share of eps.", low=0.0, high=2.0)
    steps: int = param(7, "Gradient steps of the attack.", low=1, high=1000)
    epochs: int = common.epochs(30)
    rate: float = common.rate()
    batch: int = common.batch()


def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a trained student.

    Args:
        model: What the teacher is made of.
        config: The teacher, size of the student, the attack and how the student is taught.
        task: Its train split, with the labels as they were recorded, and its bounds.
        rng: Source of the teacher, of the student's weights, of the attack and of the order of the examples.

    Raises:
        RecipeError: The teacher cannot be narrowed, or the inputs are whole numbers or out of bounds.
    """
    inputs, labels = task.train.inputs, task.train.observed
    attackable(model, inputs, task.limits(), "distill.robust")
    teacher = model
    for step in recipe.parse(config.teacher):
        teacher = recipe.apply(step, teacher, task, rng)
    taught_one = student(teacher, config.width, config.student, task, rng)
    taught = answers(teacher, inputs)
    slopes = _slopes(teacher, inputs, labels) if config.align else inputs
    ball = Ball(config.eps, config.step, config.steps, task.limits())

    def objective(batch: Tensor) -> Tensor:
        x, y = inputs[batch], labels[batch]
        moved = pgd(taught_one, x, lambda logits: functional.cross_entropy(logits, y, reduction="sum"), ball, rng)
        loss = config.mix * divergence(taught_one(moved), taught[batch], config.temperature)
        if config.mix < 1:
            loss = loss + (1 - config.mix) * functional.cross_entropy(taught_one(x), y)
        if config.align:
            loss = loss + config.align * _apart(_slope(taught_one, x, y, keep=True), slopes[batch])
        return loss

    descend(taught_one, objective, len(inputs), Schedule(config.epochs, config.rate, config.batch), rng)
    return taught_one


def effort(config: Config, task: Task) -> int:
    """Return how many passes the training takes, of one example forward or back through inputs or through weights.

    That of the teacher, where a recipe makes it, is not in it.

    Args:
        config: How long it trains, and how long the attack is.
        task: Gives the number of train examples.
    """
    each = 2 * config.steps + 3 + 3 * (config.mix < 1) + 6 * (config.align > 0)
    return (each * config.epochs + 1) * len(task.train)


def _slopes(teacher: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return the teacher's gradients by the inputs, of all examples."""
    done, parts = 0, []
    for x in batches(teacher, inputs):
        parts.append(_slope(teacher, x, labels[done : done + len(x)], keep=False))
        done += len(x)
    return torch.cat(parts)


def _slope(model: nn.Module, inputs: Tensor, labels: Tensor, *, keep: bool) -> Tensor:
    """Return the gradient of every example's cross-entropy by its input; ``keep`` lets it be differentiated."""
    x = inputs.detach().requires_grad_()
    # The fused kernels of attention have no second derivative.
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        loss = functional.cross_entropy(model(x), labels, reduction="sum")
        (slope,) = torch.autograd.grad(loss, x, create_graph=keep)
    return slope


def _apart(mine: Tensor, other: Tensor) -> Tensor:
    """Return the mean Euclidean distance of two batches of gradients."""
    distances: Tensor = torch.linalg.vector_norm((mine - other).flatten(1), dim=1)
    return distances.mean()
