"""Dual ascent: multipliers that grow while a budget is broken and fall while there is room."""

from __future__ import annotations

import torch
from torch import Tensor


class Multipliers:
    """The multipliers of ``min_w loss(w)`` under ``value_i(w) <= budget_i``, adapted while ``w`` is trained.

    The Lagrangian is ``loss + sum_i l_i * (value_i - budget_i)``. Each `ascend` is ``l_i <- max(0, l_i + step * r_i)``
    with ``r_i = (value_i - budget_i) / (value_i + budget_i)``, which has the sign of the violation, is zero where the
    budget is met exactly, has no unit, and lies within -1 and 1: a budget of 0.001 that is broken tenfold moves its
    multiplier as one of 0.1 does. Where both players are at rest, the conditions of Karush, Kuhn and Tucker hold.

    Attributes:
        budgets: What each value may be at most, ``(constraints,)``, above zero.
        step: How far a multiplier moves at most in one step.
        most: What each multiplier becomes at most, ``(constraints,)``; infinity for no limit.
        now: The multipliers ``l_i``, ``(constraints,)``; zero at first.
    """

    def __init__(self, budgets: Tensor, step: float, most: Tensor) -> None:
        self.budgets, self.step, self.most, self.now = budgets, step, most, torch.zeros_like(budgets)

    def ascend(self, values: Tensor) -> None:
        """Move all multipliers by one step.

        Args:
            values: What is constrained, as measured, ``(constraints,)``; below zero counts as zero.
        """
        found = values.clamp(min=0)
        moved = self.now + self.step * (found - self.budgets) / (found + self.budgets)
        self.now = torch.minimum(moved.clamp(min=0), self.most)
