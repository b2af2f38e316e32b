"""An ONNX file, of whatever tool: float, quantized, with external data, for a fixed batch."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from whatelse.errors import MissingExtraError
from whatelse.models import foreign
from whatelse.models.onnx import OnnxScores
from whatelse.tasks.task import Task

FORM = "an ONNX file (.onnx)"


def takes(text: str) -> bool:
    """Return whether a text names an ONNX file.

    Args:
        text: What a user types.
    """
    return text.endswith(".onnx") and ":" not in text and not os.path.isdir(text)


def open_model(text: str, task: Task, weights: str) -> OnnxScores:
    """Return what answers by a file.

    Args:
        text: The file; external data lie beside it.
        task: Gives the shape of the inputs and the number of classes.
        weights: Refused.

    Raises:
        ArtifactError: It is damaged, incomplete, or onnxruntime cannot run it; or weights are given too.
        MissingExtraError: onnx or onnxruntime is not installed.
        TaskError: It takes other inputs, or has no output of scores.
    """
    foreign.without_weights(text, weights)
    foreign.check(Path(text))
    for name in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(f"{text} needs {name}: pip install 'whatelse[onnx]'")
    return OnnxScores(Path(text), task)
