"""A log of lm-eval (``samples_*.jsonl``): what a model answered to the questions that stand in it; no pass at all.

Held against the data line by line, by the hashes of document, prompt and target that both have: a log of other items,
of another template or another number of examples before the question is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from whatelse import limits
from whatelse.errors import ArtifactError, NotMeasurableError, TaskError, in_short
from whatelse.models.recorded import RecordedScores
from whatelse.tasks import samples
from whatelse.tasks.language import CHOICES, DOCUMENTS, Passage
from whatelse.tasks.samples import Sample
from whatelse.tasks.task import Task

FORM = "a log of lm-eval (samples_*.jsonl)"
OWN = "holds answers that were recorded"
_ENDINGS = (".jsonl", ".ndjson")
_GROWTH, _LINE = 12, 2**24  # bytes in memory for one of text; of a first line that is looked at


@dataclass(frozen=True, eq=False)
class RecordedLikelihoods:
    """Log-likelihoods of the documents of some splits.

    Attributes:
        held: By split, ``(N,)`` float64.
        told: How they were read.
    """

    held: Mapping[str, Tensor]
    told: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """SHA-256 of them."""
        digest = hashlib.sha256(b"recorded likelihoods")
        for split, found in sorted(self.held.items()):
            digest.update(split.encode() + found.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def loglikelihoods(self, split: str) -> Tensor:
        """Return the log-likelihood of every document of a split in nats, ``(N,)``.

        Args:
            split: Its name.

        Raises:
            NotMeasurableError: There are none.
        """
        if split not in self.held:
            raise NotMeasurableError(f"needs log-likelihoods of {split}; recorded are those of {', '.join(self.held)}")
        return self.held[split]


def takes(text: str) -> bool:
    """Return whether a text names a log of lm-eval.

    Args:
        text: What a user types.
    """
    if not text.lower().endswith(_ENDINGS) or not os.path.isfile(text):
        return False
    try:
        with open(text, encoding="utf-8-sig") as file:
            row = json.loads(file.readline(_LINE))
        return isinstance(row, dict) and samples.looks(row)
    except (OSError, ValueError, RecursionError):  # whoever opens it says what is wrong with it
        return False


def open_model(text: str, task: Task, weights: str) -> RecordedScores | RecordedLikelihoods:
    """Return what a log answers to the examples of a task.

    Args:
        text: The log.
        task: What another log was asked, as ``--data`` of that log opens it.
        weights: Refused.

    Raises:
        ArtifactError: Weights are given.
        TaskError: It cannot be read, or is of other questions.
    """
    if weights:
        raise ArtifactError(f"weights {weights}: {text} holds answers and takes no weights; leave one of them out")
    if task.language is None or task.language.form not in {CHOICES, DOCUMENTS}:
        raise TaskError(
            f"task {task.name} and model do not fit: {text} is a log of lm-eval, the data are {task.modality}; say "
            "--data with a log of the same questions, or --from-logs"
        )
    held = _read(text)
    known = {one.passage.mark: one for one in held}
    found: dict[str, list[Sample]] = {}
    for name, split in task.splits.items():
        passages = task.language.of(split.inputs)
        _check(text, passages, known, task)
        found |= {name: [known[passage.mark] for passage in passages]} if passages else {}
    told = (f"{text} answered {len(held)} examples of lm-eval, which were read as they stand there",)
    if task.language.form == DOCUMENTS:
        return RecordedLikelihoods(
            {n: torch.tensor([one.scores[0] for one in some]).double() for n, some in found.items()}, told
        )
    return RecordedScores({name: _matrix(some, task.classes) for name, some in found.items()}, told)


def _matrix(some: Sequence[Sample], classes: int) -> Tensor:
    """Return scores, ``(N, classes)``, minus infinity where an item has fewer choices."""
    found = torch.full((len(some), classes), -torch.inf)
    for row, one in enumerate(some):
        found[row, : len(one.scores)] = torch.tensor(one.scores)
    return found


def _read(text: str) -> list[Sample]:
    """Return all samples of a log.

    Raises:
        TaskError: It cannot be read; its line is named.
    """
    try:
        size = limits.regular(Path(text))
        limits.check(_GROWTH * size, size, text, TaskError)
        with open(text, encoding="utf-8-sig") as file:
            return [
                samples.read(_row(line, text, at), f"{text}: line {at}")
                for at, line in enumerate(file, 1)
                if line.strip()
            ]
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"{text}: {getattr(error, 'strerror', None) or in_short(error)}") from error


def _row(line: str, text: str, at: int) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TaskError(
            f"{text}: line {at} is no JSON; a line that lm-eval wrote with --log_samples is needed"
        ) from error
    if not isinstance(found, dict):
        raise TaskError(f"{text}: line {at} is no JSON object; a line that lm-eval wrote with --log_samples is needed")
    return found


def _check(text: str, passages: Sequence[Passage], known: Mapping[str, Sample], task: Task) -> None:
    """Refuse a log of other questions; it is said which hash differs.

    Raises:
        TaskError: It is one.
    """
    mark = next((one.mark for one in passages if one.mark not in known), None)
    if mark is None:
        return
    if not mark:
        raise TaskError(
            f"task {task.name} and model do not fit: {text} knows examples by the hashes of lm-eval, which the data "
            "have not; say --data with a log of the same questions, or --from-logs"
        )
    wanted = dict(zip(samples.HASHES, mark.split(" "), strict=True))
    near = next((one for one in known.values() if one.hashes["doc_hash"] == wanted["doc_hash"]), None)
    if near is None:
        gone = f"it has no example with doc_hash {wanted['doc_hash'][:12]}, which {task.name} has"
        raise TaskError(f"{text}: {gone}: it is a log of other items, or of fewer")
    apart = [name for name in samples.HASHES if near.hashes[name] != wanted[name]]
    what = {"prompt_hash": "another template", "target_hash": "other targets"}[apart[0]]
    raise TaskError(
        f"{text}: {', '.join(apart)} of doc_id {near.number} differ from those of {task.name}: a log of {what}; run "
        "lm-eval on both models alike"
    )
