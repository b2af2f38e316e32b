"""Train a smaller student to match the softened predictions of the model.

The student is the model's own architecture with every hidden width multiplied by ``width`` and random weights, or
what the recipe ``student`` makes of the model. It is trained on
``mix * T^2 * KL(p_teacher^T || p_student^T) + (1 - mix) * CE(y, p_student)``, with ``p^T = softmax(z / T)``;
the factor ``T^2`` keeps the two gradients of one size. A language model teaches every token of its windows.

Source:
    Hinton, Vinyals, Dean, Distilling the knowledge in a neural network, 2015, arXiv:1503.02531.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whatelse.methods import _common as common
from whatelse.methods.distill._soft import hinton
from whatelse.methods.distill._student import student
from whatelse.tasks.task import Task
from whatelse.training.loop import Schedule, fit, teaching

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
        model: The teacher.
        config: Size of the student and how it is taught.
        task: Its train split, with the labels as they were recorded.
        rng: Source of the student's weights and of the order of the examples.

    Raises:
        RecipeError: The widths of the teacher cannot be changed, or its student cannot be trained.
    """
    small = student(model, config.width, config.student, task, rng)
    inputs, labels = task.train.inputs, task.train.observed
    taught = teaching(model, inputs)

    def loss(logits: Tensor, batch: Tensor) -> Tensor:
        return hinton(logits, taught(batch), labels[batch], config.temperature, config.mix)

    fit(small, inputs, loss, Schedule(config.epochs, config.rate, config.batch), rng)
    return small
