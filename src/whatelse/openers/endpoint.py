"""A model that answers over HTTP: with class scores, or, of texts, as an OpenAI-compatible API has completions."""

from __future__ import annotations

from whatelse.errors import ArtifactError
from whatelse.models import completions, foreign
from whatelse.models.completions import Completions
from whatelse.models.endpoint import Endpoint
from whatelse.tasks.task import Task

FORM = "an endpoint (http:// or https://; of KServe v2 where it holds /v2/models/, of OpenAI's completions for texts)"


def takes(text: str) -> bool:
    """Return whether a text is an address.

    Args:
        text: What a user types.
    """
    return text.startswith(("http://", "https://"))


def open_model(text: str, task: Task, weights: str) -> Endpoint | Completions:
    """Return what answers at an address, after asking it the same twice.

    Args:
        text: The address; of completions with the name of the model behind a #, where several are served.
        task: Gives a few examples and the number of classes, or what language models are asked.
        weights: Refused.

    Raises:
        ArtifactError: It is no address, or weights are given too.
        SettingError: What the environment says of endpoints is of no use.
        TaskError: It does not answer, not alike, or not with scores of so many classes.
    """
    foreign.without_weights(text, weights)
    if task.language is not None:
        return completions.opened(text, task)
    if completions.PARTED in text:
        address, _, model = text.partition(completions.PARTED)
        raise ArtifactError(
            f"{address}: --model {model}: models behind an address are told apart for language models alone; the data "
            f"are {task.modality}"
        )
    return Endpoint(text, task)
