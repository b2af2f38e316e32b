"""Rebuild inputs from their gradients by optimization: kept, so that one attack serves every score and the pictures.

Inputs of a batch share one mean gradient and are rebuilt together; batches stand side by side, each a search of its
own. ``cosine``: Adam inside the bounds on one minus the cosine between the shared gradient and that of the guess, plus
total variation. ``dlg``: L-BFGS without bounds on the squared distance of the two, cut to the bounds at the end.

Source:
    Geiping et al., Inverting gradients: how easy is it to break privacy in federated learning?, NeurIPS 2020,
    arXiv:2003.14053. Departures: the cosine is taken tensor by tensor and averaged, since over all tensors at once
    the largest layer hides the others (on digits, 23 against 17 dB after 300 steps); the gradient's sign is taken only
    if asked for; the rate falls along a cosine.
    Zhu, Liu & Han, Deep leakage from gradients, NeurIPS 2019, arXiv:1906.08935. Departures: the distance is relative to
    the size of the shared gradient, whose scale else decides the first steps; steps that do not lead down are halved,
    where the source takes them and starts anew when the search runs away; labels are known unless asked for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from whatelse.behaviours.leakage import _descent, _examples, _gradients, _scores, _sent, _states
from whatelse.behaviours.leakage._examples import Outer
from whatelse.behaviours.leakage._gradients import Shared
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence

ATTACKS, LABELS = ("cosine", "dlg"), ("known", "joint")
# The attack on every model starts at the same points: what differs is then due to the model.
_START = 2020
# Of what is kept; raised when the same budget would give other reconstructions.
_VERSION = 4
_TINY = 1e-300
_TOGETHER, _ENTRIES = 64, 4_000_000  # At most so many inputs, and entries of gradients, at once.


@dataclass(frozen=True)
class Budget:
    """How hard the attack tries, on what, and what it is given.

    Attributes:
        images: How many test examples, from the first; those that do not fill a batch are left out.
        iterations: Steps, of one question each.
        rate: Largest step of Adam, as a share of the range of the inputs; it falls to zero along half a cosine.
        smooth: Weight of the total variation in units of the range, of the attack ``cosine``.
        attack: One of `ATTACKS`.
        batch: Inputs that share one gradient.
        labels: ``known``, or ``joint``: searched for with the inputs.
        restarts: Starts; the one that ends nearest to the shared gradient is taken.
        signed: Take only the sign of the slope, of the attack ``cosine``.
        gradient: What is shared of the gradient, of `_sent.KINDS`.
        keep: Share of entries that top-k shares.
        state: Of the model's training, of `_states.STATES`.
        steps: Of early training.
    """

    images: int
    iterations: int
    rate: float = 0.1
    smooth: float = 0.0
    attack: str = "cosine"
    batch: int = 1
    labels: str = "known"
    restarts: int = 1
    signed: bool = False
    gradient: str = "whole"
    keep: float = 0.1
    state: str = "trained"
    steps: int = 20


def reconstruct(evidence: Evidence, budget: Budget) -> dict[str, Tensor]:
    """Return images, what was made of them, and how large their gradients were; made once, kept with the evidence.

    ``images`` and ``reconstructions`` are ``(M, ...)``, matched within each batch, ``norms`` of the gradients
    ``(batches,)``, ``named`` says whether a label was found ``(M,)``: one where labels are known.

    Args:
        evidence: Of the model whose gradients are shared.
        budget: How hard to try.

    Raises:
        NotMeasurableError: The model does not open or differentiate, inputs leave their bounds, or test is smaller
            than one batch.
    """
    return evidence.once(f"inversion {_VERSION} {budget}", lambda: _reconstruct(evidence, budget))


def effort(budget: Budget, size: int) -> int:
    """Return the passes of one run: at most four a step and two more a start, two for the shared gradient.

    Args:
        budget: How hard to try.
        size: Examples in test.
    """
    images = min(budget.images, size) // budget.batch * budget.batch
    early = 2 * budget.steps * _states.BATCH if budget.state == "early" else 0
    return images * (2 + budget.restarts * (4 * budget.iterations + 8)) + early


def _reconstruct(evidence: Evidence, budget: Budget) -> dict[str, Tensor]:
    live = _states.at(evidence, budget.state, budget.steps)
    model = _gradients.shared(evidence, live, _states.louder(evidence, live, budget.state, budget.steps))
    test, size = evidence.split("test"), budget.batch
    many = min(budget.images, len(test)) // size * size
    if not many:
        raise NotMeasurableError(f"needs a batch of {size} images; test has {len(test)}, images={budget.images}")
    images, labels = test.inputs[:many].double(), test.targets[:many]
    low, high = evidence.bounds()
    if not (math.isfinite(low) and math.isfinite(high)) or bool((images < low).any() | (images > high).any()):
        raise NotMeasurableError(f"needs inputs in finite bounds; the task has {low} to {high}")
    starts = _starts(images, evidence.task.classes, budget, (low, high), evidence.draws(_START))
    weights = sum(t.numel() for t in model.tensors.values())
    together = max(1, min(_TOGETHER // size, _ENTRIES // weights)) * size
    found = []
    for rows in torch.split(torch.arange(many), together):
        search = _Search(model, images[rows], labels[rows], budget, (low, high), evidence)
        found.append(search.run([(x[rows], y[rows]) for x, y in starts]))
    rebuilt, named, norms = (torch.cat(parts) for parts in zip(*found, strict=True))
    taken = _scores.match(images, rebuilt, size)
    named = (named[taken] == labels).float()
    return {"images": images.float(), "reconstructions": rebuilt[taken].float(), "norms": norms, "named": named}


def _starts(
    images: Tensor, classes: int, budget: Budget, bounds: tuple[float, float], rng: torch.Generator
) -> list[tuple[Tensor, Tensor]]:
    """Return guesses of all inputs and, for labels that are searched for, of their class scores, a pair a restart."""
    low, high = bounds
    found = []
    for _ in range(budget.restarts):
        x = low + (high - low) * torch.rand(images.shape, generator=rng, dtype=images.dtype)
        joint = budget.labels == "joint"
        y = torch.randn(len(images), classes if joint else 0, generator=rng, dtype=images.dtype)
        found.append((x, y))
    return found


class _Search:
    """The search for some batches at once; a point is all inputs of a batch, then their class scores if not known."""

    def __init__(
        self,
        model: Shared,
        images: Tensor,
        labels: Tensor,
        budget: Budget,
        bounds: tuple[float, float],
        evidence: Evidence,
    ) -> None:
        self.model, self.labels, self.budget, self.bounds = model.unrounded(), labels, budget, bounds
        self.passes = evidence.passes
        self.shape = images.shape
        self.entries = budget.batch * math.prod(images.shape[1:])
        whole = _examples.gradients(model, images, labels, batch=budget.batch)
        self.norms = sum(g.square().sum(1) for g in whole.values()) ** 0.5
        self.sent, self.known = _sent.send(whole, model.masks, budget.gradient, budget.keep)
        self.squares = {n: torch.linalg.vecdot(g, g) for n, g in self.sent.items()}
        self.passes.forward += len(images)
        self.passes.backward += len(images)

    def run(self, starts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
        """Return reconstructions ``(M, ...)``, their labels ``(M,)`` and norms of the gradients ``(batches,)``."""
        ends = [self._descend(self._point(*start)) for start in starts]
        best = ends[0]
        if len(ends) > 1:
            nearest = torch.stack([self.ask(end)[0] for end in ends]).argmin(0)
            best = torch.stack(ends)[nearest, torch.arange(len(best))]
        x, y = self._parts(best)
        named = y.argmax(1) if self.budget.labels == "joint" else self.labels
        return x.clamp(*self.bounds), named, self.norms

    def ask(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """Return how far the gradients at some points are from the shared ones ``(B,)``, and the slope ``(B, d)``."""
        point = point.detach().requires_grad_()
        x, y = self._parts(point)
        joint = self.budget.labels == "joint"
        asked = (self.model, x, y.softmax(1) if joint else self.labels)
        if self.budget.attack == "cosine" and self.budget.gradient == "whole":
            far = self._angle(_examples.factored(*asked, batch=self.budget.batch), x)
        else:
            found = _examples.gradients(*asked, batch=self.budget.batch)
            found = _sent.likened(found, self.known, self.model.masks, self.budget.gradient)
            far = self._angle(found, x) if self.budget.attack == "cosine" else self._distance(found)
        (slope,) = torch.autograd.grad(far.sum(), point)
        self.passes.forward += len(x)
        self.passes.backward += 3 * len(x)  # The gradient itself, and the two passes back through it.
        return far.detach(), slope

    def _descend(self, point: Tensor) -> Tensor:
        if self.budget.attack == "dlg":
            return _descent.lbfgs(self.ask, point, self.budget.iterations)
        low, high = self.bounds
        pixel = torch.arange(point.shape[1]) < self.entries
        rate = self.budget.rate * torch.where(pixel, high - low, 1.0).to(point.dtype)
        inside = (torch.where(pixel, low, -math.inf), torch.where(pixel, high, math.inf))
        return _descent.adam(self.ask, point, self.budget.iterations, rate, inside, signed=self.budget.signed)

    def _angle(self, found: Mapping[str, Tensor | Outer], x: Tensor) -> Tensor:
        apart = [1 - _cosine(g, self.sent[n], self.squares[n]) for n, g in found.items()]
        rough = variation(x).view(-1, self.budget.batch).mean(1) / (self.bounds[1] - self.bounds[0])
        return torch.stack(apart).mean(0) + self.budget.smooth * rough

    def _distance(self, found: dict[str, Tensor]) -> Tensor:
        apart = torch.stack([(g - self.sent[n]).square().sum(1) for n, g in found.items()]).sum(0)
        return apart / (torch.stack(list(self.squares.values())).sum(0) + _TINY)

    def _point(self, x: Tensor, y: Tensor) -> Tensor:
        rows = len(x) // self.budget.batch
        return torch.cat([x.reshape(rows, -1), y.reshape(rows, -1)], 1)

    def _parts(self, point: Tensor) -> tuple[Tensor, Tensor]:
        y = point[:, self.entries :]
        return point[:, : self.entries].reshape(self.shape), y.reshape(len(self.labels), -1)


def _cosine(found: Tensor | Outer, shared: Tensor, square: Tensor) -> Tensor:
    """Return the cosine of two gradients of each batch, 0 where one of them is zero, ``(B,)``."""
    if isinstance(found, Outer):
        return found.dot(shared) / (found.square() * square + _TINY).sqrt()
    cosine: Tensor = torch.linalg.vecdot(found, shared) / (torch.linalg.vecdot(found, found) * square + _TINY).sqrt()
    return cosine


def variation(images: Tensor) -> Tensor:
    """Return the mean absolute difference of neighboring pixels, ``(M,)``; zero where inputs are not images.

    Args:
        images: ``(M, ...)``.
    """
    if images.dim() < 4:
        return torch.zeros(len(images), dtype=images.dtype)
    down, across = images.diff(dim=-2), images.diff(dim=-1)
    return down.abs().flatten(1).mean(1) + across.abs().flatten(1).mean(1)
