"""The axes of a model's layers: of every choice what it makes of each layer, and whether that is worth a choice."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from whatelse import items, recipe
from whatelse.errors import RecipeError, SettingError
from whatelse.modules import calibration
from whatelse.modules.walk import copied, layers, place
from whatelse.searching.laid import Laid, laid_out
from whatelse.searching.space import LAYER, alternatives
from whatelse.tasks.task import Task

# Per layer bits, sparsity with bits, and rank with bits: what can be stored small in this package's format.
CHOICES = (
    "quantize.uniform(bits=[8, 6, 5, 4, 3, 2], activation_bits=32)",
    "prune.magnitude(sparsity=[0.5, 0.7, 0.85]) > quantize.uniform(bits=[8, 6, 5, 4, 3, 2], activation_bits=32)",
    "decompose.svd(rank=[0.5, 0.25]) > quantize.uniform(bits=[8, 4], activation_bits=32)",
)


def layers_of(
    model: nn.Module, task: Task, choices: Sequence[str], cost: Callable[[nn.Module], float], seed: int
) -> list[Laid]:
    """Return an axis of every layer that becomes smaller by a choice.

    A layer takes a choice that makes it smaller: one that raises, that the method leaves alone, or that is as large as
    the layer is dropped for it. Options stand in the order of their size, the largest first.

    Args:
        model: The baseline, frozen and in evaluation mode.
        task: Its calibration split shows layers their inputs.
        choices: Recipes for one layer, whose settings may be lists.
        cost: What is to be made small.
        seed: Of what methods draw.

    Raises:
        SettingError: No layer takes any of the choices.
        RecipeError: A choice cannot be read, or holds a method that does not go by layers.
    """
    texts = _read(choices)
    names, _ = calibration.reach(model, layers(model), task.calibration.inputs)
    whole, at_hand = cost(model), copied(model)
    found: dict[str, list[tuple[float, str, nn.Module]]] = {name: [] for name in names}
    last = ""
    for text in texts:
        try:
            made = _treated(model, names, text, task, seed)
        except RecipeError as error:
            last = str(error)
            continue
        for name, part in made.items():
            before = at_hand.get_submodule(name)
            size = cost(place(at_hand, name, part))
            place(at_hand, name, before)
            if size < whole:
                found[name].append((size, text, part))
    laid = [
        laid_out(LAYER, name, [(size, text) for size, text, _ in options], whole, [part for _, _, part in options])
        for name, options in found.items()
        if options
    ]
    if not laid:
        why = f" ({last})" if last else ""
        raise SettingError(f"search: the space is empty: no layer of this model becomes smaller by any choice{why}")
    return laid


def _read(choices: Sequence[str]) -> list[str]:
    """Return every recipe that choices stand for, once each.

    Raises:
        RecipeError: A choice cannot be read, or holds a method that does not go by layers.
    """
    texts = list(dict.fromkeys(text for choice in choices for text in alternatives(choice)))
    for step in (step for text in texts for step in recipe.parse(text)):
        if not items.method(step.name).layerwise:
            raise RecipeError(
                f"search: choices: {step} does not go by a layer's weights and inputs alone; choose among methods of "
                "layers, such as quantize.uniform; what trains comes after (then)"
            )
    return texts


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
