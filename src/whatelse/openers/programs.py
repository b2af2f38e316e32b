"""Programs that torch saved, TorchScript and ``.pt2``, and weights without a model: told what they are, never run.

Opening one would run what somebody else wrote, and so would asking it; see the decision record 0031. Whoever made the
file opens it in a function of his own.
"""

from __future__ import annotations

import os
import zipfile
from typing import NoReturn

from whatelse import limits
from whatelse.errors import ArtifactError
from whatelse.models import llama2c
from whatelse.tasks.task import Task

FORM = "a TorchScript or .pt2 program by a function of your own that loads it"
_SUFFIXES = (".pt", ".pth", ".pt2", ".ts", ".bin", ".ckpt", ".torchscript", ".jit")


def takes(text: str) -> bool:
    """Return whether a text names a file of torch's.

    Args:
        text: What a user types.
    """
    return text.lower().endswith(_SUFFIXES) and os.path.isfile(text) and llama2c.sizes(text) is None


def open_model(text: str, task: Task, weights: str) -> NoReturn:
    """Refuse a program, or weights, and say how they are opened.

    Args:
        text: The file.
        task: Not used.
        weights: Not used.

    Raises:
        ArtifactError: Always.
    """
    del task, weights
    kind, load = _kind(text)
    if not load:
        raise ArtifactError(
            f"{text}: {kind}; name the function that makes the model that they are of: file.py:function@{text}"
        )
    raise ArtifactError(
        f"{text}: {kind}, which is code, and no code in a file is run; where you trust it, name net.py:model, of a "
        f"file net.py of your own that says: import torch; model = {load.format(text)}"
    )


def _kind(text: str) -> tuple[str, str]:
    """Return what a file holds, and how it is loaded where that is a program.

    Raises:
        ArtifactError: It is no regular file.
    """
    try:
        limits.regular(text)
    except OSError as error:
        raise ArtifactError(f"{text}: {error.strerror or error}") from error
    if not zipfile.is_zipfile(text):
        return "weights without a model, or no file of torch's", ""
    with zipfile.ZipFile(text) as file:
        inside = [name.partition("/")[2] for name in file.namelist()]
    # As `torch.export.save` lays it out today, and as it did up to 2.7.
    if "serialized_exported_program.json" in file.namelist() or any(name.startswith("models/") for name in inside):
        return "an exported program (.pt2)", "torch.export.load({!r}).module()"
    if "constants.pkl" in inside or any(name.startswith("code/") for name in inside):
        return "a TorchScript program", "torch.jit.load({!r})"
    return "weights without a model", ""
