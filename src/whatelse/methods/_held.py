"""Part of train that is held back: what a method measures on without fitting it."""

from __future__ import annotations

import torch
from torch import Tensor

from whatelse.tasks.task import Split


def held_back(train: Split, share: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the indices of the examples that are fitted and of those held back, each in their order.

    Copies of one example (``clusters``) fall on one side.

    Args:
        train: The split.
        share: How much of it is held back.
        rng: Decides which.
    """
    clusters = torch.arange(len(train)) if train.clusters is None else train.clusters
    names = torch.unique(clusters)
    chosen = names[torch.randperm(len(names), generator=rng)[: int((1 - share) * len(names))]]
    inside = torch.isin(clusters, chosen)
    return inside.nonzero().flatten(), (~inside).nonzero().flatten()
