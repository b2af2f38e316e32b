"""Class scores, observed: of a model that answers, or as they were recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from whatelse.errors import NotMeasurableError
from whatelse.models.model import Recorded, Scores
from whatelse.tasks.task import Split

if TYPE_CHECKING:
    from whatelse.evidence.cache import Evidence


@torch.no_grad()
def answered(evidence: Evidence, x: Tensor) -> dict[str, Tensor]:
    """Return the class scores of a batch.

    Args:
        evidence: Of the model; counts the pass.
        x: ``(N, ...)``.

    Raises:
        NotMeasurableError: The model answers no new inputs.
    """
    known = evidence.subject.source
    if not isinstance(known, Scores):
        raise evidence.subject.lacking("predicts")
    evidence.passes.forward += len(x)
    return {"logits": known.scores(x)}


def recorded(evidence: Evidence, examples: Split, split: str) -> dict[str, Tensor]:
    """Return the class scores that were recorded of a split.

    Args:
        evidence: Of the model.
        examples: Of the split.
        split: How it is called in the data.

    Raises:
        NotMeasurableError: None were, or of other examples.
    """
    name, known = evidence.subject.name, evidence.subject.source
    if not isinstance(known, Recorded):
        raise evidence.subject.lacking("predicts")
    if split not in known.splits:
        raise NotMeasurableError(
            f"needs scores of {split}; {name} only has recorded scores of {', '.join(known.splits)}"
        )
    found = known.recorded(split)
    if len(found) != len(examples):
        raise NotMeasurableError(
            f"needs scores of {len(examples)} examples of {split}; {name} has recorded scores of {len(found)}"
        )
    return {"logits": found}


def broken(found: Tensor) -> str:
    """Return how many examples have scores that are no numbers, in words; empty where none has.

    Minus infinity is the score of a class that is ruled out.

    Args:
        found: ``(N, classes)``.
    """
    count = int((found.isnan() | found.isposinf()).any(1).sum())
    return f"{count} of {len(found)} examples" if count else ""
