"""The axes of a model's layers: of every choice what it makes of each layer, and whether that is worth a choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from whatelse import items
from whatelse.errors import RecipeError, SettingError
from whatelse.modules import calibration
from whatelse.modules.walk import copied, layers, place
from whatelse.search.space import ALONE, LAYER, Axis, Space, alternatives
from whatelse.tasks.task import Task

# Per layer bits, sparsity with bits, and rank with bits: what can be stored small in this package's format.
CHOICES = (
    "quantize.uniform(bits=[8, 6, 5, 4, 3, 2], activation_bits=32)",
    "prune.magnitude(sparsity=[0.5, 0.7, 0.85]) > quantize.uniform(bits=[8, 6, 5, 4, 3, 2], activation_bits=32)",
    "decompose.svd(rank=[0.5, 0.25]) > quantize.uniform(bits=[8, 4], activation_bits=32)",
)

Parts = dict[tuple[int, int], nn.Module]


def space_of(
    model: nn.Module,
    task: Task,
    choices: Sequence[str],
    then: str,
    cost: Callable[[nn.Module], float],
    seed: int,
) -> tuple[Space, Parts]:
    """Return the space in which every layer has the choices that it takes, and what each makes of it.

    A layer takes a choice that changes what is to be made small: one that raises, that the method leaves alone, or that
    is as large as the layer is dropped for it. Options stand in the order of their size, the largest first.

    Args:
        model: The baseline, frozen and in evaluation mode.
        task: Its calibration split shows layers their inputs.
        choices: Recipes for one layer, whose settings may be lists.
        then: A recipe that trains what was made smaller; empty for nothing.
        cost: What is to be made small.
        seed: Of what methods draw.

    Raises:
        SettingError: No layer takes any of the choices.
        RecipeError: A choice cannot be read, or holds a method that does not go by layers.
    """
    texts = [text for choice in choices for text in alternatives(choice)]
    names, _ = calibration.reach(model, layers(model), task.calibration.inputs)
    whole = cost(model)
    found: dict[str, list[tuple[float, str, nn.Module]]] = {name: [] for name in names}
    last = ""
    for text in dict.fromkeys(texts):
        try:
            made = _treated(model, names, text, task, seed)
        except RecipeError as error:
            last = str(error)
            continue
        for name, part in made.items():
            size = cost(_with(model, name, part))
            if size < whole:
                found[name].append((size, text, part))
    axes: list[Axis] = []
    parts: Parts = {}
    for name, options in found.items():
        if options:
            options.sort(key=lambda one: -one[0])
            parts |= {(len(axes), at + 1): part for at, (_, _, part) in enumerate(options)}
            axes.append(Axis(LAYER, name, (ALONE, *(text for _, text, _ in options))))
    if not axes:
        why = f" ({last})" if last else ""
        raise SettingError(f"search: the space is empty: no layer of this model becomes smaller by any choice{why}")
    return Space(tuple(axes), then), parts


def _treated(model: nn.Module, names: Sequence[str], text: str, task: Task, seed: int) -> dict[str, nn.Module]:
    """Return what a choice makes of every layer that takes it.

    Raises:
        RecipeError: No layer takes it.
    """
    try:
        return _changed(model, names, text, task, seed)
    except RecipeError:
        if len(names) == 1:
            raise
    found: dict[str, nn.Module] = {}
    last: RecipeError | None = None
    for name in names:
        try:
            found |= _changed(model, [name], text, task, seed)
        except RecipeError as error:
            last = error
    if not found and last is not None:
        raise last
    return found


def _changed(model: nn.Module, names: Sequence[str], text: str, task: Task, seed: int) -> dict[str, nn.Module]:
    method = items.method("mixed.layers")
    config = method.configure({"layers": "; ".join(f"{name}: {text}" for name in names)})
    made = method.compress(model, config, task, torch.Generator().manual_seed(seed))
    return {name: made.get_submodule(name).eval().requires_grad_(requires_grad=False) for name in names}


def _with(model: nn.Module, name: str, part: nn.Module) -> nn.Module:
    return place(copied(model), name, part)


def swapped(model: nn.Module, parts: Mapping[str, nn.Module]) -> nn.Module:
    """Return a copy of a model with parts in place of layers.

    Args:
        model: The model.
        parts: By the names of the layers.
    """
    made = copied(model)
    for name, part in parts.items():
        made = place(made, name, part)
    return made
