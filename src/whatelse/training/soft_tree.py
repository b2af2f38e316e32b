"""How a tree of soft decisions is taught: its loss, the penalty on one-sided decisions, and the training."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from whatelse.layers.soft_tree import Route, SoftTree
from whatelse.training.initialize import initialize
from whatelse.training.loop import Schedule, descend

_LEAST = 1e-6  # Share at which the penalty stops growing, so that it stays finite.


def teach(made: SoftTree, x: Tensor, targets: Tensor, balance: float, schedule: Schedule, rng: torch.Generator) -> None:
    """Draw a soft tree anew and train it in place.

    Args:
        made: The tree.
        x: Inputs, ``(N, features)``.
        targets: Distribution over the classes that each is to get, ``(N, classes)``.
        balance: Weight of the penalty on one-sided decisions.
        schedule: How long and how hard.
        rng: Source of the first filters and of the order of the examples.
    """
    initialize(made, rng)
    lean = penalty(made.depth)

    def objective(batch: Tensor) -> Tensor:
        route = made.route(x[batch])
        return loss(route, made.phi, targets[batch]) + balance * lean(route)

    descend(made, objective, len(x), schedule, rng)


def loss(route: Route, phi: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over examples of ``- sum_l P^l(x) sum_k T_k log Q^l_k``.

    Args:
        route: How the examples run through the tree.
        phi: What its leaves hold, ``(leaves, classes)``.
        targets: ``T``, ``(N, classes)``.
    """
    told = functional.log_softmax(phi, 1)
    return -(route.leaf.exp() * (targets @ told.mT)).sum(1).mean()


def penalty(depth: int) -> Callable[[Route], Tensor]:
    """Return the penalty as a function that remembers its running means.

    Args:
        depth: Of the tree.
    """
    deep = torch.cat([torch.full((2**d,), float(d)) for d in range(depth)])
    fresh = 2.0**-deep  # weight of the newest batch: a window of 2**depth batches
    kept: list[Tensor] = []

    def lean(route: Route) -> Tensor:
        reach = route.reach.exp()
        sums = torch.stack([(reach * route.right.exp()).mean(0), reach.mean(0)])
        if kept:
            sums = torch.lerp(kept[0], sums, fresh)
        kept[:] = [sums.detach()]
        share = (sums[0] / sums[1].clamp(min=torch.finfo(sums.dtype).tiny)).clamp(_LEAST, 1 - _LEAST)
        return -(2.0**-deep * (share.log() + (1 - share).log()) / 2).sum()

    return lean
