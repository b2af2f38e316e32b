"""Quantized layers as exporters are to see them: a file then holds codes, not the floats that they stand for."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn


class Integers(NamedTuple):
    """A quantized weight in codes of a byte, ``w = scale * (codes - zero)``.

    Attributes:
        codes: ``(out, fan-in)``, integers, signed or not, or floats of 8 bits.
        scale: ``()``, ``(out,)``, or ``(out, blocks)``.
        zero: Of the type of the codes and the shape of the scale; None is zero.
        block: How many consecutive inputs one scale serves where there are blocks; else 0.
    """

    codes: Tensor
    scale: Tensor
    zero: Tensor | None
    block: int


class Computes(Protocol):
    """What is asked of a layer that takes its weight from outside.

    Attributes:
        bias: ``(out,)`` or None.
        shape: Of the weight.
    """

    bias: Tensor | None
    shape: tuple[int, ...]

    def computed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the output for rounded inputs with a weight and a bias from outside."""


class Coded(Computes, Protocol):
    """What is asked of a layer whose weight is stored as codes."""

    def dequantized(self) -> Tensor:
        """Return the weight, made of its codes."""


class Unpacking(nn.Module):
    """Unpacks its codes in every pass, in operations that any runtime of PyTorch knows."""

    def __init__(self, layer: Coded) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output.

        Args:
            x: ``(N, in, ...)``.
        """
        return self.layer.computed(x, self.layer.dequantized(), self.layer.bias)


class Dequantizing(nn.Module):
    """Hands its codes to ONNX's ``DequantizeLinear``; those of few bits are narrowed in the file.

    Between that and the product stands a reshape. Without one onnxruntime takes both for a quantized product and may
    round the inputs to 8 bits too, in silence.
    """

    codes: Tensor
    scale: Tensor
    zero: Tensor | None

    def __init__(self, layer: Computes, held: Integers) -> None:
        super().__init__()
        self.layer, self.block = layer, held.block
        self.register_buffer("codes", held.codes[..., None])
        for name, tensor in (("scale", held.scale), ("zero", held.zero)):
            self.register_buffer(name, tensor[..., None] if tensor is not None and held.block else tensor)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output.

        Args:
            x: ``(N, in, ...)``.
        """
        given = [self.codes, self.scale, *([] if self.zero is None else [self.zero])]
        how: dict[str, Any] = {"axis": 1, "block_size": self.block} if self.block else {"axis": 0}
        weight: Tensor = torch.onnx.ops.symbolic(
            "DequantizeLinear", given, how, dtype=self.scale.dtype, shape=self.codes.shape, version=21
        )
        return self.layer.computed(x, weight.view(self.layer.shape), self.layer.bias)
