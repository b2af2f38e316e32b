"""What methods that round share: which layers they treat, how these are stored, and the bounds of activations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whatelse.errors import RecipeError
from whatelse.layers.quantized import UNROUNDED, Quantized, fits
from whatelse.modules import calibration, walk
from whatelse.modules import order as _order
from whatelse.modules.exchange import exchange, refuse_unused
from whatelse.modules.walk import Layer


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

    @property
    def rounds_inputs(self) -> bool:
        """Whether activations are rounded."""
        return (self.activation_bits or self.bits) < UNROUNDED

    def of(self, layer: Layer) -> Quantized:
        """Return the quantized form of a layer, rounded to the nearest, bounds of activations not set.

        Args:
            layer: One that `treatable` returned.
        """
        width = self.activation_bits or self.bits
        return Quantized.of(layer, self.bits, width, grid=self.grid, group=self.group, symmetric=self.symmetric)


def treatable(model: nn.Module, inputs: Tensor, item: str) -> tuple[dict[str, Layer], Tensor]:
    """Return the layers that can be stored rounded, in the order in which they are called, and inputs that reach them.

    Left out, besides those that `_walk.layers` leaves out: convolutions that pad unevenly or with other than zeros,
    weights that are not float32, and layers that no calibration input reaches.

    Args:
        model: In evaluation mode.
        inputs: Calibration inputs.
        item: Who asks, for the message.

    Raises:
        RecipeError: There is none.
    """
    found = walk.layers(model)
    layers = {name: layer for name, layer in found.items() if fits(layer)}
    order, few = calibration.reach(model, layers, inputs)
    if not order:
        kinds = {str(layer.weight.dtype).removeprefix("torch.") for layer in found.values()} - {"float32"}
        wide = f"; weights are {', '.join(sorted(kinds))}, which .float() makes float32" if kinds else ""
        raise RecipeError(
            f"{item}: no convolution or linear layer is left to quantize; use it once, on float32 weights{wide}"
        )
    return {name: layers[name] for name in order}, few


def stored(model: nn.Module, parts: Mapping[str, nn.Module], few: Tensor, item: str) -> nn.Module:
    """Return the model with rounded parts in place of layers, except where the model takes more of a layer than calls.

    Args:
        model: Changed in place.
        parts: By the names of the layers.
        few: Inputs that reach these layers.
        item: Who asks, for the message.

    Raises:
        RecipeError: No layer can be replaced.
    """
    made = exchange(model, parts, few)
    refuse_unused(made, parts, item)
    return made


@torch.no_grad()
def set_bounds(tight: Quantized, bounds: tuple[Tensor, Tensor] | None) -> None:
    """Set the bounds between which a layer rounds its inputs.

    Args:
        tight: The layer.
        bounds: Smallest and largest; None where it rounds none.
    """
    if bounds is not None:
        tight.round_input.low.copy_(bounds[0])
        tight.round_input.high.copy_(bounds[1])


def bounds(
    model: nn.Module, layers: Mapping[str, Layer], inputs: Tensor, widths: Widths, clip: float
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the smallest and largest input of each layer, with a share cut off at either end; none if none is rounded.

    Zero is always inside.

    Args:
        model: In evaluation mode.
        layers: The layers, by name; inputs reach each of them.
        inputs: Calibration inputs, ``(N, ...)``; they pass twice, and none of what they give rise to is kept.
        widths: Whether activations are rounded.
        clip: Share of all values that is cut off at either end.
    """
    if not widths.rounds_inputs:
        return {}

    def stream(see: Callable[[str, Tensor], None]) -> None:
        calibration.watch(model, layers, inputs, see)

    return {name: inside(*ends) for name, ends in _order.tails(stream, clip).items()}


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
