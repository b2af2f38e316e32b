"""Gradients of the log-odds margin, observed: where they begin, and as loud as the baseline's."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from whatelse.evidence.loudness import louder
from whatelse.models.activations import entering
from whatelse.models.model import Gradients

if TYPE_CHECKING:
    from whatelse.evidence.cache import Evidence


def slope(evidence: Evidence, x: Tensor, labels: Tensor) -> Tensor:
    """Return the gradient at a batch, ``(N, ...)``; of texts, of their embedding.

    Args:
        evidence: Of the model; counts the passes.
        x: ``(N, ...)``.
        labels: The class whose margin is differentiated, ``(N,)``.

    Raises:
        NotMeasurableError: The model has none.
    """
    known = evidence.subject.source
    if not isinstance(known, Gradients):
        raise evidence.subject.lacking("differentiates")
    found = known.gradient(x, labels, louder(evidence))
    evidence.passes.forward += len(x)
    evidence.passes.backward += len(x)
    return found


@torch.no_grad()
def embedded(evidence: Evidence, x: Tensor) -> dict[str, Tensor]:
    """Return the embedding of the tokens of a batch, ``(N, tokens, width)``.

    Args:
        evidence: Of the model; counts the pass.
        x: Token ids, ``(N, tokens)``.
    """
    evidence.passes.forward += len(x)
    with entering(evidence.model, evidence.opened.entrance) as seen:
        evidence.model(x)
    return {"embedded": seen[0].detach()}


@contextmanager
def leaf(evidence: Evidence, x: Tensor) -> Generator[tuple[Tensor, Callable[[], Tensor]]]:
    """Let gradients begin at the inputs, or at the embedding of texts.

    Args:
        evidence: Of a module.
        x: ``(N, ...)``.

    Yields:
        What the model is asked, and a function that returns, after the pass, where gradients begin.
    """
    if evidence.task.vocabulary:
        with entering(evidence.slopes, evidence.opened.entrance) as seen:
            yield x, lambda: seen[0]
    else:
        start = x.detach().requires_grad_()
        yield start, lambda: start
