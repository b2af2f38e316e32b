"""Propose recipes whose strengths are drawn evenly from the ranges that their methods declare.

The methods are taken in turn. Nothing that it is told changes what it proposes: the baseline of every other strategy,
since a search that does not beat it has learned nothing.

Source:
    Bergstra & Bengio, Random search for hyper-parameter optimization, JMLR 13:281-305, 2012; as the control of
    architecture search: Li & Talwalkar, UAI 2019, arXiv:1902.07638.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from whatelse.recipe import Recipe
from whatelse.search.protocol import Score, Search, Space
from whatelse.settings import param

VERSION = 2


@dataclass(frozen=True)
class Config:
    """Settings of the uniform search."""

    trials: int = param(8, "Recipes to propose.", low=1, high=100_000)


def start(space: Space, config: Config, rng: torch.Generator) -> Search:
    """Return a search that proposes recipes, the methods taken in turn, each with its knob drawn from its range.

    Args:
        space: What may be proposed.
        config: How many recipes.
        rng: Source of the strengths.
    """
    return _Uniform(space, config.trials, rng)


class _Uniform:
    def __init__(self, space: Space, trials: int, rng: torch.Generator) -> None:
        self.space, self.trials, self.rng = space, trials, rng
        self.asked = 0

    def ask(self) -> Recipe | None:
        if self.asked == self.trials:
            return None
        knob = self.space.knobs[self.asked % len(self.space.knobs)]
        self.asked += 1
        return self.space.recipe(knob.step(float(torch.rand((), generator=self.rng, dtype=torch.float64))))

    def tell(self, tried: Recipe, score: Score) -> None:
        del tried, score  # it learns nothing, on purpose
