"""Controls that are trained by hand: no library is the peer of distillation."""

from __future__ import annotations

import torch
from torch import nn

from whatelse.modules.narrow import narrow
from whatelse.tasks.task import Task
from whatelse.training.initialize import initialize
from whatelse.training.loop import Schedule, fit, hard_labels


def small_from_scratch(model: nn.Module, task: Task, seed: int, schedule: Schedule) -> nn.Module:
    """Return a network of half the width trained on the labels alone.

    Args:
        model: Gives the architecture.
        task: Its train split.
        seed: Decides the weights and the order of the examples.
        schedule: How long and how hard.
    """
    rng = torch.Generator().manual_seed(1000 * seed)
    small = narrow(model, 0.5, task.train.inputs[:1])
    initialize(small, rng)
    fit(small, task.train.inputs, hard_labels(task.train.observed), schedule, rng)
    return small


def further(model: nn.Module, task: Task, seed: int, schedule: Schedule) -> nn.Module:
    """Train a model further in place and return it.

    Args:
        model: Changed; exact zeros of its weights stay.
        task: Its train split.
        seed: Decides the order of the examples.
        schedule: How long and how hard.
    """
    rng = torch.Generator().manual_seed(1000 * seed)
    fit(model, task.train.inputs, hard_labels(task.train.observed), schedule, rng)
    return model
