"""Train the model's architecture anew from random weights on hard labels.

It makes the baseline itself; after a method that made a smaller architecture it is the control *scratch*
(Liu et al.); with another seed the *twin*; with no epochs the untrained *random* control; with weight decay
the regularization control. Weights that are exactly zero stay zero: after pruning this is the control of
Frankle & Carbin in which the mask is kept and the weights are drawn anew.

Source:
    Liu et al., Rethinking the value of network pruning, ICLR 2019, arXiv:1810.05270; Frankle & Carbin, The
    lottery ticket hypothesis, ICLR 2019, arXiv:1803.03635.
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

VERSION, KNOB, TAKES, LEAVES = 1, "", {"dense", "sparse"}, ""


@dataclass(frozen=True)
class Config:
    """Settings of training from scratch."""

    epochs: int = param(30, "Passes over train; 0 leaves the model untrained.", low=0, high=10_000)
    rate: float = common.rate()
    batch: int = common.batch()
    decay: float = param(0.0, "Decoupled weight decay.", low=0.0, high=10.0)


def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a model of the same architecture, trained from random weights.

    Args:
        model: Gives the architecture and, by its exact zeros, the mask.
        config: How long and how hard.
        task: Its train split, with the labels as they were recorded.
        rng: Source of the weights and of the order of the examples.

    Raises:
        RecipeError: The model has no trainable parameters, as after ``quantize.uniform``.
    """
    fresh = drawn_anew(model, "train.scratch", rng)
    schedule = Schedule(config.epochs, config.rate, config.batch, config.decay)
    fit(fresh, task.train.inputs, hard_labels(task.train.observed), schedule, rng)
    return fresh
