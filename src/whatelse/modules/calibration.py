"""What enters each layer while calibration data pass: seen batch by batch, never kept, however many examples pass."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_leaves
from torch.utils.hooks import RemovableHandle

from whatelse.modules.walk import Layer

# Bytes that the largest output of a part may take in one pass, and that one piece of what a layer reads may take.
_OUTPUT, _ROOM = 2**22, 2**24
# Why a layer that calibration inputs did reach is left alone all the same: a router before it now sends all elsewhere.
UNREACHED = "no calibration input reaches it once the layers before it are compressed"


@torch.no_grad()
def batches(model: nn.Module, inputs: Tensor, most: int = 256) -> Iterator[Tensor]:
    """Return inputs in batches small enough that the memory of a pass does not grow with their number.

    None has a single example where there are more: some models drop the dimension of one.

    Args:
        model: Passes one small batch first, to see how large its activations are.
        inputs: ``(N, ...)``.
        most: Examples in a batch, where they are small.

    Yields:
        Consecutive examples, ``(n, ...)``.
    """
    largest = 1

    def see(part: nn.Module, given: object, output: object) -> None:
        nonlocal largest
        del part, given
        largest = max([largest, *(leaf.nbytes for leaf in tree_leaves(output) if isinstance(leaf, Tensor))])

    handles = [part.register_forward_hook(see) for part in model.modules()]
    few = inputs[:2]
    with hooked(model, handles):
        model(few)
    yield from split(inputs, min(most, max(2, _OUTPUT * len(few) // largest)))


def split(whole: Tensor, size: int) -> list[Tensor]:
    """Return a tensor in parts along its first axis; a last part of one joins the one before.

    Args:
        whole: ``(N, ...)``.
        size: Rows of a part.
    """
    parts = list(torch.split(whole, size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


@contextmanager
def hooked(model: nn.Module, handles: Iterable[RemovableHandle]) -> Generator[None, None, None]:
    """Keep every ``nn.TransformerEncoder`` from packing padded inputs into nested tensors, which bear no hooks.

    Args:
        model: Has the hooks.
        handles: Remove them; done at the end.

    Yields:
        Nothing.
    """
    packs = [m for m in model.modules() if isinstance(m, nn.TransformerEncoder) and m.use_nested_tensor]
    try:
        for encoder in packs:
            encoder.use_nested_tensor = False
        yield
    finally:
        for encoder in packs:
            encoder.use_nested_tensor = True
        for handle in handles:
            handle.remove()


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
        see: Called with a layer's name and one batch of its inputs; never with an empty one.
        batch: Most examples a pass.
    """
    for part in batches(model, inputs, batch):
        _pass(model, layers, part, see)


def _pass(model: nn.Module, layers: Mapping[str, nn.Module], x: Tensor, see: Callable[[str, Tensor], None]) -> None:
    with hooked(model, watching(layers, see)):
        model(x)


def watching(layers: Mapping[str, nn.Module], see: Callable[[str, Tensor], None]) -> list[RemovableHandle]:
    """Return hooks that show what enters layers, whoever passes the model.

    Args:
        layers: The layers to watch, by name.
        see: Called with a layer's name and what enters it; never with an empty one.
    """

    def hook(name: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        def show(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = (*args, *kwargs.values())[0].detach()
            if given.numel():  # an expert to which nothing goes may be called all the same
                see(name, given)

        return show

    return [layer.register_forward_pre_hook(hook(name), with_kwargs=True) for name, layer in layers.items()]


@torch.no_grad()
def reach(model: nn.Module, layers: Mapping[str, nn.Module], inputs: Tensor) -> tuple[list[str], Tensor]:
    """Return the layers that some input reaches, in the order of the calls, and a few inputs that reach them.

    Not every input reaches every layer, as where each goes to an expert: inputs pass until all layers were called.

    Args:
        model: In evaluation mode.
        layers: The layers to look for, by name.
        inputs: ``(N, ...)``.
    """
    order: list[str] = []
    few, kept = inputs[:2], []
    for part in chain([few], batches(model, inputs)):
        now: dict[str, None] = {}
        _pass(model, layers, part, lambda name, _: now.setdefault(name))  # noqa: B023 - used here
        if now.keys() - set(order) or part is few:
            kept.append(part)
        order = _merged(order, list(now))
        if len(order) == len(layers):
            break
    return order, torch.cat(kept)


def _merged(order: list[str], now: list[str]) -> list[str]:
    """Return one order of calls with those of another pass put in behind what they came behind there."""
    whole, at = list(order), 0
    for name in now:
        if name not in whole:
            whole.insert(at, name)
        at = max(at, whole.index(name) + 1)
    return whole


def columns(layer: Layer, x: Tensor) -> Tensor:
    """Return what the rows of a layer's weight matrix are multiplied with, ``(groups, fan-in, places)``.

    For every group of a convolution ``weight.flatten(1)[rows of the group] @ columns[group]`` is the layer's output
    without its bias, places running over examples and positions.

    Args:
        layer: A convolution or linear layer.
        x: Its input, ``(N, in, height, width)``, or for one example without the first axis, or ``(..., in)``.
    """
    if isinstance(layer, nn.Linear):
        return x.reshape(1, -1, layer.in_features).mT
    return _patches(layer, _padded(layer, x))


def pieces(layer: Layer, x: Tensor, room: int = _ROOM) -> Iterator[Tensor]:
    """Return the columns of a layer in double precision, a few places at a time.

    Args:
        layer: A convolution or linear layer.
        x: Its input, as `columns` takes it.
        room: Bytes that a piece may take; one row of one example's output is the least.

    Yields:
        What `columns` returns of some of the places; together they are all of them, each once.
    """
    place = layer.weight[0].numel() * 8
    if isinstance(layer, nn.Linear):
        for part in torch.split(x.reshape(-1, layer.in_features), max(1, room // place)):
            yield part.double().mT[None]
        return
    whole = _padded(layer, x)
    high, wide = (
        (size - d * (k - 1) - 1) // s + 1
        for size, k, d, s in zip(whole.shape[-2:], layer.kernel_size, layer.dilation, layer.stride, strict=True)
    )
    row = place * layer.groups * wide
    rows, examples = min(high, max(1, room // row)), max(1, room // (row * high))
    reach, step = layer.dilation[0] * (layer.kernel_size[0] - 1) + 1, layer.stride[0]
    for part in torch.split(whole, examples):
        for top in range(0, high, rows):
            count = min(rows, high - top)
            yield _patches(layer, part[:, :, top * step : (top + count - 1) * step + reach]).double()


def _padded(layer: nn.Conv2d, x: Tensor) -> Tensor:
    x = x if x.dim() == 4 else x[None]
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return functional.pad(x, layer._reversed_padding_repeated_twice, mode=mode)  # noqa: SLF001 - also where padding is a word


def _patches(layer: nn.Conv2d, x: Tensor) -> Tensor:
    patches = functional.unfold(x, layer.kernel_size, layer.dilation, 0, layer.stride)
    grouped = patches.view(len(x), layer.groups, layer.weight[0].numel(), -1)
    return grouped.permute(1, 2, 0, 3).flatten(2)


# Shows what enters layers of a model while inputs pass: `watch`, or what passes them otherwise.
Watch = Callable[[nn.Module, Mapping[str, nn.Module], Tensor, Callable[[str, Tensor], None]], None]


def grams(model: nn.Module, layers: Mapping[str, Layer], inputs: Tensor, watch: Watch = watch) -> dict[str, Tensor]:
    """Return the mean of ``x x^T`` over all places for every layer, ``(groups, fan-in, fan-in)`` float64.

    With ``H`` this mean, the mean squared change of a layer's output under a change ``D`` of its weight rows is
    ``sum(diag(D H D^T))``.

    A layer that none of the inputs reaches is not among them.

    Args:
        model: In evaluation mode.
        layers: The layers, by name.
        inputs: Calibration inputs, ``(N, ...)``.
        watch: Passes them.
    """
    total: dict[str, Tensor] = {}
    places = dict.fromkeys(layers, 0)

    def see(name: str, x: Tensor) -> None:
        for seen in pieces(layers[name], x):
            gram = seen @ seen.mT
            total[name] = total[name].add_(gram) if name in total else gram
            places[name] += seen.shape[2]

    watch(model, layers, inputs, see)
    return {name: gram / places[name] for name, gram in total.items()}


def energies(model: nn.Module, layers: Mapping[str, Layer], inputs: Tensor, watch: Watch = watch) -> dict[str, Tensor]:
    """Return the sum of ``x^2`` over all places for every column of every layer, ``(groups, fan-in)`` float64.

    A layer that none of the inputs reaches is not among them.

    Args:
        model: In evaluation mode.
        layers: The layers, by name.
        inputs: Calibration inputs, ``(N, ...)``.
        watch: Passes them.
    """
    total: dict[str, Tensor] = {}

    def see(name: str, x: Tensor) -> None:
        for seen in pieces(layers[name], x):
            energy = seen.square().sum(2)
            total[name] = total[name].add_(energy) if name in total else energy

    watch(model, layers, inputs, see)
    return total
