"""Replace each layer by two smaller ones, from the truncated singular value decomposition of its weight.

A linear layer ``W (out, in) ~ U V`` becomes ``V`` without bias, then ``U`` with the bias. A convolution, its weight
seen as ``(out, in * kh * kw)``, becomes a ``kh x kw`` convolution to ``r`` channels, then a 1x1 convolution. The
result is a real smaller network. ``r`` is the share ``rank`` of full rank, rounded up; a layer for which two layers
of that rank would hold no fewer weights is left alone.

Source:
    Denton et al., Exploiting linear structure within convolutional networks, NeurIPS 2014, arXiv:1404.0736;
    Zhang et al., Accelerating very deep convolutional networks, TPAMI 2016, arXiv:1505.06798.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn

from whatelse.errors import RecipeError
from whatelse.settings import param
from whatelse.task import Task

VERSION, KNOB, TAKES, LEAVES = 1, "rank", {"dense"}, "dense"


@dataclass(frozen=True)
class Config:
    """Settings of decomposition by singular values."""

    rank: float = param(0.5, "Rank kept, as a share of the layer's full rank.", low=0.0, high=1.0)


@torch.no_grad()
def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a copy whose layers are products of smaller ones.

    Args:
        model: Any module; grouped convolutions are left alone.
        config: How much rank to keep.
        task: Not used; the plain decomposition needs no data.
        rng: Not used; the method is deterministic.

    Raises:
        RecipeError: There is nothing to decompose, as after ``quantize.uniform``.
    """
    del task, rng
    small = deepcopy(model)
    named = [(n, m) for n, m in small.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    if not named:
        raise RecipeError("decompose.svd: no convolution or linear layer to decompose; decompose before quantizing")
    for name, layer in named:
        made = _factored(layer, config.rank)
        if not name:
            return made
        small.set_submodule(name, made)
    return small


def _factored(layer: nn.Conv2d | nn.Linear, share: float) -> nn.Module:
    matrix = layer.weight.flatten(1)
    rank = max(1, math.ceil(share * min(matrix.shape)))
    grouped = isinstance(layer, nn.Conv2d) and layer.groups > 1
    if grouped or rank * sum(matrix.shape) >= matrix.numel():
        return layer
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    root = s[:rank].sqrt()
    down, up = root[:, None] * v[:rank], u[:, :rank] * root
    bias = layer.bias is not None
    first: nn.Module
    second: nn.Module
    with torch.device("meta"):
        if isinstance(layer, nn.Conv2d):
            like = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
            first = nn.Conv2d(layer.in_channels, rank, *like, bias=False)  # type: ignore[arg-type]
            second = nn.Conv2d(rank, layer.out_channels, 1, bias=bias)
        else:
            first = nn.Linear(layer.in_features, rank, bias=False)
            second = nn.Linear(rank, layer.out_features, bias=bias)
    pair = nn.Sequential(OrderedDict(down=first, up=second)).to_empty(device="cpu")
    tensors = {"down.weight": down.view(first.weight.shape), "up.weight": up.view(second.weight.shape)}
    pair.load_state_dict(tensors | ({"up.bias": layer.bias} if bias else {}))
    return pair
