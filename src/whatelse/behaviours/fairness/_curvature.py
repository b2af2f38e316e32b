"""First and second derivatives of a loss with respect to the parameters, along a direction, example by example."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.evidence.loudness import matched
from whatelse.modules.lent import copied

Vector = tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Loss:
    """The cross-entropy of a copy of the model on some examples, whose parameters can be differentiated.

    Attributes:
        evidence: Counts the passes and gives the size of a batch.
        model: The copy.
        parameters: Its floating-point parameters.
        inputs: ``(M, ...)``.
        targets: ``(M,)``.
    """

    evidence: Evidence
    model: nn.Module
    parameters: Vector
    inputs: Tensor
    targets: Tensor

    def gradient(self) -> Vector:
        """Return the gradient of the mean loss."""
        return self._summed(lambda x, y: torch.autograd.grad(self._mean(x, y), self.parameters, materialize_grads=True))

    def times_hessian(self, direction: Vector) -> Vector:
        """Return the Hessian of the mean loss times a direction.

        Args:
            direction: One tensor for each parameter.
        """

        def pull(x: Tensor, y: Tensor) -> Vector:
            slope = self._slope(self._mean(x, y), direction)
            return _grad(slope, self.parameters)

        return self._summed(pull, backward=2)

    def slopes(self, direction: Vector) -> Tensor:
        """Return each example's derivative along a direction, ``(M,)``: its gradient times the direction.

        Args:
            direction: One tensor for each parameter.
        """

        def pull(x: Tensor, y: Tensor) -> Vector:
            weights = torch.ones(len(y), requires_grad=True)
            slope = self._slope((weights * self._each(x, y)).sum(), direction)
            return _grad(slope, (weights,))

        return torch.cat([part[0] for part in self._batches(pull, backward=2)])

    def bends(self, direction: Vector) -> Tensor:
        """Return each example's second derivative along a direction, ``(M,)``.

        Args:
            direction: One tensor for each parameter.
        """

        def pull(x: Tensor, y: Tensor) -> Vector:
            # Linear in the weights, so that the derivative by a weight is the example's own.
            weights = torch.ones(len(y), requires_grad=True)
            slope = self._slope((weights * self._each(x, y)).sum(), direction)
            bend = self._slope(slope, direction)
            return _grad(bend, (weights,))

        return torch.cat([part[0] for part in self._batches(pull, backward=3)])

    def _each(self, x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(matched(self.evidence, self.model(x)), y, reduction="none")

    def _mean(self, x: Tensor, y: Tensor) -> Tensor:
        return self._each(x, y).sum() / len(self.targets)

    def _slope(self, value: Tensor, direction: Vector) -> Tensor:
        if not value.requires_grad:
            return value * 0
        gradient = torch.autograd.grad(value, self.parameters, create_graph=True, materialize_grads=True)
        return dot(gradient, direction)

    def _batches(self, pull: Callable[[Tensor, Tensor], Vector], *, backward: int) -> list[Vector]:
        found = []
        # The graph of a gradient, which is differentiated again, is as large as several forward passes.
        size = max(1, self.evidence.batch // 4)
        # Only the plain attention can be differentiated twice.
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            for x, y in zip(*(torch.split(t, size) for t in (self.inputs, self.targets)), strict=True):
                found.append(tuple(t.detach() for t in pull(x, y)))
                self.evidence.passes.forward += len(y)
                self.evidence.passes.backward += backward * len(y)
        return found

    def _summed(self, pull: Callable[[Tensor, Tensor], Vector], *, backward: int = 1) -> Vector:
        return tuple(torch.stack(parts).sum(0) for parts in zip(*self._batches(pull, backward=backward), strict=True))


def opened(evidence: Evidence) -> tuple[nn.Module, tuple[str, ...]]:
    """Return a copy of the model whose floating-point parameters can be differentiated, and notes of how many they are.

    Args:
        evidence: Gives the model.

    Raises:
        NotMeasurableError: The model does not open, gradients do not pass through it, or it has no floating-point
            parameters.
    """
    evidence.subject.require("opens", "differentiates")
    model = copied(evidence.slopes)
    count = 0
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_()
            count += parameter.numel()
    if not count:
        raise NotMeasurableError(f"needs floating-point parameters; {evidence.subject.name} has none")
    whole = evidence.reference
    before = count if whole is None else sum(p.numel() for p in whole.model.parameters() if p.is_floating_point())
    other = f", {before} in the baseline: sizes are not comparable" if before != count else ""
    notes = [f"derivatives with respect to {count} parameters{other}"]
    if evidence.opened.straight_through:
        notes.append("gradients pass straight through rounding: they are those of a surrogate")
    return model, tuple(notes)


def top(loss: Loss, steps: int, tolerance: float, rng: torch.Generator) -> tuple[float, Vector, bool]:
    """Return the largest eigenvalue of the loss's Hessian, its unit eigenvector, and whether it settled.

    Power iteration finds the eigenvalue of largest magnitude; where that is negative it is run again on the Hessian
    less that value, whose largest in magnitude is the largest of all.

    Args:
        loss: Whose Hessian.
        steps: Iterations at the most, each time.
        tolerance: Relative change of the eigenvalue at which it has settled.
        rng: Draws the direction to start with.
    """
    value, vector, settled = _power(loss, 0.0, steps, tolerance, rng)
    if value < 0:
        shift = value
        value, vector, settled = _power(loss, shift, steps, tolerance, rng)
        value += shift
    return value, vector, settled


def dot(one: Sequence[Tensor], two: Sequence[Tensor]) -> Tensor:
    """Return the inner product of two directions.

    Args:
        one: One tensor for each parameter.
        two: The same.
    """
    return torch.stack([(a * b).sum() for a, b in zip(one, two, strict=True)]).sum()


def unit(direction: Vector) -> tuple[float, Vector]:
    """Return the length of a direction, and the direction at length 1; unchanged where it has no length.

    Args:
        direction: One tensor for each parameter.
    """
    length = float(dot(direction, direction).sqrt())
    return length, tuple(d / length for d in direction) if length > 0 else direction


def _power(loss: Loss, shift: float, steps: int, tolerance: float, rng: torch.Generator) -> tuple[float, Vector, bool]:
    _, vector = unit(tuple(torch.randn(p.shape, generator=rng) for p in loss.parameters))
    value = 0.0
    for _ in range(steps):
        found = tuple(h - shift * v for h, v in zip(loss.times_hessian(vector), vector, strict=True))
        last, value = value, float(dot(found, vector))
        length, found = unit(found)
        if length == 0:
            return 0.0, vector, True
        if abs(value - last) <= tolerance * abs(value):
            return value, vector, True
        vector = found
    return value, vector, False


def _grad(value: Tensor, of: Vector) -> Vector:
    if not value.requires_grad:
        return tuple(torch.zeros_like(t) for t in of)
    return torch.autograd.grad(value, of, materialize_grads=True)
