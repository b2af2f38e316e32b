"""Propose configurations in which every axis has one of its options, all equally likely.

Nothing that it is told changes what it proposes: the control of every other strategy, since a search that does not beat
it has learned nothing. No configuration is proposed twice.

Source:
    Bergstra & Bengio, Random search for hyper-parameter optimization, JMLR 13:281-305, 2012; as the control of
    architecture search: Li & Talwalkar, UAI 2019, arXiv:1902.07638.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from whatelse.searching.protocol import Problem, Score, Search
from whatelse.searching.space import Configuration, Space
from whatelse.settings import param

VERSION = 3


@dataclass(frozen=True)
class Config:
    """Settings of the random search."""

    misses: int = param(100, "Draws in a row that were proposed before, after which it has no more.", low=1)


def start(problem: Problem, config: Config, rng: torch.Generator) -> Search:
    """Return a search that draws the option of every axis.

    Args:
        problem: Gives the space.
        config: When it gives up.
        rng: Source of the options.
    """
    return _Random(problem.space, config.misses, rng)


class _Random:
    def __init__(self, space: Space, misses: int, rng: torch.Generator) -> None:
        self.space, self.misses, self.rng = space, misses, rng
        self.asked: set[Configuration] = set()

    def ask(self) -> Configuration | None:
        for _ in range(self.misses):
            drawn = tuple(int(torch.randint(len(a.options), (), generator=self.rng)) for a in self.space.axes)
            if drawn not in self.asked:
                self.asked.add(drawn)
                return drawn
        return None

    def tell(self, tried: Configuration, score: Score) -> None:
        del tried, score  # it learns nothing, on purpose

    def remarks(self) -> Sequence[str]:
        return ()
