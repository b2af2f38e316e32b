"""What a search strategy and its driver say to each other: a space, recipes that are asked for, scores told back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Protocol

from whatelse import items, recipe
from whatelse.errors import SettingError
from whatelse.recipe import Recipe, Step


@dataclass(frozen=True)
class Knob:
    """The setting of a method that sets its strength.

    Attributes:
        method: Dotted name of the method.
        setting: Name of the setting.
        low: Smallest value.
        high: Largest value.
        whole: Whether it is a whole number.
    """

    method: str
    setting: str
    low: float
    high: float
    whole: bool

    def step(self, share: float) -> Step:
        """Return the method at a share of its range; whole numbers have equal parts of it each.

        Args:
            share: From 0 for ``low`` to 1 for ``high``.
        """
        if self.whole:
            value: float = min(int(self.high), int(self.low + share * (self.high - self.low + 1)))
        else:
            value = self.low + share * (self.high - self.low)
        return Step(self.method, items.method(self.method).changed({self.setting: value}))


@dataclass(frozen=True)
class Space:
    """The recipes that a search may propose.

    Attributes:
        methods: Names of methods that have a knob; a recipe begins with one of them.
        then: What follows every proposed step, such as ``train.finetune()``; empty for nothing.

    Raises:
        SettingError: There is no method, or one has no knob with a range on both sides.
        UnknownItemError: There is no such method.
        RecipeError: What follows cannot be read, or cannot follow one of the methods.
    """

    methods: Sequence[str]
    then: str = ""
    knobs: tuple[Knob, ...] = field(init=False)

    def __post_init__(self) -> None:
        if not self.methods:
            raise SettingError("search: methods is empty; at least one name is needed")
        object.__setattr__(self, "knobs", tuple(map(_knob, self.methods)))
        for knob in self.knobs:
            recipe.parse(recipe.write(self.recipe(knob.step(0.5))))

    def recipe(self, first: Step) -> Recipe:
        """Return the recipe that begins with a step.

        Args:
            first: A method at some strength.
        """
        return (first, *recipe.parse(self.then))


@dataclass(frozen=True)
class Score:
    """How a recipe did.

    Attributes:
        value: What is to be made small, such as bytes; infinite where the recipe failed.
        over: For every budget by how much it is exceeded, in its own unit; zero or less is inside.
    """

    value: float
    over: Mapping[str, float] = field(default_factory=dict)

    @property
    def feasible(self) -> bool:
        """Whether the recipe worked and keeps every budget."""
        return math.isfinite(self.value) and all(over <= 0 for over in self.over.values())


class Search(Protocol):
    """One run of a strategy. Recipes may be told in another order than they were asked for, and several later."""

    def ask(self) -> Recipe | None:
        """Return the next recipe to try; None where the strategy has no more."""

    def tell(self, tried: Recipe, score: Score) -> None:
        """Take note of how a recipe did.

        Args:
            tried: A recipe that was asked for.
            score: How it did.
        """


def _knob(name: str) -> Knob:
    method = items.method(name)
    knob = next((f for f in fields(method.config) if f.name == method.knob), None)
    if knob is None or knob.metadata["low"] is None or knob.metadata["high"] is None:
        raise SettingError(f"search: {name} has no knob with a range; give a method that has one")
    return Knob(name, knob.name, knob.metadata["low"], knob.metadata["high"], isinstance(knob.default, int))
