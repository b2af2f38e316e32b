"""What attacks that learn from shadow models are given: class scores and sensitivities, each record with its answer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whatelse.behaviours.membership import _records
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence

_VERSION = 2  # of the kept sensitivity; raised when the same records would give another
PASSES = 11  # forward, an example: what `Evidence.sensitivity` spends


@dataclass(frozen=True, eq=False)
class Shadows:
    """What the shadow models say of the records, and which of them each had.

    Attributes:
        logits: Class scores, ``(K, P, classes)``.
        sensitivity: How far probabilities move with tiny noise, ``(K, P, classes)``.
        inside: Whether the record was a member, ``(K, P)`` bool.
    """

    logits: Tensor
    sensitivity: Tensor
    inside: Tensor


def shadows(evidence: Evidence) -> Shadows:
    """Return what the shadow models say, checked: there is something to learn from.

    Args:
        evidence: Has the shadow models.

    Raises:
        NotMeasurableError: There are none, they do not fit the records, their sensitivity was not kept, or one had
            all records or none.
    """
    found = _records.references(evidence)
    if found.sensitivity is None:
        raise NotMeasurableError("needs shadow models whose sensitivity to tiny noise was kept; token ids have none")
    lone = int((found.inside.all(1) | ~found.inside.any(1)).sum())
    if lone:
        raise NotMeasurableError(f"needs shadow models with some records inside and some outside; {lone} have not")
    return Shadows(found.logits, found.sensitivity, found.inside)


def sensitivity(evidence: Evidence, count: int) -> Tensor:
    """Return how far the model's probabilities move with tiny noise, members first, ``(P, classes)``.

    Args:
        evidence: The model under attack; made once for all attacks that ask.
        count: How many records: all of train, the rest from the start of test.
    """

    def make() -> dict[str, Tensor]:
        rest = count - len(evidence.split("train"))
        # One split after the other, as with the shadow models: the same record gets the same noise.
        asked = evidence.split("train").inputs, evidence.split("test").inputs[:rest]
        return {"sensitivity": torch.cat([evidence.sensitivity(inputs) for inputs in asked])}

    return evidence.once(f"sensitivity {_VERSION} of {count} records", make)["sensitivity"]


def spent(train: int, test: int) -> int:
    """Return the forward passes that `sensitivity` costs at most.

    Args:
        train: Examples of train.
        test: Examples of test.
    """
    return PASSES * (train + min(train, test))
