"""Scores that some tool wrote of the examples of the task: a model of which nothing else is known."""

from __future__ import annotations

import os

from whatelse.errors import ArtifactError
from whatelse.models.recorded import SUFFIXES, RecordedScores, of_file
from whatelse.tasks.task import Task

FORM = f"a file of recorded scores ({', '.join(SUFFIXES)})"

OWN = "holds scores that were recorded"


def takes(text: str) -> bool:
    """Return whether a text names a file of scores.

    Args:
        text: What a user types.
    """
    return text.endswith(SUFFIXES) and ":" not in text and not os.path.isdir(text)


def open_model(text: str, task: Task, weights: str) -> RecordedScores:
    """Return the scores of a file, checked against the examples that they are of.

    Args:
        text: The file, as `whatelse.models.recorded` describes it.
        task: The examples.
        weights: Refused.

    Raises:
        ArtifactError: Weights are given.
        TaskError: The file cannot be read, or holds no scores of these examples.
    """
    if weights:
        raise ArtifactError(f"weights {weights}: {text} holds scores and takes no weights; leave one of them out")
    return of_file(text, task)
