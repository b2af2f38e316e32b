"""What enters each layer while calibration data pass: seen batch by batch, never kept whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.nets._walk import Layer


@torch.no_grad()
def watch(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    inputs: Tensor,
    see: Callable[[str, Tensor], None],
    batch: int = 256,
) -> None:
    """Pass inputs through the model and show every layer's input as it comes.

    Args:
        model: Left in the mode in which it is.
        layers: The layers to watch, by name.
        inputs: ``(N, ...)``.
        see: Called with a layer's name and one batch of its inputs.
        batch: Examples a pass.
    """

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, given: see(name, given[0].detach())

    hooks = [layer.register_forward_pre_hook(hook(name)) for name, layer in layers.items()]
    try:
        for part in torch.split(inputs, batch):
            model(part)
    finally:
        for handle in hooks:
            handle.remove()


def columns(layer: Layer, x: Tensor) -> Tensor:
    """Return what the rows of a layer's weight matrix are multiplied with, ``(groups, fan-in, places)``.

    For every group of a convolution ``weight.flatten(1)[rows of the group] @ columns[group]`` is the layer's output
    without its bias, places running over examples and positions.

    Args:
        layer: A convolution or linear layer.
        x: Its input, ``(N, in, height, width)`` or ``(..., in)``.
    """
    if isinstance(layer, nn.Linear):
        return x.reshape(1, -1, layer.in_features).mT
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    x = functional.pad(x, layer._reversed_padding_repeated_twice, mode=mode)  # noqa: SLF001 - also where padding is a word
    patches = functional.unfold(x, layer.kernel_size, layer.dilation, 0, layer.stride)
    grouped = patches.view(len(x), layer.groups, layer.weight[0].numel(), -1)
    return grouped.permute(1, 2, 0, 3).flatten(2)


def grams(model: nn.Module, layers: Mapping[str, Layer], inputs: Tensor) -> dict[str, Tensor]:
    """Return the mean of ``x x^T`` over all places for every layer, ``(groups, fan-in, fan-in)`` float64.

    With ``H`` this mean, the mean squared change of a layer's output under a change ``D`` of its weight rows is
    ``sum(diag(D H D^T))``.

    Args:
        model: In evaluation mode.
        layers: The layers, by name.
        inputs: Calibration inputs, ``(N, ...)``.
    """
    total: dict[str, Tensor] = {}
    places = dict.fromkeys(layers, 0)

    def see(name: str, x: Tensor) -> None:
        seen = columns(layers[name], x).double()
        total[name] = total.get(name, torch.zeros(())) + seen @ seen.mT
        places[name] += seen.shape[2]

    watch(model, layers, inputs, see)
    return {name: gram / places[name] for name, gram in total.items()}
