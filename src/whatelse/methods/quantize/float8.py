"""Compute linear layers with float8 kernels, on hardware that has them.

Weights and activations are rounded to floats of eight bits (four of exponent, three of mantissa), each row with the
scale that brings its largest value to the end of the range; products are summed in higher precision. ``weight``
rounds the weights alone and multiplies floats. Convolutions, and with ``dynamic`` linear layers whose sides are no
multiples of 16, are left alone. Refused where the model's device has no float8 arithmetic (CUDA capability 8.9): a
model that was not computed in float8 has not been audited in it.

Source:
    Micikevicius et al., FP8 formats for deep learning, 2022, arXiv:2209.05433; kernels: Or et al., TorchAO:
    PyTorch-native training-to-serving model optimization, 2025, arXiv:2507.16099.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from whatelse.errors import MissingHardwareError, RecipeError
from whatelse.layers.kernel import Kernel, lacking, suits
from whatelse.methods.quantize._calibrated import stored, treatable
from whatelse.modules.walk import copied
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, KNOB, TAKES, LEAVES = 1, "", {"dense", "sparse"}, "packed"
LAYERWISE = True


@dataclass(frozen=True)
class Config:
    """Settings of float8 kernels."""

    mode: str = param("dynamic", "dynamic rounds activations too, weight does not.", choices=("dynamic", "weight"))


@torch.no_grad()
def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a copy whose linear layers are computed by float8 kernels.

    Args:
        model: Any module, on the device that is to compute it.
        config: Whether activations are rounded.
        task: The first of its calibration inputs shows which layers are called.
        rng: Not used; the method is deterministic.

    Raises:
        MissingHardwareError: The model's device has no float8 arithmetic.
        RecipeError: There is nothing to quantize.
        MissingExtraError: torchao is absent.
    """
    del rng
    kind = f"float8_{config.mode}"
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    found = lacking(kind, device)
    if found:
        raise MissingHardwareError(
            f"quantize.float8: this machine has no float8 arithmetic (found {found}); "
            "use quantize.int8 or quantize.uniform"
        )
    small = copied(model)
    layers, few = treatable(small, task.calibration.inputs, "quantize.float8")
    suited = {name: layer for name, layer in layers.items() if isinstance(layer, nn.Linear) and suits(kind, layer)}
    if not suited:
        raise RecipeError("quantize.float8: no linear layer suits a float8 kernel; use quantize.uniform")
    return stored(small, {name: Kernel.of(layer, kind) for name, layer in suited.items()}, few, "quantize.float8")


def looks(config: Config) -> bool:
    """Return whether the values of inputs decide anything of what it makes.

    Args:
        config: Not used.
    """
    del config
    return False
