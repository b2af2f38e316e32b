"""A model in OpenVINO's own format: operations in a file of XML, weights in one beside it."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from whatelse.errors import ArtifactError, MissingExtraError
from whatelse.models import foreign
from whatelse.models.openvino import OpenVinoScores
from whatelse.tasks.task import Task

FORM = "a model of OpenVINO (.xml with .bin beside it)"


def takes(text: str) -> bool:
    """Return whether a text names a file of XML.

    Args:
        text: What a user types.
    """
    return text.endswith(".xml") and ":" not in text and not os.path.isdir(text)


def open_model(text: str, task: Task, weights: str) -> OpenVinoScores:
    """Return what answers by a model of OpenVINO.

    Args:
        text: The file of XML.
        task: Gives the shape of the inputs and the number of classes.
        weights: Refused.

    Raises:
        ArtifactError: It is damaged or incomplete; or weights are given too.
        MissingExtraError: OpenVINO is not installed.
        TaskError: It takes other inputs, or has no output of scores.
    """
    foreign.without_weights(text, weights)
    path = Path(text)
    foreign.check(path)
    beside = path.with_suffix(".bin")
    if not beside.is_file():
        raise ArtifactError(f"{text}: its weights are in {beside.name}, which is not there; put it beside {path.name}")
    foreign.check(beside)
    if importlib.util.find_spec("openvino") is None:
        raise MissingExtraError(f"{text} needs OpenVINO: pip install 'whatelse[openvino]'")
    return OpenVinoScores(path, task)
