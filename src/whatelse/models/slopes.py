"""Gradients of the log-odds margin, and whether they are true: held against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from whatelse.models.activations import entering
from whatelse.models.asked import Asked, floating
from whatelse.models.surrogate import unrounded
from whatelse.modules.lent import quietly, tried

_ROUNDED = 0.1  # of outputs, relative to the largest: what the few digits of bfloat16 leave, also where autocast does
_STEP = 1e-2  # in units of the input, for scores of single precision
_OWN = 0.9  # cosine of gradients in the model's own precision with those in double: few digits cost little of it


def log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """Return ``log p_y - log (1 - p_y)`` of every example, ``(N,)``, stable at any scale of the logits.

    Args:
        logits: ``(N, classes)``.
        labels: The class ``y`` of every example, ``(N,)``.
    """
    mine = logits.gather(1, labels[:, None]).squeeze(1)
    rest = logits.scatter(1, labels[:, None], float("-inf"))
    return mine - rest.logsumexp(1)


def gradient_agreement(
    model: nn.Module, inputs: Tensor, rng: torch.Generator, step: float = 1e-5, *, enter: str = ""
) -> float:
    """Return the correlation of input gradients with central finite differences, in [-1, 1].

    Four random directions an example are compared for the log-odds margin of the predicted class: in double
    precision, with a step so short that few kinks lie in it; or with a thousand times the step in the model's own
    precision where it does not compute the same in that. A gradient that is missing counts as -1, as does one that in
    the model's own precision points elsewhere than in double.

    Args:
        model: Any classifier with frozen parameters.
        inputs: ``(N, ...)``.
        rng: Source of the directions.
        step: Length of the step on either side, in units of the input.
        enter: Name of the embedding whose gradients count, where inputs are token ids.
    """
    own = _slope(model, inputs, enter)
    if own is None:
        return -1.0
    wide = precise(model, inputs)
    if wide is None:
        return _agreement(model, inputs, own, 1000 * step, rng, enter)
    if isinstance(wide, Asked) and wide.coarse(inputs.double()):  # as under autocast, which no copy leaves
        step *= 1000
    found = _slope(wide, inputs.double(), enter)
    if found is None or _cosine(own.slope, found.slope) < _OWN:
        return -1.0
    return _agreement(wide, inputs.double(), found, step, rng, enter)


def precise(model: nn.Module, inputs: Tensor) -> nn.Module | None:
    """Return a copy that computes in double precision what the model does in its own; None where there is none such.

    Where activations are rounded, the last digits decide the step on which one comes to lie: both are compared without.

    Args:
        model: Any classifier that answers with class scores.
        inputs: Some that it is tried on, ``(N, ...)``.
    """

    def ask(asked: nn.Module) -> Tensor:
        # Where nothing can be converted it is asked in double at once: the constants of a frozen script refuse that.
        found: Tensor = unrounded(asked)(inputs.to(floating(asked) or torch.float64))
        return found

    return tried(model, nn.Module.double, ask, _ROUNDED)


class _Slope(NamedTuple):
    """Where gradients begin, the class whose margin is differentiated, and the gradient."""

    start: Tensor
    labels: Tensor
    slope: Tensor


def _asking(model: nn.Module, inputs: Tensor, enter: str) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """Return a function from where gradients begin to class scores, and what stands there."""
    if not enter:
        return model, inputs
    with torch.no_grad(), entering(model, enter) as seen_there:
        model(inputs)

    def ask(vectors: Tensor) -> Tensor:
        with entering(model, enter, vectors):
            scores: Tensor = model(inputs)
            return scores

    return ask, seen_there[0]


def _slope(model: nn.Module, inputs: Tensor, enter: str) -> _Slope | None:
    """Return the gradient of the log-odds margin of the predicted class; None where there is none."""
    try:
        with quietly():  # torch warns of kernels without a gradient, which is what is looked for here
            ask, start = _asking(model, inputs, enter)
            start = start.detach().clone().requires_grad_()
            logits = ask(start)
            labels = logits.argmax(1)
            (slope,) = torch.autograd.grad(log_odds(logits, labels).sum(), start, allow_unused=True)
    except RuntimeError:  # nothing on the way requires a gradient, or a kernel says that it has none
        return None
    return None if slope is None else _Slope(start.detach(), labels, slope)


@torch.no_grad()
def _agreement(model: nn.Module, inputs: Tensor, found: _Slope, step: float, rng: torch.Generator, enter: str) -> float:
    ask, _ = _asking(model, inputs, enter)
    return _differences(ask, found, step, rng)


@torch.no_grad()
def stated_agreement(
    ask: Callable[[Tensor], Tensor], inputs: Tensor, labels: Tensor, slope: Tensor, rng: torch.Generator
) -> float:
    """Return the correlation of gradients that a model states with finite differences of its scores, in [-1, 1].

    Args:
        ask: From inputs to class scores.
        inputs: ``(N, ...)``.
        labels: The class whose log-odds margin is differentiated, ``(N,)``.
        slope: The gradients, ``(N, ...)``.
        rng: Source of the directions.
    """
    return _differences(ask, _Slope(inputs, labels, slope), _STEP, rng)


def _differences(ask: Callable[[Tensor], Tensor], found: _Slope, step: float, rng: torch.Generator) -> float:
    told, seen = [], []
    for _ in range(4):
        way = torch.randn(found.start.shape, generator=rng, dtype=torch.float64).to(found.start.dtype)
        ahead, behind = (log_odds(ask(found.start + s * step * way), found.labels) for s in (1, -1))
        told.append((found.slope * way).flatten(1).sum(1))
        seen.append((ahead - behind) / (2 * step))
    a, b = torch.cat(told), torch.cat(seen)
    if not bool(b.any()):
        return 1.0 if not bool(a.any()) else -1.0
    return _cosine(a, b)


def _cosine(one: Tensor, two: Tensor) -> float:
    one, two = one.double().flatten(), two.double().flatten()
    return 1.0 if torch.equal(one, two) else float(torch.nn.functional.cosine_similarity(one, two, dim=0))
