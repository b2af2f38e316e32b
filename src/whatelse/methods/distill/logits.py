"""Train a smaller student to match the softened predictions of the model.

The student is the model's own architecture with every hidden width multiplied by ``width`` and random weights, or
what the recipe ``student`` makes of the model. It is trained on
``mix * T^2 * KL(p_teacher^T || p_student^T) + (1 - mix) * CE(y, p_student)``, with ``p^T = softmax(z / T)``;
the factor ``T^2`` keeps the two gradients of one size.

Source:
    Hinton, Vinyals, Dean, Distilling the knowledge in a neural network, 2015, arXiv:1503.02531.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.methods import _common as common
from whatelse.methods.distill._student import student
from whatelse.nets._training import Loss, Schedule, fit
from whatelse.task import Task

VERSION, KNOB, TAKES, LEAVES = 1, "width", {"dense", "sparse"}, "dense"


@dataclass(frozen=True)
class Config:
    """Settings of distillation."""

    width: float = common.width()
    student: str = common.student()
    temperature: float = common.temperature()
    mix: float = common.mix()
    epochs: int = common.epochs(30)
    rate: float = common.rate()
    batch: int = common.batch()


def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a trained student.

    Args:
        model: The teacher: convolutions and linear layers in ``nn.Sequential``.
        config: Size of the student and how it is taught.
        task: Its train split, with the labels as they were recorded.
        rng: Source of the student's weights and of the order of the examples.

    Raises:
        RecipeError: The teacher is not a chain of layers whose widths can be changed.
    """
    taught_one = student(model, config.width, config.student, task, rng)
    with torch.no_grad():
        taught = model(task.train.inputs)
    schedule = Schedule(config.epochs, config.rate, config.batch)
    fit(taught_one, task.train.inputs, _loss(taught, task.train.observed, config), schedule, rng)
    return taught_one


def _loss(taught: Tensor, labels: Tensor, config: Config) -> Loss:
    t = config.temperature
    soft = functional.log_softmax(taught / t, 1)

    def loss(logits: Tensor, batch: Tensor) -> Tensor:
        told = functional.log_softmax(logits / t, 1)
        match = functional.kl_div(told, soft[batch], reduction="batchmean", log_target=True) * t**2
        return config.mix * match + (1 - config.mix) * functional.cross_entropy(logits, labels[batch])

    return loss
