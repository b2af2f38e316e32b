"""Compute linear layers with torchao's int8 kernels.

Weights are rounded to 255 levels, one scale an output channel, ``s = max |w| / 127.5``. ``dynamic`` rounds the
activations as well, a row at a time with the scale of its largest value, and multiplies integers: this is the mode
that can be faster. Its gradients are lost, in silence, so its subject only predicts. ``weight`` stores integers and
multiplies floats; gradients are those of the rounded model. No kernel takes a convolution: convolutions are stored
packed in 8 bits and computed dequantized, as ``quantize.uniform(activation_bits=32)`` does. What is left alone is what
``quantize.uniform`` leaves alone. A saved model needs torchao to be run again.

Source:
    Dettmers et al., LLM.int8(): 8-bit matrix multiplication for transformers at scale, NeurIPS 2022,
    arXiv:2208.07339, of whose two parts this is the row-wise one; kernels: Or et al., TorchAO: PyTorch-native
    training-to-serving model optimization, 2025, arXiv:2507.16099.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from whatelse.layers.kernel import Kernel
from whatelse.methods.quantize._calibrated import Widths, stored, treatable
from whatelse.modules.walk import copied
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, KNOB, TAKES, LEAVES = 1, "", {"dense", "sparse"}, "packed"
LAYERWISE = True


@dataclass(frozen=True)
class Config:
    """Settings of int8 kernels."""

    mode: str = param("dynamic", "dynamic rounds activations too, weight does not.", choices=("dynamic", "weight"))


@torch.no_grad()
def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a copy whose linear layers are computed by int8 kernels.

    Args:
        model: Any module.
        config: Whether activations are rounded.
        task: The first of its calibration inputs shows which layers are called.
        rng: Not used; the method is deterministic.

    Raises:
        RecipeError: There is nothing to quantize, as after ``quantize.uniform``.
        MissingExtraError: torchao is absent.
    """
    del rng
    small = copied(model)
    packed = Widths(8, 32, "channel", 0, symmetric=True)
    layers, few = treatable(small, task.calibration.inputs, "quantize.int8")
    parts: dict[str, nn.Module] = {
        name: Kernel.of(layer, f"int8_{config.mode}") if isinstance(layer, nn.Linear) else packed.of(layer)
        for name, layer in layers.items()
    }
    return stored(small, parts, few, "quantize.int8")


def looks(config: Config) -> bool:
    """Return whether the values of inputs decide anything of what it makes.

    Args:
        config: Not used.
    """
    del config
    return False
