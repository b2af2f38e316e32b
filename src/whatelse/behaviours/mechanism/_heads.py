"""Attention heads held at their mean on the way through a model."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whatelse.evidence.cache import Evidence
from whatelse.evidence.loudness import margin

_PARTS = {"query", "key", "value", "out"}


@dataclass(frozen=True, eq=False)
class Heads:
    """The heads of one attention layer.

    Attributes:
        name: Of the block that has them.
        reads: The projection that reads them side by side, ``(N, tokens, heads * size)``.
        mean: Of what it reads, over examples and tokens, ``(heads * size,)``.
        size: Features of a head.
    """

    name: str
    reads: nn.Module
    mean: Tensor
    size: int

    @property
    def count(self) -> int:
        """Number of heads."""
        return len(self.mean) // self.size


def heads(evidence: Evidence, inputs: Tensor) -> list[Heads]:
    """Return the attention layers whose heads can be told apart, first to last.

    They are blocks as those of the transformer of this toolkit: projections ``query``, ``key``, ``value`` and ``out``,
    each a layer of its own, and the ``size`` of a head. Of other networks none is found.

    Args:
        evidence: Of a model that opens.
        inputs: Over which heads are averaged, ``(M, ...)``; padding tokens are left out.
    """
    told = inputs != 0 if evidence.task.vocabulary else None
    found = []
    for name, part in evidence.inside.named_modules():
        children, size = dict(part.named_children()), getattr(part, "size", None)
        if set(children) >= _PARTS and isinstance(size, int):
            found.append(Heads(name, children["out"], _mean(evidence, inputs, told, children["out"]), size))
    return found


def effects(evidence: Evidence, inputs: Tensor, labels: Tensor, layer: Heads) -> Tensor:
    """Return how far the margin of every example falls when one head is held at its mean, ``(M, heads)``.

    Args:
        evidence: Of a model that opens.
        inputs: ``(M, ...)``.
        labels: The class whose margin it is, ``(M,)``.
        layer: Whose heads.
    """
    whole = margin(evidence, evidence.answers(inputs).double(), labels)
    found = []
    for head in range(layer.count):
        place = slice(head * layer.size, (head + 1) * layer.size)

        def hold(x: Tensor, place: slice = place) -> Tensor:
            held = x.clone()
            held[..., place] = layer.mean[place].to(x.dtype)
            return held

        with _entering(layer.reads, hold):
            found.append(whole - margin(evidence, evidence.answers(inputs).double(), labels))
    return torch.stack(found, 1)


def _mean(evidence: Evidence, inputs: Tensor, told: Tensor | None, reads: nn.Module) -> Tensor:
    total, tokens = torch.zeros((), dtype=torch.float64), 0
    sums: list[Tensor] = []
    for start in range(0, len(inputs), evidence.batch):
        rows = slice(start, start + evidence.batch)
        weight = None if told is None else told[rows].double()

        def add(x: Tensor, weight: Tensor | None = weight) -> Tensor:
            sums.append(x.double().mean((0, 1)) if weight is None else _weighted(x, weight))
            return x

        sums.clear()
        with _entering(reads, add):
            evidence.answers(inputs[rows])
        count = len(inputs[rows]) if weight is None else int(weight.sum())
        total, tokens = total + count * sums[-1], tokens + count
    return total / max(tokens, 1)


def _weighted(x: Tensor, weight: Tensor) -> Tensor:
    return (x.double() * weight[:, :, None]).sum((0, 1)) / weight.sum().clamp(min=1)


@contextmanager
def _entering(part: nn.Module, change: Callable[[Tensor], Tensor]) -> Generator[None]:
    """Change what a layer reads."""

    def enter(module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        del module
        return (change(given[0]), *given[1:])

    hook = part.register_forward_pre_hook(enter)
    try:
        yield
    finally:
        hook.remove()
