"""The layers that compression puts in place of torch's own: packed weights and rounded activations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.layers._own import Own


def pack(codes: Tensor, bits: int) -> Tensor:
    """Return unsigned codes packed into bytes, ``(ceil(n * bits / 8),)`` uint8.

    Args:
        codes: Integers in ``[0, 2**bits)``, of any shape.
        bits: Width of one code, 1 to 8.
    """
    shifts = torch.arange(bits, dtype=torch.uint8)
    stream = (codes.flatten().to(torch.uint8)[:, None] >> shifts & 1).flatten()
    stream = functional.pad(stream, (0, -len(stream) % 8)).view(-1, 8)
    return (stream << torch.arange(8, dtype=torch.uint8)).sum(1).to(torch.uint8)


def unpack(packed: Tensor, bits: int, count: int) -> Tensor:
    """Return the codes that `pack` packed, ``(count,)`` uint8.

    Args:
        packed: What `pack` returned.
        bits: Width of one code.
        count: How many codes there are.
    """
    stream = (packed[:, None] >> torch.arange(8, dtype=torch.uint8) & 1).flatten()[: count * bits]
    return (stream.view(count, bits) << torch.arange(bits, dtype=torch.uint8)).sum(1).to(torch.uint8)


class FakeQuantize(Own):
    """Round activations to ``2**bits`` levels between calibrated bounds, gradients passed straight through.

    Outside the bounds values are clipped and the gradient is zero, as for any clamp.
    Source: Jacob et al., Quantization and training of neural networks, CVPR 2018, arXiv:1712.05877;
    straight-through gradients: Bengio et al. 2013, arXiv:1308.3432.
    """

    straight_through = True
    low: Tensor
    high: Tensor

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits
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
        step = (self.high - self.low) / (2**self.bits - 1)
        inside = torch.maximum(torch.minimum(x, self.high), self.low)
        rounded = ((inside - self.low) / step).round() * step + self.low
        through: Tensor = inside + (rounded - inside).detach()
        return through


class Quantized(Own):
    """A convolution or linear layer whose weights are stored as packed codes and computed dequantized.

    Weights are symmetric, one scale an output channel: ``w = scale * (code - 2**(bits - 1))``.
    """

    codes: Tensor
    scale: Tensor
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
        **options: Sequence[int] | int,
    ) -> None:
        super().__init__()
        self.like, self.shape, self.bits, self.activation_bits = like, tuple(shape), bits, activation_bits
        self.options = ConvOptions(**{n: v if isinstance(v, int) else tuple(v) for n, v in options.items()})  # type: ignore[arg-type] # as JSON has them
        self.round_input = FakeQuantize(activation_bits)
        self.register_buffer("bias", torch.zeros(self.shape[0]) if bias else None)
        self.register_buffer("scale", torch.ones(self.shape[0]))
        self.register_buffer("codes", torch.zeros(-(-math.prod(self.shape) * bits // 8), dtype=torch.uint8))
        # Kept beside the codes so that a forward pass need not unpack; derived, hence not saved.
        self.register_buffer("weight", torch.zeros(self.shape), persistent=False)
        self.register_load_state_dict_post_hook(lambda module, _: module.unfold())  # type: ignore[no-untyped-call] # torch's own

    @classmethod
    def of(cls, layer: nn.Module, bits: int, activation_bits: int) -> Quantized:
        """Return the quantized form of a layer, its bounds of activations not yet set.

        Args:
            layer: A convolution or linear layer.
            bits: Width of a weight.
            activation_bits: Width of an activation.

        Raises:
            TypeError: It is another kind of layer.
        """
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            raise TypeError(f"cannot quantize {type(layer).__name__}; allowed are Conv2d and Linear")
        options = options_of(layer)._asdict() if isinstance(layer, nn.Conv2d) else {}
        like, shape, bias = type(layer).__name__, layer.weight.shape, layer.bias is not None
        made = cls(like, shape, bits, activation_bits, bias=bias, **options)
        if made.bias is not None and layer.bias is not None:
            made.bias.copy_(layer.bias.detach())
        made.fold(layer.weight)
        return made

    def arguments(self) -> dict[str, Any]:
        """Return its shape and the widths of its grids."""
        options = self.options._asdict() if self.like == "Conv2d" else {}
        widths = {"bits": self.bits, "activation_bits": self.activation_bits}
        return {"like": self.like, "shape": list(self.shape), "bias": self.bias is not None, **widths, **options}

    def zeros(self) -> Tensor:
        """Return the code that stands for zero, for every weight, ``(weights,)`` uint8."""
        return torch.full((math.prod(self.shape),), 2 ** (self.bits - 1), dtype=torch.uint8)

    def weights(self) -> list[Tensor]:
        """Return the dequantized weight and the bias."""
        return [self.weight] if self.bias is None else [self.weight, self.bias]

    def work(self, inputs: Tensor, output: Tensor) -> int:
        """Return the multiply-accumulates of the dense layer that it stands for.

        Args:
            inputs: What it was given.
            output: What it returned.
        """
        del inputs
        return output.numel() // self.shape[0] * self.weight.numel()

    def remark(self) -> str:
        """Say that no integer kernel runs."""
        return "stored packed, computed dequantized"

    @torch.no_grad()
    def fold(self, weight: Tensor) -> None:
        """Take over a weight: choose the scales, round and pack.

        Args:
            weight: The layer's weight, of the shape that this layer was made for.
        """
        top = 2 ** (self.bits - 1) - 1
        largest = weight.abs().flatten(1).amax(1).clamp(min=torch.finfo(weight.dtype).tiny)
        self.scale.copy_(largest / top)
        levels = (weight.flatten(1) / self.scale[:, None]).round().clamp(-top, top)
        self.codes.copy_(pack(levels + top + 1, self.bits))
        self.unfold()

    @torch.no_grad()
    def unfold(self) -> None:
        """Make the dequantized weight from the codes anew."""
        count = self.weight.numel()
        codes = unpack(self.codes, self.bits, count).to(self.scale.dtype) - 2 ** (self.bits - 1)
        self.weight = (codes.view(self.shape[0], -1) * self.scale[:, None]).view(self.shape)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output for rounded inputs.

        Args:
            x: ``(N, in, ...)``.
        """
        x = self.round_input(x)
        if self.like == "Linear":
            return functional.linear(x, self.weight, self.bias)
        o = self.options
        return functional.conv2d(x, self.weight, self.bias, o.stride, o.padding, o.dilation, o.groups)


class ConvOptions(NamedTuple):
    """What a convolution has besides its weight."""

    stride: tuple[int, ...] = (1, 1)
    padding: tuple[int, ...] = (0, 0)
    dilation: tuple[int, ...] = (1, 1)
    groups: int = 1


def options_of(like: nn.Conv2d) -> ConvOptions:
    """Return what a convolution has besides its weight.

    Args:
        like: A convolution whose padding is given as numbers.

    Raises:
        TypeError: Its padding is a word.
    """
    if isinstance(like.padding, str):
        raise TypeError(f"cannot quantize a convolution with padding {like.padding!r}; give it as numbers")
    return ConvOptions(like.stride, like.padding, like.dilation, like.groups)
