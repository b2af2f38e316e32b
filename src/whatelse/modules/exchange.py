"""Put other parts in place of layers, and prove of each that nothing else changes: tried, proved, or undone.

What a model takes of a layer besides calling it, no replacement can know: it reads the weight, asks for the kind or
the width, or has hooks on it. So each part is put in and the model's answers are held against those of the same model
in which the layer stays and only its calls return what the part returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from whatelse.errors import RecipeError
from whatelse.modules.calibration import batches, hooked
from whatelse.modules.walk import place, swap

# Rounding of float32 through a deep network stays near 1e-5 of the outputs' size; another function does not.
CLOSE = 1e-4


@torch.no_grad()
def exchange(model: nn.Module, parts: Mapping[str, nn.Module], inputs: Tensor | None) -> nn.Module:
    """Return the model with parts in place of layers, but for layers where that changes more than what calls return.

    Args:
        model: Changed in place.
        parts: What comes in place of layers, by their name.
        inputs: A few inputs that reach all of these layers; None tries nothing.
    """
    for name, part in parts.items():
        part.train(model.get_submodule(name).training)
    if inputs is None:
        for name, part in parts.items():
            model = swap(model, name, part)
        return model
    made = _tried(model, parts, inputs)
    if made is None:
        made = model
        for name, part in parts.items():
            kept = _tried(made, {name: part}, inputs)
            made = made if kept is None else kept
    return made


def _tried(model: nn.Module, parts: Mapping[str, nn.Module], inputs: Tensor) -> nn.Module | None:
    """Return the model with the parts in place, or None, the model being as it was."""
    few = list(batches(model, inputs))
    said = _as_called(model, parts, few)
    old = {name: model.get_submodule(name) for name in parts}
    nested = {m: m.use_nested_tensor for m in model.modules() if isinstance(m, nn.TransformerEncoder)}
    made = model
    for name, part in parts.items():
        made = swap(made, name, part)
    try:
        if all(same(made(x), wanted) for x, wanted in zip(few, said, strict=True)):
            return made
    except Exception:  # noqa: BLE001, S110 - whatever a model's own forward raises when a layer is another part
        pass
    for name, layer in old.items():
        made = place(made, name, layer)
    for encoder, flag in nested.items():
        encoder.use_nested_tensor = flag
    return None


def _as_called(model: nn.Module, parts: Mapping[str, nn.Module], few: list[Tensor]) -> list[object]:
    """Return what the model answers where every call of a layer returns what its part returns."""

    def instead(part: nn.Module) -> Callable[..., Any]:
        return lambda _, args, kwargs, output: part(*args, *kwargs.values())

    handles = [
        model.get_submodule(name).register_forward_hook(instead(part), with_kwargs=True, prepend=True)
        for name, part in parts.items()
    ]
    with hooked(model, handles):
        return [model(x) for x in few]


def refuse_unused(model: nn.Module, parts: Mapping[str, nn.Module], item: str) -> None:
    """Refuse a model in which none of the parts stands.

    Args:
        model: What `exchange` returned, once or several times.
        parts: What was to be put in.
        item: Who asks, for the message.

    Raises:
        RecipeError: None stands there.
    """
    inside = set(model.modules())
    if parts and not any(part in inside for part in parts.values()):
        raise RecipeError(
            f"{item}: the model reads weights, kinds or sizes of {', '.join(parts)} besides calling them, so that "
            "nothing else can stand there; use a prune method, after which layers are what they were"
        )


def same(one: object, other: object) -> bool:
    """Say whether two answers of a model are the same up to rounding.

    Args:
        one: A tensor, or several in any arrangement.
        other: Of the same arrangement, or not.
    """
    pairs = [[leaf for leaf in tree_leaves(answer) if isinstance(leaf, Tensor)] for answer in (one, other)]
    if [t.shape for t in pairs[0]] != [t.shape for t in pairs[1]]:
        return False
    return all(_close(a.double(), b.double()) for a, b in zip(*pairs, strict=True))


def _close(one: Tensor, other: Tensor) -> bool:
    finite = other[other.isfinite()].abs()
    size = float(finite.max()) if finite.numel() else 0.0
    return torch.allclose(one, other, rtol=0, atol=CLOSE * size, equal_nan=True)
