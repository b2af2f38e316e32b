"""What evidence is given beside the model, and what it counts: a shelf to keep on, shadow models, passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

# How the names of observations begin that do not look at test: they serve whichever part of test is asked about.
APART = "apart from test: "


@dataclass
class Passes:
    """Examples that went forward and backward; with frozen parameters a backward costs about one forward."""

    forward: int = 0
    backward: int = 0


@dataclass(frozen=True, eq=False)
class References:
    """What shadow models, compressed by the same recipe, say of the records whose membership is in question.

    Attributes:
        logits: Of every shadow on every record, ``(K, P, classes)``.
        inside: Whether the record was among the shadow's members, ``(K, P)`` bool.
        sensitivity: Of every shadow on every record, as `Evidence.sensitivity` gives it, ``(K, P, classes)``; None
            where it was not kept.
    """

    logits: Tensor
    inside: Tensor
    sensitivity: Tensor | None = None


class Keep(Protocol):
    """Where observations of a baseline are kept for the next process that asks."""

    def load(self, name: str) -> dict[str, Tensor] | None:
        """Return the tensors kept under a name, or None."""

    def save(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors under a name."""
