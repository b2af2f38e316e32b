"""Replace the weight of a linear layer by a tensor in Tucker form over the modes of its input.

``W (out, in)`` is seen as a tensor ``(I1, ..., IN, out)`` with ``I1 * ... * IN = in`` and becomes
``core x_1 U_1 ... x_N U_N x_out U_out`` by higher-order orthogonal iteration from the HOSVD. It then holds
``prod R + sum I_n R_n`` numbers (over the output too) in place of ``in * out``, and is computed without forming the
weight. Modes are those of the map that enters, such as channels x height x width, where its size is that of the layer's
input; else two factors of the input, as near to a square as there are. Ranks are the share ``rank`` of every mode,
rounded up, or those of ``ranks``. Continue with ``train.finetune``, or with ``train.scratch`` for a layer that is
trained in this form from random weights, as the paper does it.

One layer is replaced, by default the one with most weights; everything else is left alone, and so is a layer that would
not shrink.

Source:
    Calvi, Moniri, Mahfouz, Zhao & Mandic, Compression and interpretability of deep neural networks via Tucker tensor
    layer, 2019, arXiv:1903.06133; HOOI: De Lathauwer, De Moor & Vandewalle, SIAM J. Matrix Anal. Appl. 21(4), 2000.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from whatelse.errors import RecipeError, nearest
from whatelse.layers.tensor import TensorLayer
from whatelse.methods.decompose._parts import reached
from whatelse.methods.decompose._tucker import tucker
from whatelse.modules.exchange import exchange, refuse_unused
from whatelse.modules.walk import copied, layers
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, KNOB, TAKES, LEAVES = 1, "rank", {"dense"}, "dense"
LAYERWISE = True


@dataclass(frozen=True)
class Config:
    """Settings of the Tucker tensor layer."""

    rank: float = param(0.5, "Ranks kept, as a share of the size of every mode.", low=0.0, high=1.0)
    ranks: str = param("", "Ranks in place of that share, those of the input modes, then the output's: 8x8x12.")
    modes: str = param("", "Modes of the layer's input, such as 28x28; found by themselves where empty.")
    layer: str = param("", "Name of the linear layer; the one with most weights where empty.")
    rounds: int = param(10, "Rounds of orthogonal iteration; 0 leaves the HOSVD.", low=0, high=1000)


@torch.no_grad()
def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a copy in which one linear layer is a tensor layer.

    Args:
        model: Any module with a linear layer.
        config: Which layer, which modes and how much rank.
        task: A few of its calibration inputs show which layers are called, and the shape of what enters one.
        rng: Not used; the method is deterministic.

    Raises:
        RecipeError: There is no such layer, or modes or ranks do not fit it.
    """
    del rng
    small, inputs = copied(model), task.calibration.inputs
    linear = {n: m for n, m in layers(small).items() if isinstance(m, nn.Linear)}
    if not linear:
        raise RecipeError("decompose.tensor_layer: no linear layer to decompose; decompose before quantizing")
    if config.layer and config.layer not in linear:
        raise RecipeError(f"decompose.tensor_layer: no linear layer {config.layer!r}; {nearest(config.layer, linear)}")
    found, few = reached(small, linear, inputs)
    seen = inputs[:1] if few is None else few
    named = [n for n in sorted(found, key=lambda n: -found[n].weight.numel()) if n == (config.layer or n)]
    parts: dict[str, nn.Module] = {}
    for name in named:
        parts[name] = _tensor_layer(name, linear[name], config, partial(_modes, small, linear[name], seen))
        if parts[name] is linear[name]:
            return small
        small = exchange(small, {name: parts[name]}, few)
        if any(part is parts[name] for part in small.modules()):
            return small
    refuse_unused(small, parts, "decompose.tensor_layer")
    raise RecipeError(f"decompose.tensor_layer: no calibration input reaches {config.layer or 'any linear layer'}")


def _numbers(text: str, field: str) -> tuple[int, ...]:
    parts = text.split("x") if text else []
    if not all(part.isdecimal() and int(part) for part in parts):
        raise RecipeError(f"decompose.tensor_layer: {field}={text!r} is not of the form 28x28")
    return tuple(map(int, parts))


def _tensor_layer(name: str, layer: nn.Linear, config: Config, found: Callable[[], tuple[int, ...]]) -> nn.Module:
    """Return a tensor layer in place of a linear one, or the layer itself where it would not shrink.

    Raises:
        RecipeError: Modes or ranks do not fit it.
    """
    modes = _numbers(config.modes, "modes") or found()
    if math.prod(modes) != layer.in_features:
        taken = f"{layer.in_features}, the inputs of {name!r}"
        raise RecipeError(f"decompose.tensor_layer: modes {config.modes} do not multiply to {taken}")
    sizes = (*modes, layer.out_features)
    ranks = _numbers(config.ranks, "ranks") or tuple(max(1, math.ceil(config.rank * size)) for size in sizes)
    if len(ranks) != len(sizes) or any(r > size for r, size in zip(ranks, sizes, strict=True)):
        limits = "x".join(map(str, sizes))
        raise RecipeError(f"decompose.tensor_layer: ranks {config.ranks} do not fit {name!r}; at most {limits}")
    if math.prod(ranks) + sum(r * s for r, s in zip(ranks, sizes, strict=True)) >= layer.weight.numel():
        return layer
    return _made(layer, modes, ranks, config.rounds)


def _made(layer: nn.Linear, modes: tuple[int, ...], ranks: tuple[int, ...], rounds: int) -> nn.Module:
    sizes = (*modes, layer.out_features)
    core, factors = tucker(layer.weight.double().mT.reshape(sizes), dict(enumerate(ranks)), rounds)
    made = TensorLayer(modes, layer.out_features, ranks, bias=layer.bias is not None)
    made.to(layer.weight)
    *enter, leave = factors.values()
    for mine, given in zip((*made.factors, made.leave, made.core), (*enter, leave, core), strict=True):
        mine.copy_(given)
    if made.bias is not None:
        made.bias.copy_(layer.bias)
    return made.requires_grad_(layer.weight.requires_grad)


def _modes(model: nn.Module, layer: nn.Linear, example: Tensor) -> tuple[int, ...]:
    """Return the shape of the last map before the layer that has the size of its input, without modes of size one."""
    shapes, found = [example.shape[1:]], []

    def passed(part: nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
        del inputs
        if part is layer:
            found.extend(shapes)
        elif isinstance(output, Tensor):
            shapes.append(output.shape[1:])

    hooks = [part.register_forward_hook(passed) for part in model.modules()]
    try:
        model(example)
    finally:
        for hook in hooks:
            hook.remove()
    for shape in reversed(found):
        large = tuple(size for size in shape if size > 1)
        if len(large) > 1 and math.prod(large) == layer.in_features:
            return large
    low = next(n for n in range(math.isqrt(layer.in_features), 0, -1) if layer.in_features % n == 0)
    return (layer.in_features // low, low) if low > 1 else (layer.in_features,)
