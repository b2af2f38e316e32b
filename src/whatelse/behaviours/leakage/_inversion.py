"""Rebuild inputs from their gradients by optimization: kept, so that a report can draw what was rebuilt.

Source:
    Geiping et al., Inverting gradients: how easy is it to break privacy in federated learning?, NeurIPS 2020,
    arXiv:2003.14053.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from whatelse.behaviours.leakage import _gradients
from whatelse.evidence import Evidence

# The attack on every model starts at the same points: what differs is then due to the model.
_START = 2020
_BETAS, _EPSILON = (0.9, 0.999), 1e-8


@dataclass(frozen=True)
class Budget:
    """How hard the attack tries, and on what.

    Attributes:
        images: How many test examples, from the first; each alone in its batch.
        iterations: Steps of Adam.
        rate: Largest step, as a share of the range of the inputs.
        smooth: Weight of the total variation, in units of the range.
    """

    images: int
    iterations: int
    rate: float
    smooth: float


def reconstruct(evidence: Evidence, budget: Budget) -> dict[str, Tensor]:
    """Return ``images``, their ``reconstructions`` (both ``(M, ...)``) and the ``norms`` of their gradients ``(M,)``.

    Made once and kept with the evidence.

    Args:
        evidence: Of the model whose gradients are shared.
        budget: How hard to try.

    Raises:
        NotMeasurableError: The model does not open or differentiate.
    """
    said = f"inversion images={budget.images} iterations={budget.iterations} rate={budget.rate} smooth={budget.smooth}"
    return evidence.once(said, lambda: _reconstruct(evidence, budget))


def _reconstruct(evidence: Evidence, budget: Budget) -> dict[str, Tensor]:
    model = _gradients.shared(evidence)
    test = evidence.split("test")
    images, labels = test.inputs[: budget.images].double(), test.targets[: budget.images]
    low, high = evidence.task.bounds
    per_image = torch.func.vmap(model.gradient())
    shared = {n: g.flatten(1) for n, g in per_image(images[:, None], labels[:, None]).items()}
    norms = torch.stack([g.square().sum(1) for g in shared.values()]).sum(0).sqrt()

    def distance(guess: Tensor) -> Tensor:
        found = per_image(guess[:, None], labels[:, None])
        match = torch.stack([(g.flatten(1) * shared[n]).sum(1) for n, g in found.items()]).sum(0)
        size = torch.stack([g.square().flatten(1).sum(1) for g in found.values()]).sum(0).sqrt()
        cosine = match / (size * norms).clamp(min=torch.finfo(size.dtype).tiny)
        return (1 - cosine + budget.smooth * _variation(guess) / (high - low)).sum()

    start = torch.rand(images.shape, generator=torch.Generator().manual_seed(_START), dtype=images.dtype)
    guess = low + (high - low) * start
    first, second = torch.zeros_like(guess), torch.zeros_like(guess)
    for step in range(1, budget.iterations + 1):
        slope = torch.func.grad(distance)(guess).nan_to_num()
        slope = slope.sign()
        first = _BETAS[0] * first + (1 - _BETAS[0]) * slope
        second = _BETAS[1] * second + (1 - _BETAS[1]) * slope.square()
        move = (first / (1 - _BETAS[0] ** step)) / ((second / (1 - _BETAS[1] ** step)).sqrt() + _EPSILON)
        rate = budget.rate * (high - low) * _decayed((step - 1) / budget.iterations)
        guess = (guess - rate * move).clamp(low, high)
    return {"images": images.float(), "reconstructions": guess.float(), "norms": norms}


def _decayed(done: float) -> float:
    """Return the share of the rate that is left: a tenth at 3/8, 5/8 and 7/8 of the steps, as in the source."""
    return 0.1 ** sum(done >= mark for mark in (3 / 8, 5 / 8, 7 / 8))


def _variation(images: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbouring pixels, ``(M,)``; zero where inputs are not images."""
    if images.dim() < 4:
        return torch.zeros(len(images), dtype=images.dtype)
    down, across = images.diff(dim=-2), images.diff(dim=-1)
    return down.abs().flatten(1).mean(1) + across.abs().flatten(1).mean(1)
