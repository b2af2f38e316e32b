"""What methods that round share: which layers they treat, how these are stored, and the bounds of activations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whatelse.errors import RecipeError
from whatelse.layers.quantized import Quantized, fits
from whatelse.nets import _calibration, _walk
from whatelse.nets._walk import Layer


@dataclass(frozen=True)
class Widths:
    """How a layer is rounded, as `Quantized` takes it.

    Attributes:
        bits: Bits a weight.
        activation_bits: Bits an activation; 0 takes those of the weights, 32 leaves activations as they are.
        grid: What one scale serves.
        group: Consecutive inputs of a channel that one scale serves, where the grid is by group.
        symmetric: False gives every scale a zero point.
    """

    bits: int
    activation_bits: int
    grid: str
    group: int
    symmetric: bool

    def of(self, layer: Layer) -> Quantized:
        """Return the quantized form of a layer, rounded to the nearest, bounds of activations not set.

        Args:
            layer: One that `treatable` returned.
        """
        width = self.activation_bits or self.bits
        return Quantized.of(layer, self.bits, width, grid=self.grid, group=self.group, symmetric=self.symmetric)


def treatable(model: nn.Module, inputs: Tensor, item: str) -> dict[str, Layer]:
    """Return the layers that can be stored rounded, by name, in the order in which they are first called.

    Left out, besides those that `_walk.layers` leaves out: convolutions that pad unevenly or with other than zeros,
    weights that are not float32, and layers that no forward pass calls.

    Args:
        model: In evaluation mode.
        inputs: Calibration inputs; the first is passed.
        item: Who asks, for the message.

    Raises:
        RecipeError: There is none.
    """
    layers = {name: layer for name, layer in _walk.layers(model).items() if fits(layer)}
    called: dict[str, None] = {}
    _calibration.watch(model, layers, inputs[:1], lambda name, _: called.setdefault(name))
    if not called:
        raise RecipeError(f"{item}: no convolution or linear layer is left to quantize; use it once, on float weights")
    return {name: layers[name] for name in called}


@torch.no_grad()
def set_bounds(tight: Quantized, bounds: tuple[Tensor, Tensor]) -> None:
    """Set the bounds between which a layer rounds its inputs.

    Args:
        tight: The layer; nothing changes if it rounds none.
        bounds: Smallest and largest.
    """
    if tight.round_input.straight_through:
        tight.round_input.low.copy_(bounds[0])
        tight.round_input.high.copy_(bounds[1])


@torch.no_grad()
def bounds(model: nn.Module, layers: dict[str, Layer], inputs: Tensor, clip: float) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the smallest and largest input of each layer, with a share cut off at either end.

    Zero is always inside.

    Args:
        model: In evaluation mode.
        layers: The layers, by name.
        inputs: Calibration inputs, ``(N, ...)``; only what may be cut off is kept.
        clip: Share of all values that is cut off at either end.
    """
    sizes = dict.fromkeys(layers, 0)

    def measure(name: str, x: Tensor) -> None:
        sizes[name] += x.numel()

    _calibration.watch(model, layers, inputs[:1], measure)
    beyond = {name: int(clip * (size * len(inputs) - 1)) for name, size in sizes.items()}
    ends: dict[str, tuple[Tensor, Tensor]] = {}

    def see(name: str, x: Tensor) -> None:
        low, high = ends.get(name, (x.new_empty(0),) * 2)
        ends[name] = (
            _tail(torch.cat([low, x.flatten()]), beyond[name]),
            -_tail(-torch.cat([high, x.flatten()]), beyond[name]),
        )

    _calibration.watch(model, layers, inputs, see)
    return {name: inside(low[-1], high[-1]) for name, (low, high) in ends.items()}


def tails(x: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """Return the smallest and largest value of a tensor, with a share cut off at either end; zero is always inside.

    Args:
        x: Of any shape.
        clip: Share of the values that is cut off at either end.
    """
    flat = x.flatten()
    beyond = int(clip * (len(flat) - 1))
    return inside(_tail(flat, beyond)[-1], -_tail(-flat, beyond)[-1])


def inside(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return bounds with zero inside, as zero is padding and the dead side of a ReLU.

    Args:
        low: Smallest value.
        high: Largest value.
    """
    return low.clamp(max=0), high.clamp(min=torch.finfo(high.dtype).tiny)


def _tail(flat: Tensor, beyond: int) -> Tensor:
    return flat.topk(min(beyond + 1, len(flat)), largest=False).values
