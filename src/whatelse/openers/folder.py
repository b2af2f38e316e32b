"""A folder that this toolkit wrote; it may be anyone's, and is held to limits of memory and time."""

from __future__ import annotations

import os

from torch import nn

from whatelse.artifacts import folder
from whatelse.errors import ArtifactError
from whatelse.models import fit
from whatelse.models.causal import Causal
from whatelse.modules import foretell
from whatelse.modules.decoder import Decoder
from whatelse.tasks.task import Task

FORM = "a folder written by whatelse compress"


def takes(text: str) -> bool:
    """Return whether a text is a folder.

    Args:
        text: What a user types.
    """
    # False also of a name that no file may have. One that only Hugging Face's configuration is in is another opener's.
    return os.path.isdir(text) and (
        os.path.isfile(os.path.join(text, folder.ARCHITECTURE)) or not os.path.isfile(os.path.join(text, "config.json"))
    )


def open_model(text: str, task: Task, weights: str) -> nn.Module | Causal:
    """Return the model of a folder, frozen and in evaluation mode, after passing it examples of the task.

    Args:
        text: The folder.
        task: Gives the shape of the inputs and the number of classes.
        weights: Refused.

    Raises:
        ArtifactError: The folder holds no model, asks for more than it may, or weights are given too.
        NotMeasurableError: It has tensors without numbers.
        TaskError: The model and the task do not fit each other.
    """
    if weights:
        raise ArtifactError(f"weights {weights}: the folder {text} has its own weights; leave one of them out")
    model = folder.load(text)
    with foretell.foretold(text, folder.held(text), ArtifactError):
        if isinstance(model, Decoder):
            return Causal.of(text, model)
        return fit.at_rest(model, task, text)
