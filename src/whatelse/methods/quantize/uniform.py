"""Round weights and activations to a uniform grid after training.

Weights: symmetric, one scale an output channel, ``w = s * q`` with integers ``|q| < 2**(bits - 1)`` and
``s = max |w| / (2**(bits - 1) - 1)``; stored packed, ``bits`` bits each. Activations: ``2**activation_bits``
levels between bounds seen on the calibration split (clipped at a quantile of both tails), gradients passed
straight through. No integer kernel runs: weights are stored packed and computed dequantized, so the file is
smaller and the model is not faster.

Source:
    Jacob et al., Quantization and training of neural networks, CVPR 2018, arXiv:1712.05877; Krishnamoorthi,
    Quantizing deep convolutional networks, 2018, arXiv:1806.08342.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whatelse.errors import RecipeError
from whatelse.layers.quantized import Quantized
from whatelse.settings import param
from whatelse.task import Task

VERSION, KNOB, TAKES, LEAVES = 2, "bits", {"dense", "sparse"}, "packed"


@dataclass(frozen=True)
class Config:
    """Settings of uniform quantization."""

    bits: int = param(8, "Bits a weight.", low=2, high=8)
    activation_bits: int = param(0, "Bits an activation; 0 takes those of the weights.", low=0, high=8)
    clip: float = param(0.001, "Share of calibration activations clipped at either end.", low=0.0, high=0.2)


@torch.no_grad()
def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a copy whose convolutions and linear layers are quantized.

    Args:
        model: Any module.
        config: Width of the grids.
        task: Its calibration split sets the bounds of activations.
        rng: Not used; the method is deterministic.

    Raises:
        RecipeError: There is nothing to quantize, as after another ``quantize.uniform``.
    """
    del rng
    small = deepcopy(model)
    named = [(n, m) for n, m in small.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    if not named:
        raise RecipeError("quantize.uniform: no convolution or linear layer is left to quantize")
    bounds = _bounds(small, named, task.calibration.inputs, config.clip)
    for name, layer in named:
        tight = Quantized.of(layer, config.bits, config.activation_bits or config.bits)
        tight.round_input.low.copy_(bounds[name][0])
        tight.round_input.high.copy_(bounds[name][1])
        if not name:
            return tight
        small.set_submodule(name, tight)
    return small


def _bounds(
    model: nn.Module, named: Sequence[tuple[str, nn.Module]], inputs: Tensor, clip: float
) -> dict[str, tuple[Tensor, Tensor]]:
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    hooks = [layer.register_forward_pre_hook(_watch(name, seen, clip)) for name, layer in named]
    try:
        model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _watch(
    name: str, seen: dict[str, tuple[Tensor, Tensor]], clip: float
) -> Callable[[nn.Module, tuple[Tensor]], None]:
    def watch(module: nn.Module, inputs: tuple[Tensor]) -> None:
        del module
        # kthvalue, as torch.quantile refuses more than 16 million values.
        flat = inputs[0].flatten()
        beyond = int(clip * (len(flat) - 1))
        low, high = flat.kthvalue(beyond + 1).values, flat.kthvalue(len(flat) - beyond).values
        # Zero is padding and the dead side of a ReLU: it is always inside the bounds.
        low, high = low.clamp(max=0), high.clamp(min=torch.finfo(flat.dtype).tiny)
        seen[name] = (low, high)

    return watch
