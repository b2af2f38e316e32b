"""Train the model's architecture anew from random weights, every parameter pulled toward zero at every step.

At step ``t`` with the learning rate ``rate_t`` of the one-cycle schedule, ``w <- (1 - rate_t * decay) * w`` and then
the step of Adam on the loss alone (decoupled decay): a weight on which the loss does not depend shrinks by
``prod_t (1 - rate_t * decay)``. All parameters decay, biases and norms included, as Krogh & Hertz let every weight
of their networks. It is ``train.scratch(decay=...)`` with the decay as its strength: the regularization control for
the claim that a method helps because it regularizes. Weights that are exactly zero stay zero.

Where we depart from Krogh & Hertz: with plain gradient descent a penalty ``decay / 2 * |w|^2`` in the loss is the same
thing; with Adam it is not, and the decoupled form is the one that shrinks all weights alike (Loshchilov & Hutter).

Source:
    Krogh & Hertz, A simple weight decay can improve generalization, NIPS 1991 (volume 4, 1992); Loshchilov & Hutter,
    Decoupled weight decay regularization, ICLR 2019, arXiv:1711.05101.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from whatelse.methods import _common as common
from whatelse.methods.train._fresh import drawn_anew
from whatelse.settings import param
from whatelse.tasks.task import Task
from whatelse.training.loop import Schedule, fit, hard_labels

VERSION, KNOB, TAKES, LEAVES = 1, "decay", {"dense", "sparse"}, ""


@dataclass(frozen=True)
class Config:
    """Settings of training with weight decay."""

    decay: float = param(0.1, "Decoupled weight decay, per unit of learning rate.", low=0.0, high=10.0)
    epochs: int = param(30, "Passes over train; 0 leaves the model untrained.", low=0, high=10_000)
    rate: float = common.rate()
    batch: int = common.batch()


def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a model of the same architecture, trained from random weights with decay.

    Args:
        model: Gives the architecture and, by its exact zeros, the mask.
        config: How strong the decay is, how long and how hard the training.
        task: Its train split, with the labels as they were recorded.
        rng: Source of the weights and of the order of the examples.

    Raises:
        RecipeError: The model has no trainable parameters, as after ``quantize.uniform``.
    """
    fresh = drawn_anew(model, "train.weight_decay", rng)
    schedule = Schedule(config.epochs, config.rate, config.batch, config.decay)
    fit(fresh, task.train.inputs, hard_labels(task.train.observed), schedule, rng)
    return fresh
