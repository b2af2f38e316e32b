"""Initial weights from a generator of one's own; torch's constructors draw from that of the process."""

from __future__ import annotations

import math

import torch
from torch import nn


@torch.no_grad()
def initialize(model: nn.Module, rng: torch.Generator) -> None:
    """Draw all weights anew, in place, as torch's own constructors do.

    Weights and biases of convolutions and linear layers are uniform in ``+-1/sqrt(fan_in)``
    (He et al. 2015, arXiv:1502.01852, with torch's ``a = sqrt(5)``); norms start at one and zero.

    Args:
        model: Any module of convolutions, linear layers and batch norms.
        rng: Source of the weights.
    """
    for part in model.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(part.weight[0].numel())
            part.weight.uniform_(-bound, bound, generator=rng)
            if part.bias is not None:
                part.bias.uniform_(-bound, bound, generator=rng)
        elif isinstance(part, nn.BatchNorm2d):
            part.reset_running_stats()
            part.weight.fill_(1)
            part.bias.zero_()
