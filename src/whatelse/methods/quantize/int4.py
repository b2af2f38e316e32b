"""Store weights in four bits, one scale and zero point a group of inputs.

On a GPU that torchao's int4 kernel runs on (the model there, CUDA capability 8.0) linear layers whose inputs are a
multiple of ``group`` are computed by it, in bfloat16. Everywhere else, and for convolutions on any machine, weights
are stored packed and computed dequantized, as ``quantize.uniform(bits=4, grid='group', activation_bits=32)`` does: the
file is smaller and the model is not faster. Each layer's remark says which it is. Activations are not rounded. What
is left alone is what ``quantize.uniform`` leaves alone.

Source:
    Frantar et al., GPTQ, ICLR 2023, arXiv:2210.17323, whose baseline of rounding to the nearest in groups this is;
    kernels: Or et al., TorchAO: PyTorch-native training-to-serving model optimization, 2025, arXiv:2507.16099.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from whatelse.layers.kernel import Kernel, lacking, suits
from whatelse.methods.quantize._calibrated import Widths, stored, treatable
from whatelse.modules.walk import copied
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, KNOB, TAKES, LEAVES = 1, "group", {"dense", "sparse"}, "packed"
LAYERWISE = True


@dataclass(frozen=True)
class Config:
    """Settings of four-bit weights."""

    group: int = param(32, "Inputs that share a scale; a kernel takes 32, 64, 128 or 256.", low=2, high=1024)
    symmetric: bool = param(False, "True drops the zero points, where no kernel runs; kernels always have them.")


@torch.no_grad()
def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a copy whose weights are stored in four bits.

    Args:
        model: Any module.
        config: The grid.
        task: The first of its calibration inputs shows which layers are called.
        rng: Not used; the method is deterministic.

    Raises:
        RecipeError: There is nothing to quantize, as after ``quantize.uniform``.
        MissingExtraError: A kernel could run and torchao is absent.
    """
    del rng
    small = copied(model)
    packed = Widths(4, 32, "group", config.group, config.symmetric)
    layers, few = treatable(small, task.calibration.inputs, "quantize.int4")
    parts: dict[str, nn.Module] = {}
    for name, layer in layers.items():
        runs = suits("int4_weight", layer, config.group) and not lacking("int4_weight", layer.weight.device)
        kernel = layer if runs and isinstance(layer, nn.Linear) else None
        parts[name] = Kernel.of(kernel, "int4_weight", config.group) if kernel is not None else packed.of(layer)
    return stored(small, parts, few, "quantize.int4")


def looks(config: Config) -> bool:
    """Return whether the values of inputs decide anything of what it makes.

    Args:
        config: Not used.
    """
    del config
    return False
