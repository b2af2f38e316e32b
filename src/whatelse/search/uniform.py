"""Propose recipes whose strengths are drawn evenly from the ranges that their methods declare.

The baseline of every other strategy: a search that does not beat it has learned nothing.

Source:
    Bergstra & Bengio, Random search for hyper-parameter optimization, JMLR 13:281-305, 2012; as the control of
    architecture search: Li & Talwalkar, UAI 2019, arXiv:1902.07638.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch

from whatelse import items
from whatelse.errors import SettingError
from whatelse.recipe import Recipe, Step, parse
from whatelse.settings import param

VERSION = 1


@dataclass(frozen=True)
class Config:
    """Settings of the uniform search."""

    trials: int = param(8, "Recipes to propose.", low=1, high=100_000)
    then: str = param("", "Recipe that follows every proposed step, such as train.finetune().")


def propose(methods: Sequence[str], config: Config, rng: torch.Generator) -> list[Recipe]:
    """Return recipes, the methods taken in turn, each with its knob drawn from its declared range.

    Args:
        methods: Names of methods that have a knob.
        config: How many, and what follows.
        rng: Source of the strengths.

    Raises:
        SettingError: There is no method, or one has no knob with a range on both sides.
    """
    if not methods:
        raise SettingError("search.uniform: methods is empty; at least one name is needed")
    after = parse(config.then)
    return [(_step(methods[i % len(methods)], rng), *after) for i in range(config.trials)]


def _step(name: str, rng: torch.Generator) -> Step:
    method = items.method(name)
    knob = next((f for f in fields(method.config) if f.name == method.knob), None)
    if knob is None or knob.metadata["low"] is None or knob.metadata["high"] is None:
        raise SettingError(f"search.uniform: {name} has no knob with a range; give a method that has one")
    low, high = knob.metadata["low"], knob.metadata["high"]
    share = float(torch.rand((), generator=rng, dtype=torch.float64))
    if isinstance(knob.default, int):
        return Step(name, ((knob.name, min(int(high), int(low + share * (high - low + 1)))),))
    return Step(name, ((knob.name, low + share * (high - low)),))
