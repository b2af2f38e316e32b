"""Round weights and activations to a uniform grid after training.

Weights: ``w = s * q`` with integers ``q``, stored packed, ``bits`` bits each. One scale ``s`` serves the whole tensor,
one output channel, or ``group`` consecutive inputs of one channel (of a convolution: positions within one input
channel first). Symmetric: ``|q| < 2**(bits - 1)`` and ``s = max |w| / (2**(bits - 1) - 1)``. Asymmetric:
``-z <= q < 2**bits - z`` with ``s = (max w - min w) / (2**bits - 1)``, both ends taken to include zero, and the integer
zero point ``z = round(-min w / s)``: zero stays zero. Activations: ``2**activation_bits`` levels between bounds seen on
the calibration split (clipped at a quantile of both tails) and shifted so that zero is a level, gradients passed
straight through. No integer kernel runs: weights are stored packed and computed dequantized, so the file is smaller and
the model is not faster. Left alone: layers that share a weight, projections of ``nn.MultiheadAttention``, convolutions
that pad unevenly or with other than zeros, layers that no calibration input reaches, and layers of which the model
takes more than their calls return (it reads the weight, asks for the kind, or has a hook there).

Source:
    Jacob et al., Quantization and training of neural networks, CVPR 2018, arXiv:1712.05877; Krishnamoorthi,
    Quantizing deep convolutional networks, 2018, arXiv:1806.08342; groups: Shen et al., Q-BERT, AAAI 2020,
    arXiv:1909.05840.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from whatelse.layers.quantized import GRIDS
from whatelse.methods.quantize._calibrated import Widths, bounds, set_bounds, stored, treatable
from whatelse.modules.walk import copied
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, KNOB, TAKES, LEAVES = 3, "bits", {"dense", "sparse"}, "packed"
LAYERWISE = True


@dataclass(frozen=True)
class Config:
    """Settings of uniform quantization."""

    bits: int = param(8, "Bits a weight.", low=2, high=8)
    activation_bits: int = param(0, "Bits an activation; 0 takes those of the weights, 32 rounds none.", low=0, high=32)
    clip: float = param(0.001, "Share of calibration activations clipped at either end.", low=0.0, high=0.2)
    grid: str = param("channel", "What one scale serves: tensor, channel or group.", choices=GRIDS)
    group: int = param(32, "Inputs that share a scale, where the grid is by group.", low=1, high=65_536)
    symmetric: bool = param(True, "False gives every scale a zero point.")


@torch.no_grad()
def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a copy whose convolutions and linear layers are quantized.

    Args:
        model: Any module.
        config: The grids.
        task: Its calibration split sets the bounds of activations.
        rng: Not used; the method is deterministic.

    Raises:
        RecipeError: There is nothing to quantize, as after another ``quantize.uniform``.
    """
    del rng
    small, inputs = copied(model), task.calibration.inputs
    widths = _widths(config)
    layers, few = treatable(small, inputs, "quantize.uniform")
    found = bounds(small, layers, inputs, widths, config.clip)
    parts = {name: widths.of(layer) for name, layer in layers.items()}
    for name, tight in parts.items():
        set_bounds(tight, found.get(name))
    return stored(small, parts, few, "quantize.uniform")


def looks(config: Config) -> bool:
    """Return whether the values of inputs decide anything of what it makes.

    Args:
        config: Whether activations are rounded, too.
    """
    return _widths(config).rounds_inputs


def _widths(config: Config) -> Widths:
    return Widths(config.bits, config.activation_bits, config.grid, config.group, config.symmetric)
