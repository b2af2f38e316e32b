"""Train the model's architecture on its own softened predictions at a high temperature, and deploy it without.

From one draw of random weights a teacher is trained on hard labels at temperature ``T``, on
``CE(y, softmax(z_teacher / T))``; from the same weights the student is trained on the teacher's predictions at that
temperature, on ``-sum_k softmax(z_teacher / T)_k * log softmax(z_student / T)_k``. It is deployed at temperature 1:
its logits are then about ``T`` times too large, the softmax saturates, and the gradient of the
cross-entropy by the input underflows to zero.

This is not a defense: what it hides from attacks that follow the cross-entropy, attacks on the margin between
the logits find (Carlini & Wagner 2017). It is here so that this masking can be seen. Nor does it make anything
smaller. Weights that are exactly zero stay zero.

Where we depart from the paper: Adam with a one-cycle schedule in place of SGD; the common start is the draw itself,
without an epoch of common training. The factor ``T^2`` of Hinton's loss is absent as in the paper; for Adam the size of
a loss does not matter. But a step of Adam is no longer than the rate, and logits ``T`` times as large lie further away:
at high temperatures give more epochs, else the accuracy falls for want of training.

Source:
    Papernot et al., Distillation as a defense to adversarial perturbations against deep neural networks, IEEE S&P 2016,
    arXiv:1511.04508; broken by Carlini & Wagner, Towards evaluating the robustness of neural networks, IEEE S&P 2017,
    arXiv:1608.04644.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.methods import _common as common
from whatelse.methods.train._fresh import drawn_anew
from whatelse.settings import param
from whatelse.tasks.task import Task
from whatelse.training.loop import Loss, Schedule, answers, fit

VERSION, KNOB, TAKES, LEAVES = 1, "temperature", {"dense", "sparse"}, ""


@dataclass(frozen=True)
class Config:
    """Settings of defensive distillation."""

    temperature: float = param(20.0, "Divides the logits in both trainings, and is gone after.", low=1.0, high=100.0)
    epochs: int = param(30, "Passes over train, for the teacher and for the student.", low=0, high=10_000)
    rate: float = common.rate()
    batch: int = common.batch()


def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a model of the same architecture whose logits are about as many times too large as the temperature says.

    Args:
        model: Gives the architecture and, by its exact zeros, the mask.
        config: The temperature, how long and how hard the two trainings are.
        task: Its train split, with the labels as they were recorded.
        rng: Source of the common start and of the order of the examples.

    Raises:
        RecipeError: The model has no trainable parameters, as after ``quantize.uniform``.
    """
    inputs, schedule = task.train.inputs, Schedule(config.epochs, config.rate, config.batch)
    teacher = drawn_anew(model, "distill.defensive", rng)
    taught_one = deepcopy(teacher)
    hard = functional.one_hot(task.train.observed, task.classes).to(next(model.parameters()).dtype)
    fit(teacher, inputs, _loss(hard, config.temperature), schedule, rng)
    logits = answers(teacher.eval(), inputs)
    fit(taught_one, inputs, _loss(torch.softmax(logits / config.temperature, 1), config.temperature), schedule, rng)
    return taught_one


def effort(config: Config, task: Task) -> int:
    """Return how many passes the training takes, of one example forward or back through inputs or through weights.

    Args:
        config: How long the two trainings are.
        task: Gives the number of train examples.
    """
    return (2 * 3 * config.epochs + 1) * len(task.train)


def _loss(targets: Tensor, temperature: float) -> Loss:
    """Return the cross-entropy at a temperature with the class probabilities ``(N, classes)`` of all examples."""

    def loss(logits: Tensor, batch: Tensor) -> Tensor:
        return functional.cross_entropy(logits / temperature, targets[batch])

    return loss
