"""Low rank as a user of TensorLy or torch.linalg would put it in by hand."""

from __future__ import annotations

import math
from copy import deepcopy

import numpy as np
import tensorly
import torch
from tensorly.decomposition import parafac, partial_tucker
from tensorly.decomposition import tucker as all_modes
from torch import Tensor, nn


def tucker(model: nn.Module, share: float) -> nn.Module:
    """Return a copy whose convolutions are three, by TensorLy's partial Tucker decomposition.

    Args:
        model: What to decompose.
        share: Ranks as a share of the channels on either side.
    """
    small = deepcopy(model)
    for name, layer in _convolutions(small):
        w = layer.weight.double().numpy()
        out, entering = (max(1, math.ceil(share * min(n, w.size // n))) for n in w.shape[:2])
        if out * entering * w[0, 0].size + out * w.shape[0] + entering * w.shape[1] >= w.size:
            continue
        (core, (a, b)), _ = partial_tucker(w, rank=[out, entering], modes=[0, 1])
        parts = [_through(b.T), _like(layer, core), _through(a)]
        small.set_submodule(name, nn.Sequential(*parts))
    return small


def cp(model: nn.Module, share: float) -> nn.Module:
    """Return a copy whose convolutions are four, by TensorLy's PARAFAC with its own settings.

    Args:
        model: What to decompose.
        share: Weights of a layer as a share of what it has.
    """
    small = deepcopy(model)
    for name, layer in _convolutions(small):
        w = layer.weight.double().numpy()
        rank = max(1, int(share * w.size / sum(w.shape)))
        if rank * sum(w.shape) >= w.size:
            continue
        found = parafac(w, rank)
        a, b, c, d = found.factors
        parts = [_through(b.T), *_along(layer, c, d), _through(a * found.weights)]
        small.set_submodule(name, nn.Sequential(*parts))
    return small


def svd(model: nn.Module, share: float) -> nn.Module:
    """Return a copy whose layers are two, by torch.linalg.svd of their weights as matrices.

    Args:
        model: What to decompose.
        share: Rank as a share of full rank.
    """
    small = deepcopy(model)
    for name, layer in [(n, m) for n, m in small.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]:
        matrix = layer.weight.detach().flatten(1)
        rank = max(1, math.ceil(share * min(matrix.shape)))
        if rank * sum(matrix.shape) >= matrix.numel():
            continue
        u, s, v = torch.linalg.svd(matrix, full_matrices=False)
        u, v = u[:, :rank] * s[:rank], v[:rank]
        if isinstance(layer, nn.Linear):
            first, second = nn.Linear(len(v.T), rank, bias=False), nn.Linear(rank, len(u), bias=layer.bias is not None)
            first.weight.data, second.weight.data = v.clone(), u.clone()
        else:
            first, second = _like(layer, v.reshape(rank, *layer.weight.shape[1:]).numpy()), _through(u.numpy())
        if layer.bias is not None:
            second.bias.data = layer.bias.detach().clone()
        small.set_submodule(name, nn.Sequential(first, second))
    return small


def tensor_layer(model: nn.Module, name: str, modes: tuple[int, ...], ranks: tuple[int, ...]) -> nn.Module:
    """Return a copy in which the weight of a linear layer is TensorLy's Tucker approximation, multiplied out.

    Args:
        model: What to decompose.
        name: Name of the layer.
        modes: How its input is seen.
        ranks: Those of the modes, then the output's.
    """
    tensorly.set_backend("numpy")
    small = deepcopy(model)
    weight = small.get_submodule(name).weight
    found = all_modes(weight.double().numpy().T.reshape(*modes, len(weight)), ranks)
    weight.data = torch.tensor(tensorly.tucker_to_tensor(found).reshape(-1, len(weight)).T.copy(), dtype=torch.float32)
    return small


def _convolutions(model: nn.Module) -> list[tuple[str, nn.Conv2d]]:
    tensorly.set_backend("numpy")
    return [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and min(m.kernel_size) > 1]


def _convolution(weight: np.ndarray, stride: tuple, padding: tuple, groups: int = 1) -> nn.Conv2d:
    made = nn.Conv2d(
        weight.shape[1] * groups, len(weight), weight.shape[2:], stride, padding, groups=groups, bias=False
    )
    made.weight.data = torch.tensor(np.ascontiguousarray(weight), dtype=torch.float32)
    return made


def _through(matrix: np.ndarray) -> nn.Conv2d:
    return _convolution(matrix[:, :, None, None], (1, 1), (0, 0))


def _like(layer: nn.Conv2d, weight: np.ndarray | Tensor) -> nn.Conv2d:
    return _convolution(np.asarray(weight), layer.stride, layer.padding)


def _along(layer: nn.Conv2d, down: np.ndarray, across: np.ndarray) -> list[nn.Conv2d]:
    rank = down.shape[1]
    first = _convolution(down.T[:, None, :, None], (layer.stride[0], 1), (layer.padding[0], 0), rank)
    return [first, _convolution(across.T[:, None, None, :], (1, layer.stride[1]), (0, layer.padding[1]), rank)]
