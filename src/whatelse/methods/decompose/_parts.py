"""What decompositions share: how much rank to keep, and the chain of smaller layers in place of one."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from whatelse.modules.calibration import reach
from whatelse.modules.exchange import exchange, refuse_unused
from whatelse.modules.walk import Layer

_Kind = TypeVar("_Kind", bound=Layer)


def rank_of(values: Tensor, share: float, energy: float) -> int:
    """Return the rank to keep, at least 1.

    Args:
        values: Singular values, largest first.
        share: Share of the full rank, rounded up; used where ``energy`` is 0.
        energy: Share of the squared singular values that the smallest sufficient rank keeps.
    """
    if not energy:
        return max(1, math.ceil(share * len(values)))
    kept = values.double().square().cumsum(0)
    enough = kept >= energy * kept[-1] * (1 - 1e-12)  # so that rounding of the sum asks for no more than all
    return int(enough.int().argmax()) + 1


def chain(layer: Layer, parts: Mapping[str, tuple[dict[str, Any], Tensor]]) -> nn.Sequential:
    """Return a chain of smaller layers in place of one; the last has the bias.

    Args:
        layer: A convolution or linear layer, whose kind, type and bias the parts take over.
        parts: For every part, by name, the arguments of its constructor and its weight.
    """
    made: OrderedDict[str, nn.Module] = OrderedDict()
    tensors = {f"{name}.weight": weight for name, (_, weight) in parts.items()}
    last = list(parts)[-1]
    if layer.bias is not None:
        tensors[f"{last}.bias"] = layer.bias
    with torch.device("meta"):
        for name, (arguments, _) in parts.items():
            bias = name == last and layer.bias is not None
            made[name] = type(layer)(**arguments, bias=bias, dtype=layer.weight.dtype)
    whole = nn.Sequential(made).to_empty(device=layer.weight.device)
    whole.load_state_dict(tensors)
    return whole.requires_grad_(layer.weight.requires_grad)


def reached(model: nn.Module, layers: Mapping[str, _Kind], inputs: Tensor) -> tuple[dict[str, _Kind], Tensor | None]:
    """Return the layers that some input reaches, and a few inputs that reach them.

    All layers and no inputs are returned where the model cannot take these: weights can be decomposed without data, and
    a recipe refuses a model that does not fit its task.

    Args:
        model: In evaluation mode.
        layers: The layers to look for, by name.
        inputs: Calibration inputs.
    """
    try:
        names, few = reach(model, layers, inputs)
    except Exception:  # noqa: BLE001 - whatever a model raises of inputs that are not its own
        return dict(layers), None
    return {name: layer for name, layer in layers.items() if name in names}, few


def replaced(
    model: nn.Module, layers: Mapping[str, Layer], parts: Mapping[str, nn.Module], few: Tensor | None, item: str
) -> nn.Module:
    """Return the model with parts in place of layers, except where the model takes more of a layer than its calls.

    Args:
        model: Changed in place.
        layers: The layers, by name.
        parts: What comes in place of each, the layer itself where it would not shrink.
        few: Inputs that reach these layers, on which each part is tried; None tries none.
        item: Who asks, for the message.

    Raises:
        RecipeError: No layer can be replaced.
    """
    new = {name: part for name, part in parts.items() if part is not layers[name]}
    made = exchange(model, new, few)
    refuse_unused(made, new, item)
    return made


def spatial(layer: nn.Conv2d) -> dict[str, Any]:
    """Return the arguments by which a convolution moves over its input.

    Args:
        layer: A convolution.
    """
    names = ("kernel_size", "stride", "padding", "dilation", "padding_mode")
    return {name: getattr(layer, name) for name in names}


def through(entering: int, leaving: int) -> dict[str, Any]:
    """Return the arguments of a 1x1 convolution.

    Args:
        entering: Channels that it takes.
        leaving: Channels that it gives.
    """
    return {"in_channels": entering, "out_channels": leaving, "kernel_size": 1}
