"""Initial weights from a generator of one's own; torch's constructors draw from that of the process."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from whatelse.modules.walk import refuse_computed
from whatelse.training.rng import fork_rng

_SPREAD = 0.02


@torch.no_grad()
def initialize(model: nn.Module, rng: torch.Generator) -> None:
    """Draw all weights anew, in place, as torch's own constructors do.

    Weights and biases of convolutions and linear layers are uniform in ``+-1/sqrt(fan_in)``
    (He et al. 2015, arXiv:1502.01852, with torch's ``a = sqrt(5)``); norms start at one and zero. Any other part that
    has parameters of its own draws them by its method ``reset_parameters``, as embeddings and recurrent layers do. What
    has no such method, as a positional embedding or a class token, is normal with standard deviation 0.02
    (Devlin et al. 2019, arXiv:1810.04805); vectors and scalars of that kind start at zero where their name says bias,
    else at one.

    Args:
        model: Any module.
        rng: Source of the weights.

    Raises:
        RecipeError: A weight is computed anew at every pass, so that there is nothing to draw into.
    """
    refuse_computed(model)
    drawn: set[int] = set()  # a weight that two parts share is drawn once, by the law of the linear layer
    others = []
    for part in model.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(part.weight[0].numel())
            part.weight.uniform_(-bound, bound, generator=rng)
            if part.bias is not None:
                part.bias.uniform_(-bound, bound, generator=rng)
            drawn.update(map(id, part.parameters(recurse=False)))
        elif isinstance(part, _NormBase | nn.LayerNorm | nn.GroupNorm):
            part.reset_parameters()
        elif list(part.parameters(recurse=False)):
            others.append(part)
    if not others:
        return
    with fork_rng(rng):
        for part in others:
            _draw(part, drawn)
    torch.rand((), generator=rng)  # so that what is drawn next does not repeat these draws


def _draw(part: nn.Module, drawn: set[int]) -> None:
    own = {name: p for name, p in part.named_parameters(recurse=False) if id(p) not in drawn}
    reset: Callable[[], None] | None = getattr(part, "reset_parameters", getattr(part, "_reset_parameters", None))
    if own and reset is not None:
        reset()
        return
    for name, parameter in own.items():
        if parameter.dim() > 1:
            parameter.normal_(0, _SPREAD)
        else:
            parameter.fill_(0.0 if "bias" in name else 1.0)
