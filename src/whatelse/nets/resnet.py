"""A residual network for small images, of ``depth = 6n + 2`` layers.

A 3x3 convolution, then three stages of ``n`` blocks of two 3x3 convolutions with batch norm, of ``width``,
``2 * width`` and ``4 * width`` channels; stages two and three start with stride 2. Where a block changes the shape, its
shortcut takes every second pixel and pads with zero channels (``A``, no parameters) or is a 1x1 convolution with
batch norm (``B``). Kind A ties channel counts to the padding, so that ``prune.structured`` can narrow only the inside
of its blocks; of kind B it narrows everything. Parameters have the names of the published CIFAR-10 networks of
akamaster/pytorch_resnet_cifar10.

Source:
    He et al., Deep residual learning for image recognition, CVPR 2016, arXiv:1512.03385, section 4.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.errors import SettingError, TaskError
from whatelse.settings import param
from whatelse.training import initialize

VERSION = 1


@dataclass(frozen=True)
class Config:
    """Settings of the residual network."""

    depth: int = param(20, "Layers: 6n + 2 for n blocks a stage.", low=8, high=1202)
    width: int = param(16, "Channels of the first stage; the next ones have twice and four times as many.", low=1)
    kind: str = param("B", "Shortcut where the shape changes: A pads with zeros, B convolves.", choices=("A", "B"))


def build(config: Config, shape: tuple[int, ...], classes: int, rng: torch.Generator) -> nn.Module:
    """Return an untrained network.

    Args:
        config: Its size.
        shape: Shape of one input, ``(channels, height, width)``, height and width multiples of 4.
        classes: Number of outputs.
        rng: Source of the initial weights.

    Raises:
        TaskError: The inputs are not images, or their sides are not multiples of 4.
        SettingError: The depth is not 6n + 2.
    """
    if len(shape) != 3 or shape[1] % 4 or shape[2] % 4:
        raise TaskError(
            f"nets.resnet: inputs of shape {shape}; it takes (channels, height, width), sides multiples of 4"
        )
    if config.depth % 6 != 2:
        near = config.depth // 6 * 6 + 2
        raise SettingError(f"nets.resnet: depth={config.depth} is not of the form 6n + 2; try {near}")
    with torch.device("meta"):
        model = _ResNet(config, shape[0], classes)
    model.to_empty(device="cpu")
    initialize.initialize(model, rng)
    return model


class _ResNet(nn.Module):
    def __init__(self, config: Config, channels: int, classes: int) -> None:
        super().__init__()
        width, blocks = config.width, (config.depth - 2) // 6
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, 1, blocks, config.kind)
        self.layer2 = _stage(width, 2 * width, 2, blocks, config.kind)
        self.layer3 = _stage(2 * width, 4 * width, 2, blocks, config.kind)
        self.linear = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        out: Tensor = self.linear(x.mean((2, 3)))
        return out


def _stage(before: int, width: int, stride: int, blocks: int, kind: str) -> nn.Sequential:
    first = _Block(before, width, stride, kind)
    return nn.Sequential(first, *(_Block(width, width, 1, kind) for _ in range(blocks - 1)))


class _Block(nn.Module):
    def __init__(self, before: int, width: int, stride: int, kind: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut: Callable[[Tensor], Tensor] = nn.Identity()
        if stride != 1 and kind == "A":
            self.shortcut = _Padded(width - before)
        elif stride != 1:
            self.shortcut = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class _Padded(nn.Module):
    """Every second pixel, with zero channels in front and behind."""

    def __init__(self, more: int) -> None:
        super().__init__()
        self.more = more

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.more // 2, self.more - self.more // 2))
