"""Log-likelihoods of the choices of every item, and how long these are."""

from __future__ import annotations

import torch
from torch import Tensor

from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.tasks.language import Language


def asked(evidence: Evidence, *forms: str) -> Language:
    """Return what is asked, if it is of such a form.

    Args:
        evidence: Of the model.
        forms: Those that will do.

    Raises:
        NotMeasurableError: It is of another.
    """
    language = evidence.task.language
    if language is None or language.form not in forms:
        raise NotMeasurableError(
            f"needs {' or '.join(forms)}; task {evidence.task.name} is of {evidence.task.modality}"
        )
    return language


def scores(evidence: Evidence) -> Tensor:
    """Return the log-likelihood of every choice of every item of test, ``(N, choices)`` float64.

    Minus infinity where an item has fewer.

    Args:
        evidence: Of the model.

    Raises:
        NotMeasurableError: Examples are no items with choices.
    """
    asked(evidence, "choices")
    return evidence.logits("test").double()


def lengths(evidence: Evidence, by: str) -> Tensor:
    """Return how long every choice is, ``(N, choices)`` float64; 1 where an item has fewer.

    Args:
        evidence: Of the model.
        by: ``characters``, or ``bytes``.
    """
    language = asked(evidence, "choices")
    found = torch.ones(len(evidence.split("test")), evidence.task.classes, dtype=torch.float64)
    for row, passage in enumerate(language.of(evidence.split("test").inputs)):
        sizes = passage.sizes
        if by == "bytes":
            said = zip(passage.continuations, sizes, strict=True)
            sizes = tuple(len(text[len(text) - size :].encode()) for text, size in said)
        found[row, : len(sizes)] = torch.tensor(sizes, dtype=torch.float64)
    return found
