"""A small convolutional network: three 3x3 convolutions (the last two with stride 2) and two linear layers.

Source:
    LeCun et al., Gradient-based learning applied to document recognition, Proc. IEEE 1998; strides in place
    of pooling: Springenberg et al., ICLR workshop 2015, arXiv:1412.6806.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import nn

from whatelse.errors import TaskError
from whatelse.settings import param
from whatelse.training import initialize

VERSION = 1


@dataclass(frozen=True)
class Config:
    """Settings of the small convolutional network."""

    width: int = param(16, "Channels of the first convolution; the others have twice as many.", low=1, high=512)
    hidden: int = param(64, "Units of the hidden linear layer.", low=1, high=4096)


def build(config: Config, shape: tuple[int, ...], classes: int, rng: torch.Generator) -> nn.Module:
    """Return an untrained network.

    Args:
        config: Its widths.
        shape: Shape of one input, ``(channels, height, width)``, height and width multiples of 4.
        classes: Number of outputs.
        rng: Source of the initial weights.

    Raises:
        TaskError: The inputs are not images, or their sides are not multiples of 4.
    """
    if len(shape) != 3 or shape[1] % 4 or shape[2] % 4:
        raise TaskError(f"nets.cnn: inputs of shape {shape}; it takes (channels, height, width), sides multiples of 4")
    channels, height, width = shape
    c = config.width
    with torch.device("meta"):
        model = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(channels, c, 3, padding=1),
                relu1=nn.ReLU(),
                conv2=nn.Conv2d(c, 2 * c, 3, stride=2, padding=1),
                relu2=nn.ReLU(),
                conv3=nn.Conv2d(2 * c, 2 * c, 3, stride=2, padding=1),
                relu3=nn.ReLU(),
                flatten=nn.Flatten(),
                linear=nn.Linear(2 * c * height * width // 16, config.hidden),
                relu4=nn.ReLU(),
                head=nn.Linear(config.hidden, classes),
            )
        )
    model.to_empty(device="cpu")
    initialize.initialize(model, rng)
    return model
