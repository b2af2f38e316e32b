"""A module, or a function that returns one, in Python of the user's own, which is run."""

from __future__ import annotations

import os

from torch import nn

from whatelse import named
from whatelse.artifacts import checkpoint
from whatelse.errors import ArtifactError
from whatelse.models import fit
from whatelse.tasks.task import Task

FORM = "file.py:function or package.module:name (with @run.pth behind it for a checkpoint)"


def takes(text: str) -> bool:
    """Return whether a text names something in Python.

    Args:
        text: What a user types.
    """
    elsewhere = "://" in text or text.startswith("hf:")
    return ":" in text and not elsewhere and not os.path.isdir(text)


def open_model(text: str, task: Task, weights: str) -> nn.Module:
    """Return the module, frozen and in evaluation mode, after passing it examples of the task.

    Args:
        text: ``file.py:name`` or ``package.module:name``: a module, or a function without arguments that returns one.
        task: Gives the shape of the inputs and the number of classes.
        weights: A state dict for it, ``file`` or ``file:name``; empty for its own.

    Raises:
        ArtifactError: There is no such module, or its weights do not fit or would run code.
        NotMeasurableError: It has tensors without numbers.
        TaskError: The model and the task do not fit each other.
    """
    model = _made(text)
    if weights:
        checkpoint.fill(model, weights)
    return fit.at_rest(model, task, text)


def _made(text: str) -> nn.Module:
    try:
        with named.found(text, text, ArtifactError) as found:
            made = found() if callable(found) and not isinstance(found, nn.Module) else found
    except ArtifactError:
        raise
    except Exception as error:  # whatever the user's own code raises
        raise ArtifactError(f"{text}: {type(error).__name__}: {error}") from error
    if not isinstance(made, nn.Module):
        raise ArtifactError(
            f"{text}: got {type(made).__name__}; a torch.nn.Module, or a function returning one, is needed"
        )
    return made
