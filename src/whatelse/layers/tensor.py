"""A linear layer whose weight is a tensor in Tucker form, computed without ever forming it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.layers.compressed import CompressedLayer


class TensorLayer(CompressedLayer):
    """The Tucker tensor layer of Calvi et al. 2019, arXiv:1903.06133.

    The weight of a linear layer, ``(out, I1 * ... * IN)``, seen as a tensor ``(I1, ..., IN, out)``, is
    ``core x_1 U_1 ... x_N U_N x_out U_out``. An input is contracted with one factor after the other, then the core.
    """

    core: nn.Parameter
    leave: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, modes: Sequence[int], out: int, ranks: Sequence[int], *, bias: bool) -> None:
        super().__init__()
        self.modes, self.out, self.ranks = tuple(modes), out, tuple(ranks)
        for n, (size, rank) in enumerate(zip(self.modes, self.ranks[:-1], strict=True)):
            self.register_parameter(f"enter{n}", nn.Parameter(torch.zeros(size, rank)))
        self.core = nn.Parameter(torch.zeros(self.ranks))
        self.leave = nn.Parameter(torch.zeros(out, self.ranks[-1]))
        self.register_parameter("bias", nn.Parameter(torch.zeros(out)) if bias else None)

    def arguments(self) -> dict[str, Any]:
        """Return its modes and ranks."""
        sizes = {"modes": list(self.modes), "out": self.out, "ranks": list(self.ranks)}
        return {**sizes, "bias": self.bias is not None}

    @property
    def factors(self) -> list[Tensor]:
        """The factor of every input mode, ``(size, rank)`` each."""
        return [getattr(self, f"enter{n}") for n in range(len(self.modes))]

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw it anew so that the weight it stands for has the variance of torch's linear layer, ``1/(3 fan_in)``."""
        bound = 1 / math.sqrt(math.prod(self.modes))
        self.core.uniform_(-bound, bound)
        for factor in (*self.factors, self.leave):
            # Of variance 1 / rank, so that a product with the core keeps the variance of the core.
            factor.uniform_(-math.sqrt(3 / factor.shape[1]), math.sqrt(3 / factor.shape[1]))
        if self.bias is not None:
            self.bias.uniform_(-bound, bound)

    def whole(self) -> Tensor:
        """Return the weight that it stands for, ``(out, I1 * ... * IN)``."""
        weight: Tensor = self.core
        for factor in (*self.factors, self.leave):
            # The first mode goes, its replacement comes last: after all of them the order is the first again.
            weight = torch.tensordot(weight, factor, dims=([0], [1]))
        return weight.flatten(0, -2).mT

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output, ``(..., out)``.

        Args:
            x: ``(..., I1 * ... * IN)``.
        """
        held = x.reshape(-1, *self.modes)
        for factor in self.factors:
            held = torch.tensordot(held, factor, dims=([1], [0]))
        small = held.flatten(1) @ self.core.flatten(0, -2)
        return functional.linear(small, self.leave, self.bias).view(*x.shape[:-1], self.out)
