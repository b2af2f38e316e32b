"""The one pass that all behaviours share: scores, gradients and activations, seen together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from whatelse.evidence import gradients, scores
from whatelse.evidence.loudness import louder
from whatelse.models.activations import keeping
from whatelse.models.slopes import log_odds
from whatelse.models.subject import Subject

if TYPE_CHECKING:
    from whatelse.evidence.cache import Evidence


def look(evidence: Evidence, x: Tensor, explained: Tensor | None, *, gradient: bool) -> dict[str, Tensor]:
    """Return what is seen of a batch: ``logits``, of a module its layers too, and ``gradient`` where it is asked for.

    Args:
        evidence: Of the model; counts the passes.
        x: ``(N, ...)``.
        explained: The class whose margin is differentiated, ``(N,)``; None for the predicted one.
        gradient: Whether gradients are taken.
    """
    if not isinstance(evidence.subject, Subject):
        found = scores.answered(evidence, x)
        if not gradient:
            return found
        return {**found, "gradient": gradients.slope(evidence, x, _explained(found["logits"], explained))}
    told = x != 0 if evidence.task.vocabulary else None
    times = louder(evidence) if gradient else 1.0  # before the hooks are set: it may take a pass of its own
    apart = gradient and evidence.slopes is not evidence.model
    with keeping(evidence.inside, told) as seen:
        if not gradient or apart:
            with torch.no_grad():
                logits = evidence.model(x)
        else:
            with gradients.leaf(evidence, x) as (start, leaf):
                logits = evidence.model(start)
                labels = _explained(logits, explained)
                (slope,) = torch.autograd.grad(log_odds(logits / times, labels).sum(), leaf())
            evidence.passes.backward += len(x)
    evidence.passes.forward += len(x)
    if apart:
        slope = gradients.slope(evidence, x, _explained(logits, explained))
    found = {"logits": logits.detach(), **{name: t.detach()[: len(x)] for name, t in seen.items()}}
    return {**found, "gradient": slope} if gradient else found


def _explained(logits: Tensor, explained: Tensor | None) -> Tensor:
    return logits.argmax(1) if explained is None else explained
