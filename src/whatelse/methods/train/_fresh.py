"""The same architecture from the start: random weights under the mask of the old ones."""

from __future__ import annotations

import torch
from torch import nn

from whatelse.errors import RecipeError
from whatelse.modules.walk import copied, pruned
from whatelse.training.initialize import initialize


def drawn_anew(model: nn.Module, where: str, rng: torch.Generator) -> nn.Module:
    """Return a copy with random weights; zeros of convolutions and linear layers stay, as `descend` has it.

    Args:
        model: Gives the architecture and, by its exact zeros, the mask.
        where: Name of the method, for the message.
        rng: Source of the weights.

    Raises:
        RecipeError: The model has no trainable weights, as after ``quantize.uniform``, or computes them at every pass.
    """
    fresh = copied(model)
    if not any(p.dim() > 1 for p in fresh.parameters()):
        raise RecipeError(f"{where}: the model has no trainable parameters; train before quantize.uniform")
    masks = [(p, p != 0) for p in pruned(fresh)]
    initialize(fresh, rng)
    with torch.no_grad():
        for parameter, mask in masks:
            parameter.mul_(mask)
    return fresh
