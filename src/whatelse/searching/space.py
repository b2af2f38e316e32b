"""What may be proposed: of every axis, such as a layer, one of its options; together they are a recipe."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import prod

from whatelse import items, recipe
from whatelse.errors import RecipeError, SettingError
from whatelse.recipe import Recipe, Step

Configuration = tuple[int, ...]

ALONE = ""  # the option that changes nothing, the first of every axis

# What each kind of axis is written as, in the order in which the steps of a recipe follow each other.
WHOLE, DEPTH, WIDTH, LAYER = "whole", "depth", "width", "layer"
KINDS = (WHOLE, DEPTH, WIDTH, LAYER)


@dataclass(frozen=True)
class Axis:
    """One thing to decide.

    Attributes:
        kind: ``layer``: an option is a recipe for the layer alone. ``width``: the share of its units that a group of
            coupled layers keeps. ``depth``: ``drop``, which takes the layer out. ``whole``: a recipe for the whole
            model, before all others.
        name: Of the layer, or of the group by the layer that makes its units; empty of the whole model.
        options: The first is `ALONE`; the others in the order in which they are to be tried, milder ones first.
    """

    kind: str
    name: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Space:
    """The configurations of a search: tuples with the number of an option for every axis.

    Attributes:
        axes: In the order of a configuration.
        then: A recipe that trains what was made smaller, such as ``train.finetune(epochs=1)``, before layers are
            packed; empty for nothing.

    Raises:
        SettingError: There is no axis, one has no option but to be left alone, or is of no known kind.
        UnknownItemError: What follows names no method.
        RecipeError: What follows cannot be read, or does not train.
    """

    axes: tuple[Axis, ...]
    then: str = ""
    trained: Recipe = field(init=False)

    def __post_init__(self) -> None:
        if not self.axes:
            raise SettingError("search: the space is empty: no layer of this model takes any of the choices")
        for axis in self.axes:
            if (
                axis.kind not in KINDS
                or axis.options[:1] != (ALONE,)
                or len(set(axis.options)) < max(2, len(axis.options))
            ):
                raise SettingError(f"search: axis {axis.kind} {axis.name!r} has the options {axis.options}")
        trained = recipe.parse(self.then)
        for step in trained:
            if step.name.split(".")[0] not in recipe.TRAINING:
                raise RecipeError(f"then: {step} does not train; give methods of {' or '.join(recipe.TRAINING)}")
        object.__setattr__(self, "trained", trained)

    @property
    def size(self) -> int:
        """How many configurations there are."""
        return prod(len(axis.options) for axis in self.axes)

    @property
    def alone(self) -> Configuration:
        """The configuration that changes nothing."""
        return (0,) * len(self.axes)

    def told(self, chosen: Configuration) -> dict[str, list[tuple[str, str]]]:
        """Return by kind of axis the names that are not left alone, each with its option.

        What stands in a layer or block that is taken out is not among them.

        Args:
            chosen: The number of an option for every axis.
        """
        every = [(axis, axis.options[at]) for axis, at in zip(self.axes, chosen, strict=True) if axis.options[at]]
        gone = [axis.name for axis, _ in every if axis.kind == DEPTH]
        return {
            kind: [
                (axis.name, option)
                for axis, option in every
                if axis.kind == kind and not any(_inside(axis.name, name, itself=kind != DEPTH) for name in gone)
            ]
            for kind in KINDS
        }

    def recipe(self, chosen: Configuration) -> Recipe:
        """Return the recipe of a configuration.

        Layers that are packed are packed after the training; what else is done to layers comes before it.

        Args:
            chosen: The number of an option for every axis.
        """
        told = self.told(chosen)
        halves = [(name, _halves(option)) for name, option in told[LAYER]]
        before = [(name, first + (() if self.trained else last)) for name, (first, last) in halves]
        after = [(name, last) for name, (_, last) in halves] if self.trained else []
        smaller = (
            *itertools.chain.from_iterable(recipe.parse(option) for _, option in told[WHOLE]),
            *_step("prune.depth", "layers", [name for name, _ in told[DEPTH]]),
            *_step("prune.widths", "keep", [f"{name}={share}" for name, share in told[WIDTH]]),
            *_step("mixed.layers", "layers", _told(before)),
        )
        trained = _trained(smaller, self.trained) if any(chosen) else smaller
        return (*trained, *_step("mixed.layers", "layers", _told(after)))


def _inside(name: str, gone: str, *, itself: bool) -> bool:
    """Whether a part stands in one that is taken out, or is that one itself."""
    return name.startswith(f"{gone}.") or (itself and name == gone)


def _trained(smaller: Recipe, then: Recipe) -> Recipe:
    """Return what makes the model smaller and then trains it.

    What trains beside the original, as ``train.preserve``, must see both: it takes the recipe of the smaller one.
    """
    if not smaller or not then:
        return (*smaller, *then)
    first, given = then[0], dict(then[0].given)
    method = items.method(first.name)
    for one in fields(method.config):
        if one.metadata["recipe"] == "result" and not given.get(one.name, one.default):
            return (Step(first.name, method.changed({**given, one.name: recipe.write(smaller)})), *then[1:])
    return (*smaller, *then)


def _halves(option: str) -> tuple[Recipe, Recipe]:
    """Return what of a layer's recipe can be trained after, and what packs it."""
    steps = recipe.parse(option)
    packs = next((at for at, step in enumerate(steps) if items.method(step.name).leaves == "packed"), len(steps))
    return steps[:packs], steps[packs:]


def _told(layers: Sequence[tuple[str, Recipe]]) -> list[str]:
    return [f"{name}: {recipe.write(steps)}" for name, steps in layers if steps]


def _step(method: str, setting: str, told: Sequence[str]) -> Recipe:
    if not told:
        return ()
    return (Step(method, items.method(method).changed({setting: "; ".join(told)})),)


def alternatives(text: str) -> list[str]:
    """Return the recipes that a text stands for in which settings may be lists, such as ``a.b(bits=[4, 8])``.

    Args:
        text: A recipe; of several lists every combination is taken.

    Raises:
        RecipeError: The text is no recipe, its steps make no sense in that order, or a list is empty.
        SettingError: A setting is unknown or out of range.
        UnknownItemError: There is no such method.
    """
    every: list[list[tuple[str, Mapping[str, object]]]] = [[]]
    for name, given in (recipe.read_call(call, "search: choices") for call in text.split(">")):
        lists = {key: value if isinstance(value, list) else [value] for key, value in given.items()}
        if empty := [key for key, value in lists.items() if not value]:
            raise RecipeError(f"search: choices {text!r}: {empty[0]}=[] stands for nothing; give values")
        some = [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]
        every = [[*made, (name, one)] for made in every for one in some]
    found = [recipe.write(tuple(Step(n, items.method(n).changed(g)) for n, g in made)) for made in every]
    for one in found:
        recipe.parse(one)
    return found
