"""Zero the weights of smallest absolute value, ranked over all layers together.

Of all weights of convolutions and linear layers the share ``sparsity`` with the smallest ``|w|`` becomes
zero. Biases stay. A zero weight is the mask: every later training step keeps it at zero, and on disk it takes
one bit.

Source:
    Han et al., Learning both weights and connections, NeurIPS 2015, arXiv:1506.02626.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn

from whatelse.errors import RecipeError
from whatelse.settings import param
from whatelse.task import Task

VERSION, KNOB, TAKES, LEAVES = 1, "sparsity", {"dense", "sparse"}, "sparse"


@dataclass(frozen=True)
class Config:
    """Settings of global magnitude pruning."""

    sparsity: float = param(0.5, "Share of weights to zero.", low=0.0, high=1.0)


def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a pruned copy.

    Args:
        model: Any module with convolutions or linear layers.
        config: How much to prune.
        task: Not used; magnitude needs no data.
        rng: Not used; the method is deterministic.

    Raises:
        RecipeError: There is nothing to prune, as after ``quantize.uniform``.
    """
    del task, rng
    pruned = deepcopy(model)
    weights = [m.weight for m in pruned.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    if not weights:
        raise RecipeError("prune.magnitude: no convolution or linear layer to prune; prune before quantize.uniform")
    size = torch.cat([w.detach().abs().flatten() for w in weights])
    keep = torch.ones_like(size, dtype=torch.bool)
    keep[size.argsort(stable=True)[: round(config.sparsity * len(size))]] = False
    with torch.no_grad():
        for weight, kept in zip(weights, keep.split([w.numel() for w in weights]), strict=True):  # type: ignore[no-untyped-call] # torch's own
            weight.mul_(kept.view_as(weight))
    return pruned
