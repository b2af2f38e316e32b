"""Propose one setting for all layers, from the mildest to the strongest: what most people do.

Every option that some axis has is proposed once, for all axes of its kind that have it; the others are left alone.
Settings that were shown to break a budget do not end it: sizes and harms do not always grow together.

Source:
    The control of mixed precision and of pruned widths: uniform settings, as in Dong et al., HAWQ, ICCV 2019,
    arXiv:1905.03696, and Liu et al., Rethinking the value of network pruning, ICLR 2019, arXiv:1810.05270.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from whatelse.searching.protocol import Problem, Score, Search
from whatelse.searching.space import ALONE, Configuration, Space

VERSION = 3


@dataclass(frozen=True)
class Config:
    """The uniform search has no settings."""


def start(problem: Problem, config: Config, rng: torch.Generator) -> Search:
    """Return a search that sweeps one setting for all layers.

    Args:
        problem: Gives the space.
        config: Not used.
        rng: Not used; the order is that of the options.
    """
    del config, rng
    return _Uniform(problem.space)


class _Uniform:
    def __init__(self, space: Space) -> None:
        self.left = _sweep(space)

    def ask(self) -> Configuration | None:
        return next(self.left, None)

    def tell(self, tried: Configuration, score: Score) -> None:
        del tried, score  # it learns nothing, on purpose

    def remarks(self) -> Sequence[str]:
        return ()


def _sweep(space: Space) -> Iterator[Configuration]:
    for kind in dict.fromkeys(axis.kind for axis in space.axes):
        mine = [axis for axis in space.axes if axis.kind == kind]
        for option in dict.fromkeys(option for axis in mine for option in axis.options):
            if option != ALONE:
                yield tuple(
                    axis.options.index(option) if axis.kind == kind and option in axis.options else 0
                    for axis in space.axes
                )
