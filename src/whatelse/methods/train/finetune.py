"""Train the model further on hard labels, masks of pruned weights kept.

As a step of a recipe it repairs what compression broke; on the baseline alone it is the placebo.

Source:
    Han et al., Learning both weights and connections, NeurIPS 2015, arXiv:1506.02626.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from whatelse.errors import RecipeError
from whatelse.methods import _common as common
from whatelse.modules.walk import copied
from whatelse.settings import param
from whatelse.tasks.task import Task
from whatelse.training.loop import Schedule, fit, hard_labels

VERSION, KNOB, TAKES, LEAVES = 1, "", {"dense", "sparse"}, ""


@dataclass(frozen=True)
class Config:
    """Settings of further training."""

    epochs: int = common.epochs(8)
    rate: float = common.rate()
    batch: int = common.batch()
    decay: float = param(0.0, "Decoupled weight decay.", low=0.0, high=10.0)


def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a copy trained further; weights that are exactly zero stay zero.

    Args:
        model: Any module with trainable parameters.
        config: How long and how hard.
        task: Its train split, with the labels as they were recorded.
        rng: Source of the order of the examples.

    Raises:
        RecipeError: The model has no trainable parameters, as after ``quantize.uniform``.
    """
    tuned = copied(model)
    if not list(tuned.parameters()):
        raise RecipeError("train.finetune: the model has no trainable parameters; train before quantize.uniform")
    schedule = Schedule(config.epochs, config.rate, config.batch, config.decay)
    fit(tuned, task.train.inputs, hard_labels(task.train.observed), schedule, rng)
    return tuned
