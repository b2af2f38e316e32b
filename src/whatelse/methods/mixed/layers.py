"""Treat every layer by a recipe of its own: some pruned, some in few bits, some decomposed, some left alone.

``layers`` names layers, or parts that stand in place of one, with a recipe each:
``conv1: prune.magnitude(sparsity=0.5) > quantize.uniform(bits=4); fc: decompose.svd(rank=0.25)``. Each recipe is
applied to its layer alone, whose calibration inputs are what reaches the layer in the whole model, so that only methods
are taken that go by a layer's weights and inputs (`LAYERWISE`): global ranks, losses and training are of the whole
model. Inputs are those of the model as it was given: no layer makes up for the errors of the layers before it. Of a
layer that is called several times in a pass the inputs of all calls are taken together.

Layers are replaced one by one where all together change more than what their calls return; one of which the model takes
more than its calls (it reads the weight, asks for the kind, has a hook) stays as it was, and is named.

Source:
    Mixed precision and mixed compression by layer: Dong et al., HAWQ, ICCV 2019, arXiv:1905.03696; Frantar & Alistarh,
    SPDY, ICML 2022, arXiv:2201.13096.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whatelse import items, recipe
from whatelse.errors import RecipeError, WhatElseError, nearest
from whatelse.modules import calibration
from whatelse.modules.exchange import exchange, refuse_unused
from whatelse.modules.walk import copied
from whatelse.recipe import Recipe
from whatelse.settings import param
from whatelse.tasks.task import SPLITS, Split, Task

VERSION, KNOB, TAKES, LEAVES = 1, "", {"dense", "sparse"}, ""

_HELD = 256 * 2**20  # bytes of layer inputs that are held at once
_TWO = 2  # examples that show how large they are


@dataclass(frozen=True)
class Config:
    """Settings of treating layers each in its own way."""

    layers: str = param("", "Layers with a recipe each, as 'name: recipe; name: recipe'.", recipe="parts")


@torch.no_grad()
def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a copy in which every named layer was treated by its own recipe.

    Args:
        model: Any module.
        config: The layers and their recipes.
        task: Its calibration split gives the inputs of layers.
        rng: Source of what a method draws.

    Raises:
        RecipeError: A name or a recipe is wrong, or a layer cannot be treated so; the message names the layer.
    """
    small, asked = copied(model), recipe.parts(config.layers)
    if not asked:
        raise RecipeError("mixed.layers: layers is empty; give 'name: recipe; name: recipe'")
    named = {name: _named(small, name) for name in asked}
    for steps in asked.values():
        _check(steps, task)
    order, few = calibration.reach(small, named, task.calibration.inputs)
    if len(order) < len(named):
        lost = next(name for name in named if name not in order)
        raise RecipeError(f"mixed.layers: no calibration input reaches {lost!r}; leave it out, or give other data")
    made: dict[str, nn.Module] = {}
    # Where values of inputs decide nothing, those that reach the layer at all are enough.
    for looks, shown in ((True, task.calibration.inputs), (False, few)):
        mine = {name: part for name, part in named.items() if _looks(asked[name]) is looks}
        for names in _in_turn(small, mine, shown) if mine else ():
            for name, inputs in _inputs(small, {n: mine[n] for n in names}, shown).items():
                made[name] = _treated(name, mine[name], asked[name], inputs, rng)
    small = exchange(small, made, few)
    refuse_unused(small, made, "mixed.layers")
    return small


def _named(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        known = [known for known, part in model.named_modules() if known and next(part.parameters(), None) is not None]
        raise RecipeError(f"mixed.layers: the model has no part {name!r}; {nearest(name, known)}") from error


def _check(steps: Recipe, task: Task) -> None:
    for step in steps:
        method = items.method(step.name)
        trains = method.effort is not None and method.effort(method.configure(dict(step.given)), task) > 0
        if trains or not method.layerwise:
            raise RecipeError(
                f"mixed.layers: {step} does not go by a layer's weights and inputs alone; put it before or after, "
                "for the whole model"
            )


def _looks(steps: Recipe) -> bool:
    """Return whether a recipe goes by the values of its layer's inputs."""
    for step in steps:
        method = items.method(step.name)
        if method.looks is None or method.looks(method.configure(dict(step.given))):
            return True
    return False


def _in_turn(model: nn.Module, named: Mapping[str, nn.Module], inputs: Tensor) -> list[list[str]]:
    """Return the layers in portions whose inputs are held together."""
    sizes = {name: 0 for name in named}

    def see(name: str, x: Tensor) -> None:
        sizes[name] += x.numel() * x.element_size() * len(inputs) // _TWO

    calibration.watch(model, named, inputs[:_TWO], see)
    portions: list[list[str]] = [[]]
    for name, size in sizes.items():
        if portions[-1] and sum(sizes[n] for n in portions[-1]) + size > _HELD:
            portions.append([])
        portions[-1].append(name)
    return portions


def _inputs(model: nn.Module, named: Mapping[str, nn.Module], inputs: Tensor) -> dict[str, Tensor]:
    seen: dict[str, list[Tensor]] = {name: [] for name in named}
    calibration.watch(model, named, inputs, lambda name, x: seen[name].append(x.detach().clone()))
    return {name: torch.cat(found) for name, found in seen.items()}


def _treated(name: str, layer: nn.Module, steps: Recipe, inputs: Tensor, rng: torch.Generator) -> nn.Module:
    # No method here reads labels; a task must have some.
    labels = torch.arange(len(inputs)) % 2
    split = Split(inputs, labels, labels)
    alone = Task(f"inputs of {name}", 2, None, dict.fromkeys(SPLITS, split))
    part = layer
    for step in steps:
        try:
            part = recipe.apply(step, part, alone, rng)
        except WhatElseError as error:
            raise RecipeError(f"mixed.layers: {name}: {error}") from error
    return part
