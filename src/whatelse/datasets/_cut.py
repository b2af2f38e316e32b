"""What doors share: a fixed order, and train, calibration, select and test cut from it."""

from __future__ import annotations

import torch
from torch import Tensor

ORDER = 7  # one fixed seed for every split, so that it is the same everywhere


def shuffled(count: int) -> Tensor:
    """Return the fixed order of a number of examples, ``(count,)``.

    Files are often sorted, and the first examples must stand for all.

    Args:
        count: How many.
    """
    return torch.randperm(count, generator=torch.Generator().manual_seed(ORDER))


def first(order: Tensor, limit: int) -> Tensor:
    """Return the first of an order, or all of it where the limit is 0.

    Args:
        order: ``(N,)``.
        limit: Largest number; 0 for all.
    """
    return order[:limit] if limit else order


def held_back(order: Tensor, share: float, limit: int) -> tuple[Tensor, Tensor]:
    """Return a share that is held back for choices, and then train; both within the limit.

    Args:
        order: ``(N,)``, of the official train examples.
        share: Share held back.
        limit: Largest number of examples in train; 0 for all. The share is taken before, so that it never moves.
    """
    count = max(1, round(share * len(order)))
    return first(order[:count], limit), first(order[count:], limit)
