"""Gradients for kernels that drop them: the kernel answers, the dequantized layer gives the slope.

A kernel of integers rounds its inputs, and no gradient comes back through it. Its straight-through surrogate has the
very outputs of the kernel, and the gradient of ``x W^T + b`` with the weights that the kernel really multiplies, as
though the rounding of ``x`` were not there.

Source:
    Bengio, Leonard & Courville, Estimating or propagating gradients through stochastic neurons, 2013,
    arXiv:1308.3432; for attacks: Athalye, Carlini & Wagner, Obfuscated gradients give a false sense of security, ICML
    2018, arXiv:1802.00420 (backward pass differentiable approximation).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.layers.compressed import CompressedLayer
from whatelse.layers.quantized import UNROUNDED, FakeQuantize
from whatelse.modules.lent import copied, rest


class Surrogate(NamedTuple):
    """What stands in for a model whose kernels drop gradients.

    Attributes:
        straight: Its outputs, with straight-through gradients.
        smooth: The same weights without any rounding of activations: its gradients can be held against differences.
        layers: How many layers are replaced.
    """

    straight: nn.Module
    smooth: nn.Module
    layers: int


class StraightThrough(nn.Module):
    """A linear layer that answers as a kernel does and has the gradient of the dequantized layer.

    Attributes:
        kernel: Answers, ``(..., in)`` to ``(..., out)``.
        weight: What it multiplies by, as floats, ``(out, in)``.
        bias: ``(out,)`` or None.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, kernel: nn.Module, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.kernel = kernel
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the kernel's output; its gradient is that of the dequantized layer.

        Args:
            x: ``(..., in)``.
        """
        with torch.no_grad():
            said: Tensor = self.kernel(x)
        smooth = functional.linear(x, self.weight, self.bias)
        return smooth + (said - smooth).detach()


def surrogate(model: nn.Module) -> Surrogate | None:
    """Return what stands in for a model; None where none of its layers is a kernel that is known.

    Known are this toolkit's kernels, torch's dynamically quantized linear layers, and linear layers whose weight is a
    tensor of a type of its own that can be dequantized, as torchao's.

    Args:
        model: Any module; it is copied, not changed.

    Raises:
        NotMeasurableError: It cannot be copied.
    """
    known = {name: told for name, part in model.named_modules() if (told := _dequantized(part)) is not None}
    if not known:
        return None
    straight, smooth = copied(model), copied(model)
    for name, (weight, bias) in known.items():
        plain = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
        plain.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}), assign=True)
        straight = _put(straight, name, StraightThrough(straight.get_submodule(name), weight, bias))
        smooth = _put(smooth, name, plain)
    for made in (straight, smooth):
        rest(made)
    return Surrogate(straight, smooth, len(known))


def unrounded(model: nn.Module) -> nn.Module:
    """Return a copy that leaves its activations as they are; the module itself where it rounds none.

    Args:
        model: Any module.

    Raises:
        NotMeasurableError: It cannot be copied.
    """
    if not any(isinstance(part, FakeQuantize) for part in model.modules()):
        return model
    made = copied(model)
    for part in made.modules():
        if isinstance(part, FakeQuantize):
            part.bits = UNROUNDED
    return made


def _put(model: nn.Module, name: str, part: nn.Module) -> nn.Module:
    if not name:
        return part
    model.set_submodule(name, part)
    return model


def _dequantized(part: nn.Module) -> tuple[Tensor, Tensor | None] | None:
    """Return weight and bias of a linear kernel as floats; None for any other layer."""
    if isinstance(part, CompressedLayer):
        if not part.drops_gradients:
            return None
        weight, *rest = part.weights()
        return weight.detach().float(), rest[0].detach().float() if rest else None
    if type(part).__module__.startswith("torch.ao.nn.quantized.dynamic") and type(part).__name__ == "Linear":
        bias = part.bias()  # type: ignore[operator] # a method there
        return part.weight().dequantize().detach(), None if bias is None else bias.detach()  # type: ignore[operator]
    if isinstance(part, nn.Linear) and type(part.weight.data) is not Tensor and hasattr(part.weight, "dequantize"):
        bias = part.bias
        return part.weight.dequantize().detach().float(), None if bias is None else bias.detach().float()
    return None
