"""A checkpoint of llama2.c (.bin) with its tokenizer beside it, rebuilt as the Llama of transformers.

Source:
    Karpathy, llama2.c, 2023, github.com/karpathy/llama2.c.
"""

from __future__ import annotations

from whatelse.errors import ArtifactError, TaskError
from whatelse.models import llama2c
from whatelse.models.causal import Causal
from whatelse.modules.lent import rest
from whatelse.tasks.task import Task

FORM = "a checkpoint of llama2.c (.bin)"
OWN = "has a tokenizer of its own"


def takes(text: str) -> bool:
    """Return whether a text names a file whose size is the one that its header asks for.

    Args:
        text: What a user types.
    """
    return text.lower().endswith(".bin") and llama2c.sizes(text) is not None


def open_model(text: str, task: Task, weights: str) -> Causal:
    """Return the language model of a file, frozen and in evaluation mode.

    Args:
        text: The file.
        task: What it is asked: documents, items with choices, or pairs.
        weights: Refused.

    Raises:
        ArtifactError: It cannot be read, or has no tokenizer beside it.
        MissingExtraError: transformers is not installed.
        TaskError: The data are nothing that a language model reads.
    """
    if weights:
        raise ArtifactError(f"weights {weights}: {text} has its own weights; leave one of them out")
    if task.language is None:
        raise TaskError(
            f"task {task.name} and model do not fit: {text} reads texts, the data are {task.modality}; documents "
            "(text), items (question, choices, answer) or pairs of sentences are needed"
        )
    known = llama2c.sizes(text)
    if known is None:
        raise ArtifactError(f"{text}: it is no checkpoint of llama2.c: its size is not the one its header asks for")
    model, tokenizer = llama2c.opened(text, known)
    rest(model)
    return Causal(text, model, tokenizer)
