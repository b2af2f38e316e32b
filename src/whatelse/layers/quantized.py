"""The layers that compression puts in place of torch's own: packed weights and rounded activations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.layers.compressed import CompressedLayer, linear
from whatelse.layers.exported import Dequantizing, Integers, Unpacking

GRIDS = ("tensor", "channel", "group")
UNROUNDED = 32  # Width of an activation that is left as it is.
_TIE = 1e-4  # Sends ties up whatever the last digit of a quotient; that of symmetric bounds is always a tie.


def pack(codes: Tensor, bits: int) -> Tensor:
    """Return unsigned codes packed into bytes, ``(ceil(n * bits / 8),)`` uint8.

    Args:
        codes: Integers in ``[0, 2**bits)``, of any shape.
        bits: Width of one code, 1 to 8.
    """
    shifts = torch.arange(8, dtype=torch.uint8, device=codes.device)
    stream = (codes.flatten().to(torch.uint8)[:, None] >> shifts[:bits] & 1).flatten()
    stream = functional.pad(stream, (0, -len(stream) % 8)).view(-1, 8)
    return (stream << shifts).sum(1).to(torch.uint8)


def unpack(packed: Tensor, bits: int, count: int) -> Tensor:
    """Return the codes that `pack` packed, ``(count,)`` uint8.

    Args:
        packed: What `pack` returned.
        bits: Width of one code.
        count: How many codes there are.
    """
    shifts = torch.arange(8, dtype=torch.uint8, device=packed.device)
    if 8 % bits == 0:  # no code lies in two bytes  # noqa: PLR2004
        codes: Tensor = packed[:, None] >> shifts[::bits] & 2**bits - 1
        return codes.flatten()[:count]
    stream = (packed[:, None] >> shifts & 1).flatten()[: count * bits]
    return (stream.view(count, bits) << shifts[:bits]).sum(1).to(torch.uint8)


class FakeQuantize(CompressedLayer):
    """Round activations to ``2**bits`` levels between calibrated bounds, gradients passed straight through.

    Levels are ``step * (q - zero)`` with ``q`` in ``[0, 2**bits)``, ``step = (high - low) / (2**bits - 1)`` and the
    integer zero point ``zero = round(-low / step)``, ties up: the bounds, which include zero, are shifted together by
    at most half a step, so that zero, which is padding and the dead side of a ReLU, stays exactly zero. Outside the
    shifted bounds values are clipped and the gradient is zero, as for any clamp. With 32 bits nothing is rounded or
    clipped.
    Source: Jacob et al., Quantization and training of neural networks, CVPR 2018, arXiv:1712.05877;
    straight-through gradients: Bengio et al. 2013, arXiv:1308.3432.
    """

    low: Tensor
    high: Tensor

    def __init__(self, bits: int) -> None:
        super().__init__()
        if not 1 <= bits <= UNROUNDED:
            raise ValueError(f"activations of {bits} bits; allowed are 1 to {UNROUNDED}")
        self.bits = bits
        self.straight_through = bits < UNROUNDED
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.ones(()))

    def arguments(self) -> dict[str, Any]:
        """Return how many bits it rounds to."""
        return {"bits": self.bits}

    def forward(self, x: Tensor) -> Tensor:
        """Return the rounded activations, of the shape of ``x``.

        Args:
            x: Activations of any shape.
        """
        if self.bits >= UNROUNDED:
            return x
        step = (self.high - self.low) / (2**self.bits - 1)
        low = 0 - (_TIE - self.low / step).round() * step  # 0 where low is 0, and high then as it is
        inside = torch.maximum(torch.minimum(x, self.high + (low - self.low)), low)
        rounded = (inside / step).round() * step
        through: Tensor = inside + (rounded - inside).detach()
        return through


class Grid(NamedTuple):
    """The integers that a weight may take and the steps between them, ``w = scale * level``.

    Attributes:
        scale: Step of every weight, ``(out, fan-in)``.
        low: Smallest level of every weight, ``(out, fan-in)``.
        high: Largest level of every weight, ``(out, fan-in)``.
    """

    scale: Tensor
    low: Tensor
    high: Tensor

    def nearest(self, rows: Tensor) -> Tensor:
        """Return the levels nearest to weights, of their shape.

        Args:
            rows: Weights, ``(out, fan-in)``.
        """
        return torch.maximum(torch.minimum((rows / self.scale).round(), self.high), self.low)


class Quantized(CompressedLayer):
    """A convolution or linear layer whose weights are stored as packed codes and computed dequantized.

    A weight is an integer level times a scale, ``w = scale * level``. One scale serves the whole tensor, one output
    channel, or ``group`` consecutive inputs of one channel. Symmetric grids have ``|level| < 2**(bits - 1)``,
    asymmetric ones ``-zero <= level < 2**bits - zero`` with an integer zero point, so zero is always on the grid.
    Stored is ``level`` modulo ``2**bits``, shifted by ``2**(bits - 1)`` where the grid is symmetric.
    """

    codes: Tensor
    scale: Tensor
    zero: Tensor | None
    weight: Tensor
    bias: Tensor | None

    def __init__(
        self,
        like: str,
        shape: Sequence[int],
        bits: int,
        activation_bits: int,
        *,
        bias: bool,
        grid: str = "channel",
        group: int = 0,
        symmetric: bool = True,
        **options: Sequence[int] | int,
    ) -> None:
        super().__init__()
        if not 1 <= bits <= 8 or grid not in GRIDS or (grid == "group") != (group > 0):
            raise ValueError(f"no codes of {bits} bits with a scale by {grid} in groups of {group}")
        self.like, self.shape, self.bits, self.activation_bits = like, tuple(shape), bits, activation_bits
        self.grid, self.group, self.symmetric = grid, group, symmetric
        self.options = ConvOptions(**{n: v if isinstance(v, int) else tuple(v) for n, v in options.items()})  # type: ignore[arg-type] # as JSON has them
        self.round_input = FakeQuantize(activation_bits)
        scales = {"tensor": (1,), "channel": (self.shape[0],)}.get(grid, (self.shape[0], self._blocks()))
        self.register_buffer("bias", torch.zeros(self.shape[0]) if bias else None)
        self.register_buffer("scale", torch.ones(scales))
        self.register_buffer("zero", None if symmetric else torch.zeros(scales, dtype=torch.uint8))
        self.register_buffer("codes", torch.zeros(-(-math.prod(self.shape) * bits // 8), dtype=torch.uint8))
        # Kept beside the codes so that a forward pass need not unpack; derived, hence not saved.
        self.register_buffer("weight", torch.zeros(self.shape), persistent=False)
        self.register_load_state_dict_post_hook(lambda module, _: module.unfold())  # type: ignore[no-untyped-call] # torch's own

    @classmethod
    def of(
        cls,
        layer: nn.Module,
        bits: int,
        activation_bits: int,
        *,
        grid: str = "channel",
        group: int = 0,
        symmetric: bool = True,
    ) -> Quantized:
        """Return the quantized form of a layer, its bounds of activations not yet set.

        Args:
            layer: A convolution or linear layer.
            bits: Width of a weight, 2 to 8.
            activation_bits: Width of an activation; 32 leaves activations as they are.
            grid: What one scale serves: ``tensor``, ``channel`` or ``group``.
            group: How many consecutive inputs of a channel one scale serves, where the grid is by group.
            symmetric: False gives every scale a zero point.

        Raises:
            TypeError: It is another kind of layer.
        """
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            raise TypeError(f"cannot quantize {type(layer).__name__}; allowed are Conv2d and Linear")
        options = options_of(layer)._asdict() if isinstance(layer, nn.Conv2d) else {}
        like = "Conv2d" if isinstance(layer, nn.Conv2d) else "Linear"
        shape, bias, served = layer.weight.shape, layer.bias is not None, group if grid == "group" else 0
        made = cls(
            like, shape, bits, activation_bits, bias=bias, grid=grid, group=served, symmetric=symmetric, **options
        )
        made.to(layer.weight.device)
        if made.bias is not None and layer.bias is not None:
            made.bias.copy_(layer.bias.detach())
        made.fold(layer.weight)
        return made

    def arguments(self) -> dict[str, Any]:
        """Return its shape and its grids."""
        options = self.options._asdict() if self.like == "Conv2d" else {}
        grids = {"bits": self.bits, "activation_bits": self.activation_bits, "grid": self.grid}
        grids |= {"group": self.group, "symmetric": self.symmetric}
        return {"like": self.like, "shape": list(self.shape), "bias": self.bias is not None, **grids, **options}

    def zeros(self) -> Tensor:
        """Return the code that stands for zero, for every weight, ``(weights,)`` uint8."""
        return torch.full((math.prod(self.shape),), self._shift(), dtype=torch.uint8)

    def weights(self) -> list[Tensor]:
        """Return the dequantized weight and the bias."""
        return [self.weight] if self.bias is None else [self.weight, self.bias]

    def plain(self) -> nn.Module | None:
        """Return the layer with its dequantized weight; None where it rounds its inputs, or is a convolution."""
        return None if self.coded() is None else linear(self.weight, self.bias)

    def coded(self) -> Quantized | None:
        """Return itself; None where it rounds its inputs, or is a convolution."""
        return self if self.activation_bits >= UNROUNDED and self.like == "Linear" else None

    def remark(self) -> str:
        """Say that no integer kernel runs."""
        return "stored packed, computed dequantized"

    def levels(self, scale: Tensor | None = None) -> Grid:
        """Return the grid of the weights, with the zero points as they now are.

        Args:
            scale: Scales to use in place of its own, of their shape.
        """
        scale = self._spread(self.scale if scale is None else scale)
        if self.zero is None:
            high = torch.full_like(scale, 2 ** (self.bits - 1) - 1)
            return Grid(scale, -high, high)
        low = -self._spread(self.zero).to(scale.dtype)
        return Grid(scale, low, low + 2**self.bits - 1)

    @torch.no_grad()
    def span(self, weight: Tensor) -> None:
        """Choose scales and zero points so that the grid reaches as far as a weight does.

        Args:
            weight: Of the shape that this layer was made for.
        """
        rows = weight.detach().flatten(1)
        if self.zero is None:
            largest = self.served(rows.abs()).amax(-1).clamp(min=torch.finfo(rows.dtype).tiny)
            self.scale.copy_(largest / (2 ** (self.bits - 1) - 1))
            return
        top = 2**self.bits - 1
        low, high = (self.served(way).amax(-1).clamp(min=0) for way in (-rows, rows))
        self.scale.copy_((low + high).clamp(min=torch.finfo(rows.dtype).tiny * top) / top)
        self.zero.copy_((low / self.scale).round().clamp(0, top))

    def served(self, rows: Tensor) -> Tensor:
        """Return the values that each scale serves, ``(*scales, values)``, missing ones as ``-inf``.

        Args:
            rows: One value a weight, ``(out, fan-in)``.
        """
        if self.grid == "tensor":
            return rows.reshape(1, -1)
        if self.grid == "channel":
            return rows
        rest = self._blocks() * self.group - self._fan_in()
        return functional.pad(rows, (0, rest), value=-math.inf).view(len(rows), -1, self.group)

    @torch.no_grad()
    def take(self, levels: Tensor) -> None:
        """Take over levels that were chosen outside, on the grid as it is, and pack them.

        Args:
            levels: Integers within the bounds of `levels`, ``(out, ...)``.
        """
        self.codes.copy_(pack((levels.to(torch.int16) + self._shift()) % 2**self.bits, self.bits))
        self.unfold()

    @torch.no_grad()
    def fold(self, weight: Tensor) -> None:
        """Take over a weight: choose the scales, round to the nearest level and pack.

        Args:
            weight: The layer's weight, of the shape that this layer was made for.
        """
        self.span(weight)
        self.take(self.levels().nearest(weight.detach().flatten(1)))

    @torch.no_grad()
    def unfold(self) -> None:
        """Make the dequantized weight from the codes anew."""
        self.weight = self.dequantized()

    def dequantized(self) -> Tensor:
        """Return the weight, made of its codes."""
        levels = self._unpacked() - self._shift()
        if self.zero is not None:
            zero = self._spread(self.zero).to(torch.int16)
            levels = (levels + zero) % 2**self.bits - zero
        return (levels.to(self.scale.dtype) * self._spread(self.scale)).view(self.shape)

    def exported(self, kind: str) -> nn.Module:
        """Return the layer in the form in which a file of others keeps its codes.

        Args:
            kind: ``onnx`` or ``pt2``.
        """
        made = deepcopy(self)
        del made.weight
        if kind != "onnx":
            return Unpacking(made)
        del made.codes, made.scale, made.zero
        return Dequantizing(made, self.integers())

    def integers(self) -> Integers:
        """Return its codes and scales, one code a byte."""
        codes, block = self._unpacked(), min(self.group, self._fan_in())
        scale = self.scale.squeeze() if self.grid == "tensor" else self.scale
        if self.zero is None:
            return Integers((codes - self._shift()).to(torch.int8), scale, None, block)
        codes = (codes + self._spread(self.zero).to(torch.int16)) % 2**self.bits
        return Integers(codes.to(torch.uint8), scale, self.zero.view(scale.shape), block)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output for rounded inputs.

        Args:
            x: ``(N, in, ...)``.
        """
        return self.computed(x, self.weight, self.bias)

    def computed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the layer's output for rounded inputs, with a weight and a bias from outside.

        Args:
            x: ``(N, in, ...)``.
            weight: Of the shape of its own.
            bias: ``(out,)``.
        """
        x = self.round_input(x)
        if self.like == "Linear":
            return functional.linear(x, weight, bias)
        o = self.options
        return functional.conv2d(x, weight, bias, o.stride, o.padding, o.dilation, o.groups)

    def _unpacked(self) -> Tensor:
        codes = unpack(self.codes, self.bits, math.prod(self.shape))
        return codes.view(self.shape[0], -1).to(torch.int16)

    def _fan_in(self) -> int:
        return math.prod(self.shape[1:])

    def _blocks(self) -> int:
        return -(-self._fan_in() // self.group) if self.group else 1

    def _shift(self) -> int:
        return 2 ** (self.bits - 1) if self.symmetric else 0

    def _spread(self, values: Tensor) -> Tensor:
        """Return what belongs to each scale for every weight, ``(out, fan-in)``."""
        if self.grid == "group":
            return values.repeat_interleave(min(self.group, self._fan_in()), 1)[:, : self._fan_in()]
        return values[:, None].expand(self.shape[0], self._fan_in())


class ConvOptions(NamedTuple):
    """What a convolution has besides its weight."""

    stride: tuple[int, ...] = (1, 1)
    padding: tuple[int, ...] = (0, 0)
    dilation: tuple[int, ...] = (1, 1)
    groups: int = 1


def options_of(like: nn.Conv2d) -> ConvOptions:
    """Return what a convolution has besides its weight.

    Args:
        like: A convolution that pads both sides alike with zeros.

    Raises:
        TypeError: It pads in another way.
    """
    around = like._reversed_padding_repeated_twice  # noqa: SLF001 - says the numbers also where padding is a word
    if like.padding_mode != "zeros" or around[::2] != around[1::2]:
        raise TypeError(f"cannot quantize a convolution with padding {like.padding!r} of {like.padding_mode}")
    return ConvOptions(like.stride, tuple(around[::-2]), like.dilation, like.groups)


def fits(layer: nn.Conv2d | nn.Linear) -> bool:
    """Return whether `Quantized` can stand for a layer.

    Args:
        layer: A convolution or linear layer.
    """
    if isinstance(layer, nn.Conv2d):
        around = layer._reversed_padding_repeated_twice  # noqa: SLF001 - as in `options_of`
        if layer.padding_mode != "zeros" or around[::2] != around[1::2]:
            return False
    return layer.weight.dtype == torch.float32
