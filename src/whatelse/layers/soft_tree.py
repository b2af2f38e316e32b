"""A binary tree of soft decisions: every inner node a filter, every leaf a fixed distribution over the classes."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.layers.compressed import CompressedLayer

_DEEPEST = 30


class Route(NamedTuple):
    """How examples run through a soft tree, in logarithms; nodes and leaves stand level by level from the left.

    Attributes:
        right: Log-probability of turning right at every inner node, ``(N, 2**depth - 1)``.
        reach: Log-probability of reaching every inner node, ``(N, 2**depth - 1)``.
        leaf: Log-probability of reaching every leaf, ``(N, 2**depth)``.
    """

    right: Tensor
    reach: Tensor
    leaf: Tensor


class SoftTree(CompressedLayer):
    """A soft decision tree over the flattened input; its logits are the logarithms of its predicted distribution.

    Inner node ``i`` turns right with probability ``sigmoid(beta * (x . w_i + b_i))``; leaf ``l`` holds
    ``Q^l = softmax(phi^l)``. Predicted is the mixture ``sum_l P^l(x) Q^l``, or ``Q^l`` of the likeliest leaf alone,
    which is a step function of the input and so has no gradient.
    """

    def __init__(self, features: int, classes: int, depth: int, *, mixture: bool) -> None:
        super().__init__()
        if not 0 <= depth <= _DEEPEST:
            raise ValueError(f"depth={depth}; a soft tree has 2**depth leaves, allowed are 0 to {_DEEPEST} levels")
        self.features, self.classes, self.depth, self.mixture = features, classes, depth, mixture
        self.weight = nn.Parameter(torch.zeros(2**depth - 1, features))
        self.bias = nn.Parameter(torch.zeros(2**depth - 1))
        self.beta = nn.Parameter(torch.ones(()))
        self.phi = nn.Parameter(torch.zeros(2**depth, classes))

    def arguments(self) -> dict[str, Any]:
        """Return its sizes and what it predicts by."""
        sizes = {"features": self.features, "classes": self.classes, "depth": self.depth}
        return {**sizes, "mixture": self.mixture}

    def work(self, inputs: Tensor, output: Tensor) -> int:
        """Return the multiply-accumulates of the mixture, which is computed in logarithms.

        Args:
            inputs: What it was given.
            output: What it returned.
        """
        del output
        return len(inputs) * self.phi.numel() if self.mixture else 0

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw filters and leaves anew, uniform in ``+-1/sqrt(fan_in)``; the inverse temperature starts at one."""
        bound = 1 / math.sqrt(self.features)
        self.weight.uniform_(-bound, bound)
        self.bias.uniform_(-bound, bound)
        self.phi.uniform_(-bound, bound)
        self.beta.fill_(1)

    def route(self, x: Tensor) -> Route:
        """Return how examples run through the tree.

        Args:
            x: ``(N, ...)``, whole numbers or real ones.
        """
        turn = self.beta * functional.linear(x.flatten(1).to(self.weight.dtype), self.weight, self.bias)
        left, right = functional.logsigmoid(-turn), functional.logsigmoid(turn)
        levels = [turn.new_zeros(turn.shape[0], 1)]  # `len` would write the size of one batch into an exported program
        for depth in range(self.depth):
            here = slice(2**depth - 1, 2 ** (depth + 1) - 1)
            ways = torch.stack([left[:, here], right[:, here]], 2)
            levels.append((levels[-1][:, :, None] + ways).flatten(1))
        return Route(right, torch.cat(levels[:-1], 1), levels[-1])

    def forward(self, x: Tensor) -> Tensor:
        """Return the logarithm of the predicted distribution, ``(N, classes)``.

        Args:
            x: ``(N, ...)``.
        """
        leaf = self.route(x).leaf
        told = functional.log_softmax(self.phi, 1)
        if self.mixture:
            return (leaf[:, :, None] + told).logsumexp(1)
        return told[leaf.argmax(1)]
