"""A log of Inspect (``.eval``): how what a model wrote was graded, sample by sample; no pass at all.

Held against the data sample by sample and epoch by epoch: a log of another task, of other items, of another prompt or
of other settings is refused, and it is said which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from whatelse.errors import ArtifactError, TaskError
from whatelse.models.recorded import RecordedScores
from whatelse.tasks import evals
from whatelse.tasks.evals import Graded, Mark
from whatelse.tasks.language import GRADED
from whatelse.tasks.task import Task

FORM = "a log of Inspect (.eval)"
OWN = "holds answers that were graded"
_APART = {
    "task": "another task",
    "item": "other items: input, choices or target",
    "prompt": "another template: what stands before the first answer",
    "manner": "other solvers or settings, such as a temperature",
}


def takes(text: str) -> bool:
    """Return whether a text names a log of Inspect.

    Args:
        text: What a user types.
    """
    return evals.looks(Path(text))


def open_model(text: str, task: Task, weights: str) -> RecordedScores:
    """Return how a log was graded on the examples of a task: all for the right answer, or none.

    Args:
        text: The log.
        task: What another log was asked, as ``--data`` of that log opens it.
        weights: Refused.

    Raises:
        ArtifactError: Weights are given.
        TaskError: It cannot be read, or is of other questions.
        MissingExtraError: It is packed by zstandard, which is not installed.
    """
    if weights:
        raise ArtifactError(f"weights {weights}: {text} holds answers and takes no weights; leave one of them out")
    if task.language is None or task.language.form != GRADED:
        raise TaskError(
            f"task {task.name} and model do not fit: {text} is a log of Inspect, the data are {task.modality}; say "
            "--data with a log of the same questions, or --from-logs"
        )
    wanted = {name: [_mark(one.mark) for one in task.language.of(split.inputs)] for name, split in task.splits.items()}
    scorer = next(mark.scorer for marks in wanted.values() for mark in marks)
    held = evals.read(Path(text), scorer)
    known = {one.mark.place: one for one in held}
    found = {name: _grades(text, marks, known, task.name) for name, marks in wanted.items() if marks}
    graded = f"{text} holds {len(held)} samples of Inspect, graded right or wrong by {scorer!r}: it has no confidence"
    return RecordedScores(found, (graded,))


def _mark(text: str) -> Mark:
    found = evals.marked(text)
    assert found is not None  # as the loader of such data writes it
    return found


def _grades(text: str, marks: Sequence[Mark], known: Mapping[tuple[str, int], Graded], name: str) -> Tensor:
    """Return what was graded right and what wrong as class scores, ``(N, 2)``.

    Raises:
        TaskError: A sample is missing, or is another one.
    """
    found = torch.full((len(marks), 2), -torch.inf)
    for row, mark in enumerate(marks):
        mine = known.get(mark.place)
        told = f"sample {mark.sample} of epoch {mark.epoch}"
        if mine is None:
            raise TaskError(f"{text}: it has no {told}, which {name} has: it is a log of other items, or of fewer")
        if apart := mine.mark.apart(mark):
            raise TaskError(
                f"{text}: {told} is not that of {name}: a log of {_APART[apart]}; run Inspect on both models alike"
            )
        found[row, int(mine.right)] = 0.0
    return found
