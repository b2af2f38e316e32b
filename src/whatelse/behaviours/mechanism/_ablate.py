"""Units replaced by their mean on the way through a model, and what that does to a margin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from whatelse.behaviours.mechanism import _layers
from whatelse.evidence.cache import Evidence
from whatelse.evidence.loudness import margin

# A unit: the name of its layer and its place in it.
Unit = tuple[str, int]


def means(evidence: Evidence, split: str) -> dict[str, Tensor]:
    """Return the mean activation of every unit of every layer, each ``(units,)``.

    Args:
        evidence: Of a model that opens.
        split: Over which examples.
    """
    return {name: layer.mean(0, dtype=torch.float64) for name, layer in _layers.layers(evidence, split).items()}


def margins(
    evidence: Evidence, inputs: Tensor, labels: Tensor, ablated: Sequence[Unit], mean: Mapping[str, Tensor]
) -> Tensor:
    """Return the log-odds margin of every example with some units held at their mean, ``(M,)`` in double precision.

    Args:
        evidence: Of a model that opens.
        inputs: ``(M, ...)``.
        labels: The class whose margin it is, ``(M,)``.
        ablated: The units that are held.
        mean: What `means` returned.
    """
    # Of three dimensions, the last are units, as in attention; behind a convolution the second, as in signals.
    axes = (1, 2) if any(isinstance(m, nn.Conv1d) for m in evidence.inside.modules()) else (2, 1)
    edits = {}
    for name in dict.fromkeys(layer for layer, _ in ablated):
        held = torch.zeros(len(mean[name]), dtype=torch.bool)
        held[[unit for layer, unit in ablated if layer == name]] = True
        edits[name] = _holding(held, mean[name], axes)
    return margin(evidence, evidence.answers(inputs, edits).double(), labels)


def effects(
    evidence: Evidence, inputs: Tensor, labels: Tensor, units: Sequence[Unit], mean: Mapping[str, Tensor]
) -> Tensor:
    """Return how far the margin of every example falls when one unit is held at its mean, ``(M, units)``.

    Args:
        evidence: Of a model that opens.
        inputs: ``(M, ...)``.
        labels: The class whose margin it is, ``(M,)``.
        units: Which units, one at a time.
        mean: What `means` returned.
    """
    whole = margins(evidence, inputs, labels, (), mean)
    return torch.stack([whole - margins(evidence, inputs, labels, (unit,), mean) for unit in units], 1)


def _holding(held: Tensor, mean: Tensor, axes: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    def hold(output: Tensor) -> Tensor:
        # Units are where `Evidence.activations` has them.
        tried = axes if output.dim() == 3 else (1,)
        axis = next((a for a in tried if a < output.dim() and output.shape[a] == len(held)), 0)
        if not axis:
            return output  # a layer that is used again at another width
        shape = [1] * output.dim()
        shape[axis] = -1
        return torch.where(held.view(shape), mean.to(output.dtype).view(shape), output)

    return hold
