"""The same architecture from the start: random weights under the mask of the old ones."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn

from whatelse.errors import RecipeError
from whatelse.nets._initialize import initialize


def drawn_anew(model: nn.Module, where: str, rng: torch.Generator) -> nn.Module:
    """Return a copy with random weights; weights that are exactly zero stay zero.

    Args:
        model: Gives the architecture and, by its exact zeros, the mask.
        where: Name of the method, for the message.
        rng: Source of the weights.

    Raises:
        RecipeError: The model has no trainable weights, as after ``quantize.uniform``.
    """
    fresh = deepcopy(model)
    masks = [(p, p != 0) for p in fresh.parameters() if p.dim() > 1]
    if not masks:
        raise RecipeError(f"{where}: the model has no trainable parameters; train before quantize.uniform")
    initialize(fresh, rng)
    with torch.no_grad():
        for parameter, mask in masks:
            parameter.mul_(mask)
    return fresh
