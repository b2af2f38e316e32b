"""Classifiers of the words of sentences, each asked once by its own tokenizer; the answers are recorded.

A tokenizer may cut a word into pieces. The scores of a word are those of its first piece, as in the examples of
transformers, its pipeline with ``aggregation_strategy="first"`` and evaluations by seqeval. Nothing is guessed: a
sentence that is longer than the model can take, and a word without a piece, are refused.

Source:
    Devlin et al., BERT, NAACL 2019, arXiv:1810.04805, section 5.3: the first piece stands for its word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from whatelse.errors import ArtifactError, TaskError, in_short, shown
from whatelse.models.recorded import RecordedScores
from whatelse.modules.lent import quietly
from whatelse.tasks.task import Task

_BATCH = 32  # sentences that are read at once
Scored = Callable[[Mapping[str, Tensor]], Tensor]


def read(text: str, scored: Scored, tokenizer: Any, longest: int, task: Task) -> RecordedScores:  # noqa: ANN401 - of transformers
    """Return what a model answers to every word of the data.

    Args:
        text: How messages call the model.
        scored: From what its tokenizer makes of sentences to the scores of every piece, ``(N, pieces, classes)``.
        tokenizer: Of transformers; one that knows which piece is of which word.
        longest: Most pieces of a sentence that the model takes.
        task: The sentences, and which words of them are asked.

    Raises:
        ArtifactError: It cannot read them.
        TaskError: A sentence is too long for it, or it does not see a word, or it has another number of classes.
    """
    if not tokenizer.is_fast:
        kind = type(tokenizer).__name__
        raise ArtifactError(f"{text}: its {kind} does not say which piece is of which word; a fast one is needed")
    lines = [list(words) for words in task.sentences]
    try:
        with quietly():
            made = tokenizer(lines, is_split_into_words=True)
    except Exception as error:  # whatever a tokenizer raises
        raise ArtifactError(f"{text}: its tokenizer cannot read lists of words: {in_short(error)}") from error
    lengths = [len(ids) for ids in made["input_ids"]]
    _check_lengths(text, lengths, longest, task)
    firsts = [_firsts(made.word_ids(i)) for i in range(len(lines))]
    _check_seen(text, firsts, task)
    tokenizer.padding_side = "right"  # a piece then has the place that it has alone
    found: list[Tensor] = [torch.empty(0)] * len(lines)
    order = sorted(range(len(lines)), key=lengths.__getitem__)  # little padding
    for start in range(0, len(order), _BATCH):
        some = order[start : start + _BATCH]
        try:
            with torch.no_grad(), quietly():
                held = {name: [values[i] for i in some] for name, values in made.items()}
                scores = scored(tokenizer.pad(held, return_tensors="pt")).float()
        except Exception as error:  # a tokenizer without padding, ids that the model has no vector for
            raise ArtifactError(f"{text}: it cannot read the sentences of the data: {in_short(error)}") from error
        for row, i in enumerate(some):
            found[i] = scores[row, list(firsts[i].values())]
    return _recorded(text, found, lengths, task)


def _firsts(owners: Sequence[int | None]) -> dict[int, int]:
    """Return the first piece of every word, by rising word."""
    found: dict[int, int] = {}
    for piece, word in enumerate(owners):
        if word is not None:
            found.setdefault(word, piece)
    return dict(sorted(found.items()))


def _check_lengths(text: str, lengths: Sequence[int], longest: int, task: Task) -> None:
    over = [i for i, length in enumerate(lengths) if length > longest]
    if over:
        most = max(over, key=lengths.__getitem__)
        raise TaskError(
            f"task {task.name} and model do not fit: {len(over)} of {len(lengths)} sentences are longer than the "
            f"{longest} tokens that {text} takes, the longest has {lengths[most]}, "
            f"{shown(' '.join(task.sentences[most]), 60)}; what is cut off has no answer: part them, or leave them out"
        )


def _check_seen(text: str, firsts: Sequence[Mapping[int, int]], task: Task) -> None:
    unseen = [
        (i, word) for i, words in enumerate(task.sentences) for word in range(len(words)) if word not in firsts[i]
    ]
    if unseen:
        i, word = unseen[0]
        raise TaskError(
            f"task {task.name} and model do not fit: the tokenizer of {text} makes nothing of {len(unseen)} words, "
            f"such as {ascii(task.sentences[i][word])} in {shown(' '.join(task.sentences[i]), 60)}; leave them out"
        )


def _recorded(text: str, found: Sequence[Tensor], lengths: Sequence[int], task: Task) -> RecordedScores:
    """Return the scores of the words of every split, in its order.

    Raises:
        TaskError: They are of another number of classes.
    """
    classes = found[0].shape[1]
    if classes != task.classes:
        raise TaskError(
            f"task {task.name} and model do not fit: {text} has {classes} labels, the data have {task.classes}; name "
            f"all of them in the order of its outputs (--classes {text})"
        )
    words = torch.tensor([len(one) for one in found])
    first, whole = words.cumsum(0) - words, torch.cat(list(found))
    held = {}
    for name, split in task.splits.items():
        if len(split):
            sentence, place = split.inputs.long().unbind(1)
            held[name] = whole[first[sentence] + place]
    pieces = sum(lengths) / int(words.sum())
    told = f"{text} read {len(found)} sentences once, by its own tokenizer, {pieces:.2f} tokens a word"
    return RecordedScores(held, (f"{told}; a word has the scores of its first token",))
