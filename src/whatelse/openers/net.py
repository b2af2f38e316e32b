"""A small network of this toolkit, untrained."""

from __future__ import annotations

import os

import torch
from torch import nn

from whatelse import items, recipe
from whatelse.artifacts import checkpoint
from whatelse.errors import ArtifactError
from whatelse.models import fit
from whatelse.modules import foretell
from whatelse.tasks.task import Task

FORM = "a small network such as 'cnn(width=8)'"


def takes(text: str) -> bool:
    """Return whether a text is a call.

    Args:
        text: What a user types.
    """
    return text.endswith(")") and ":" not in text and not os.path.isdir(text)


def open_model(text: str, task: Task, weights: str) -> nn.Module:
    """Return the network, frozen and in evaluation mode, after passing it examples of the task.

    Args:
        text: Its name and settings.
        task: Gives the shape of the inputs and the number of classes.
        weights: A state dict for it, ``file`` or ``file:name``; empty for its first weights.

    Raises:
        ArtifactError: It would take more than it may, or its weights do not fit or would run code.
        TaskError: The network and the task do not fit each other.
    """
    with foretell.foretold(text, 0, ArtifactError):
        name, given = recipe.read_call(text, "MODEL")
        net = items.net(name)
        # Its first weights; a recipe's train.scratch draws its own.
        model = net.build(net.configure(given), task.shape, task.classes, torch.Generator().manual_seed(0))
    if weights:
        checkpoint.fill(model, weights)
    return fit.at_rest(model, task, text)
