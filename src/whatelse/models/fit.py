"""Whether a module fits a task, tried on a few of its test examples."""

from __future__ import annotations

from math import prod

from torch import nn

from whatelse.errors import TaskError
from whatelse.models.asked import asked
from whatelse.modules.lent import check_filled, rest
from whatelse.tasks.language import GRADED, Language
from whatelse.tasks.task import Task

# Test examples that a model is asked, to see whether it fits, and values that they may have together.
_LOOKED, _VALUES = 64, 400_000


def at_rest(model: nn.Module, task: Task, name: str) -> nn.Module:
    """Return a module frozen and in evaluation mode, after passing it a few examples of the task.

    Args:
        model: Any module; it is changed in place.
        task: The task.
        name: How messages call the model.

    Raises:
        NotMeasurableError: It has tensors without numbers: lazy layers, or the meta device.
        TaskError: They do not fit each other.
    """
    check_filled(model, name)
    rest(model)
    check_fit(model, task, name)
    return model


def check_fit(model: nn.Module, task: Task, name: str) -> None:
    """Refuse a model that cannot take a task's inputs or has another number of classes.

    Args:
        model: Any module.
        task: The task.
        name: How the message calls the model.

    Raises:
        TaskError: They do not fit; both sides are printed.
    """
    check_form(task, name)
    try:
        few = max(2, min(_LOOKED, _VALUES // max(1, prod(task.shape))))
        asked(model, name, task.test.inputs[:few], task.classes)
    except TaskError as error:
        raise TaskError(f"task {task.name} and model do not fit: {error}") from error


def check_reads(task: Task, name: str) -> Language:
    """Return what a language model is asked; refuse data that none reads.

    Args:
        task: The data.
        name: How messages call the model.

    Raises:
        TaskError: They are others, or answers that another tool graded.
    """
    if task.language is None:
        raise TaskError(
            f"task {task.name} and model do not fit: {name} reads texts, the data are {task.modality}; documents "
            "(text), items (question, choices, answer) or pairs of sentences are needed"
        )
    if task.language.form == GRADED:
        raise TaskError(
            f"task {task.name} and model do not fit: {name} reads texts, the data are answers that Inspect graded, "
            "which logs of it have alone (.eval)"
        )
    return task.language


def check_form(task: Task, name: str) -> None:
    """Refuse words of sentences for a model that is handed tensors: it would take their places for what they say.

    Args:
        task: The task.
        name: How the message calls the model.

    Raises:
        TaskError: The task's examples are words, or what language models are asked.
    """
    if task.language is not None:
        raise TaskError(
            f"task {task.name} and model do not fit: {name} takes tensors, the data are {task.modality} for language "
            "models: a Hugging Face folder of a causal language model, or scores that were recorded"
        )
    if task.sentences:
        raise TaskError(
            f"task {task.name} and model do not fit: {name} takes tensors, the data are words of sentences; what reads "
            "these is a Hugging Face folder or name that labels tokens, or scores that were recorded, a row a word"
        )
