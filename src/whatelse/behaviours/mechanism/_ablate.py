"""Units replaced by their mean on the way through a model, and what that does to a margin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from whatelse.behaviours.mechanism import _layers
from whatelse.evidence import Evidence
from whatelse.subject import log_odds

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
    tokens = inputs.shape[1] if evidence.task.vocabulary else 0
    edits = {}
    for name in dict.fromkeys(layer for layer, _ in ablated):
        held = torch.zeros(len(mean[name]), dtype=torch.bool)
        held[[unit for layer, unit in ablated if layer == name]] = True
        edits[name] = _holding(held, mean[name], tokens)
    return log_odds(evidence.answers(inputs, edits).double(), labels)


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


def _holding(held: Tensor, mean: Tensor, tokens: int) -> Callable[[Tensor], Tensor]:
    def hold(output: Tensor) -> Tensor:
        # Units are where `Evidence.activations` has them: last of texts, else after the examples.
        axis = 2 if tokens and output.dim() == 3 and output.shape[1] == tokens else 1
        if output.dim() <= axis or output.shape[axis] != len(held):
            return output  # a layer that is used again at another width
        shape = [1] * output.dim()
        shape[axis] = -1
        return torch.where(held.view(shape), mean.to(output.dtype).view(shape), output)

    return hold
