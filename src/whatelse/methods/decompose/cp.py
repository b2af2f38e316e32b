"""Replace each convolution by four smaller ones, from the CP decomposition of its kernel.

``W (out, in, kh, kw) ~ sum_r a_r o b_r o c_r o d_r``: a 1x1 convolution to ``R`` channels by ``b``, a depthwise
``kh x 1`` by ``c``, a depthwise ``1 x kw`` by ``d``, and a 1x1 convolution by ``a`` with the bias. By alternating least
squares (TensorLy) from the leading singular vectors and from random factors, the best of ``starts`` taken. A tensor has
no full rank to take a share of: ``R`` is the largest rank at which the four hold no more than the share ``rank`` of the
layer's weights, and at least 1. Norms are shared evenly among the four. Alternating least squares may find large terms
that cancel; a ridge of 1e-9 on the kernel of norm one holds them back and keeps every step solvable. The paper fits by
nonlinear least squares, without a ridge.

Left alone: what ``decompose.svd`` leaves alone, linear layers, kernels of size 1 along a side, a kernel of zeros, and a
convolution that would not shrink.

Source:
    Lebedev et al., Speeding-up convolutional neural networks using fine-tuned CP-decomposition, ICLR 2015,
    arXiv:1412.6553; TensorLy: Kossaifi et al., JMLR 20(26), 2019, arXiv:1610.09555.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from whatelse.errors import MissingExtraError, RecipeError
from whatelse.methods.decompose._parts import chain, reached, replaced, spatial, through
from whatelse.modules.walk import copied, layers
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, KNOB, TAKES, LEAVES = 1, "rank", {"dense"}, "dense"
LAYERWISE = True


_RIDGE = 1e-9


@dataclass(frozen=True)
class Config:
    """Settings of the CP decomposition."""

    rank: float = param(0.5, "Rank kept, as the share of the layer's weights that it takes.", low=0.0, high=1.0)
    sweeps: int = param(100, "Most sweeps of alternating least squares.", low=1, high=100_000)
    starts: int = param(1, "Starts: singular vectors, then random ones.", low=1, high=100)


@torch.no_grad()
def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a copy whose convolutions are chains of smaller ones.

    Args:
        model: Any module with convolutions larger than 1 along both sides.
        config: How much rank to keep, and how hard to fit.
        task: Its calibration inputs show which layers are called.
        rng: Source of the random starts.

    Raises:
        RecipeError: There is no convolution to decompose.
        MissingExtraError: TensorLy is not installed.
    """
    small = copied(model)
    named = {n: m for n, m in layers(small).items() if isinstance(m, nn.Conv2d)}
    named = {n: m for n, m in named.items() if m.groups == 1 and min(m.kernel_size) > 1}
    if not named:
        raise RecipeError("decompose.cp: no ungrouped convolution to decompose; use decompose.svd for linear layers")
    named, few = reached(small, named, task.calibration.inputs)
    parts: dict[str, nn.Module] = {}
    for name, layer in named.items():
        rank = max(1, int(config.rank * layer.weight.numel() / sum(layer.weight.shape)))
        if rank * sum(layer.weight.shape) < layer.weight.numel():
            factors = _fitted(layer.weight, rank, config, rng)
            parts[name] = layer if factors is None else _chained(layer, factors)
    return replaced(small, named, parts, few, "decompose.cp")


def looks(config: Config) -> bool:
    """Return whether the values of inputs decide anything of what it makes.

    Args:
        config: Not used.
    """
    del config
    return False


def _fitted(weight: Tensor, rank: int, config: Config, rng: torch.Generator) -> list[Tensor] | None:
    """Return the four factors, ``(size, rank)`` each, or None where there is nothing to fit.

    Raises:
        MissingExtraError: TensorLy is not installed.
    """
    try:
        import tensorly  # noqa: PLC0415 - an extra
        from tensorly.decomposition import parafac  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError("decompose.cp needs TensorLy: pip install 'whatelse[tensors]'") from error
    kernel = weight.detach().double().numpy()
    norm = np.linalg.norm(kernel)
    if not 0 < norm < np.inf:
        return None
    best, least = None, np.inf
    # The context gives back the backend that the process had; in double precision, as the problem is ill-conditioned.
    with tensorly.backend_context("numpy", local_threadsafe=True):
        for start in range(config.starts):
            seed = int(torch.randint(2**31 - 1, (), generator=rng))
            init = "random" if start else "svd"
            with warnings.catch_warnings(action="ignore"):  # of a rank above a side's size, filled by random columns
                found = parafac(kernel / norm, rank, config.sweeps, init, l2_reg=_RIDGE, tol=1e-10, random_state=seed)
            missed = float(np.linalg.norm(kernel / norm - tensorly.cp_to_tensor(found)))
            if missed < least:
                best, least = _even(norm * found.weights, found.factors), missed
    return best


def _even(weights: Any, factors: Any) -> list[Tensor]:  # noqa: ANN401 - TensorLy is not typed
    norms = [np.linalg.norm(f, axis=0) for f in factors]
    size = np.abs(weights * np.prod(norms, axis=0)) ** (1 / len(factors))
    even = [f / np.maximum(n, np.finfo(float).tiny) * size for f, n in zip(factors, norms, strict=True)]
    even[0] *= np.sign(weights)
    return [torch.from_numpy(f) for f in even]


def _chained(layer: nn.Conv2d, factors: list[Tensor]) -> nn.Module:
    out, enter, down, across = factors
    rank = out.shape[1]
    ways = [through(rank, rank) | _along(spatial(layer), side) | {"groups": rank} for side in (0, 1)]
    return chain(
        layer,
        {
            "into": (through(layer.in_channels, rank), enter.mT[:, :, None, None]),
            "down": (ways[0], down.mT[:, None, :, None]),
            "across": (ways[1], across.mT[:, None, None, :]),
            "out": (through(rank, layer.out_channels), out[:, :, None, None]),
        },
    )


def _along(moves: Mapping[str, Any], side: int) -> dict[str, Any]:
    """Return the arguments by which a convolution moves, along one side only; a word holds for either."""
    still = {name: 0 if name == "padding" else 1 for name in moves}
    return {
        name: value if isinstance(value, str) else (value[0], still[name]) if side == 0 else (still[name], value[1])
        for name, value in moves.items()
    }
