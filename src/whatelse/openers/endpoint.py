"""A model that answers over HTTP."""

from __future__ import annotations

from whatelse.models import foreign
from whatelse.models.endpoint import Endpoint
from whatelse.tasks.task import Task

FORM = "an endpoint (http:// or https://, of KServe v2 where it holds /v2/models/)"


def takes(text: str) -> bool:
    """Return whether a text is an address.

    Args:
        text: What a user types.
    """
    return text.startswith(("http://", "https://"))


def open_model(text: str, task: Task, weights: str) -> Endpoint:
    """Return what answers at an address, after asking it the same twice.

    Args:
        text: The address.
        task: Gives a few examples and the number of classes.
        weights: Refused.

    Raises:
        ArtifactError: It is no address, or weights are given too.
        SettingError: What the environment says of endpoints is of no use.
        TaskError: It does not answer, not alike, or not with scores of so many classes.
    """
    foreign.without_weights(text, weights)
    return Endpoint(text, task)
