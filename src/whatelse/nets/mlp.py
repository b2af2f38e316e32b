"""A multilayer perceptron for tabular data: hidden linear layers with ReLU, and a linear head.

Source:
    Rumelhart, Hinton, Williams, Learning representations by back-propagating errors, Nature 1986; ReLU: Glorot,
    Bordes, Bengio, Deep sparse rectifier neural networks, AISTATS 2011.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import nn

from whatelse.errors import SettingError
from whatelse.settings import param
from whatelse.training import initialize

VERSION = 1


@dataclass(frozen=True)
class Config:
    """Settings of the multilayer perceptron."""

    hidden: str = param("64x32", "Units of the hidden layers, first to last, joined by x, such as 128x64x32.")


def build(config: Config, shape: tuple[int, ...], classes: int, rng: torch.Generator) -> nn.Module:
    """Return an untrained network.

    Args:
        config: Its widths.
        shape: Shape of one input, ``(features,)``; anything else is flattened first.
        classes: Number of outputs.
        rng: Source of the initial weights.

    Raises:
        SettingError: ``hidden`` is not positive whole numbers joined by x.
    """
    widths = [math.prod(shape), *_widths(config.hidden)]
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if len(shape) != 1:
        parts["flatten"] = nn.Flatten()
    with torch.device("meta"):
        for i, (before, width) in enumerate(zip(widths[:-1], widths[1:], strict=True), 1):
            parts[f"linear{i}"] = nn.Linear(before, width)
            parts[f"relu{i}"] = nn.ReLU()
        parts["head"] = nn.Linear(widths[-1], classes)
    model = nn.Sequential(parts).to_empty(device="cpu")
    initialize.initialize(model, rng)
    return model


def _widths(text: str) -> list[int]:
    words = text.split("x")
    if not all(word.isdecimal() and 0 < int(word) <= 65_536 for word in words):
        raise SettingError(f"nets.mlp: hidden={text!r}; it takes widths of 1 to 65536 joined by x, such as 64x32")
    return [int(word) for word in words]
