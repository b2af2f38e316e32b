"""Replace each convolution by three smaller ones, from the Tucker-2 decomposition of its kernel.

``W (out, in, kh, kw) ~ core x_out A x_in B``: a 1x1 convolution ``B^T`` to ``r_in`` channels, a ``kh x kw`` convolution
by the core to ``r_out`` channels, and a 1x1 convolution ``A`` with the bias. Factors by higher-order orthogonal
iteration from the HOSVD. Along a mode of which all rank is kept the factor is absorbed in the core, and its 1x1
convolution saved. Ranks are the share ``rank`` of full rank, rounded up; or, with ``energy``, the smallest that keep
that share of the squared singular values of each unfolding; or, with ``budget``, of the ranks in proportion to the
channels the largest that hold no more than that share of the layer's weights. The paper chooses ranks by variational
Bayes, one setting for every layer is ours.

Left alone: what ``decompose.svd`` leaves alone, linear layers and 1x1 convolutions (matrices, ``decompose.svd`` is for
those), and a convolution that would not shrink.

Source:
    Kim et al., Compression of deep convolutional neural networks for fast and low power mobile applications, ICLR 2016,
    arXiv:1511.06530.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whatelse.errors import RecipeError
from whatelse.methods.decompose._parts import chain, rank_of, reached, replaced, spatial, through
from whatelse.methods.decompose._tucker import tucker, unfold
from whatelse.modules.walk import copied, layers
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, KNOB, TAKES, LEAVES = 1, "rank", {"dense"}, "dense"
LAYERWISE = True


@dataclass(frozen=True)
class Config:
    """Settings of the Tucker decomposition."""

    rank: float = param(0.5, "Ranks kept, as a share of full rank on either side.", low=0.0, high=1.0)
    energy: float = param(0.0, "Share of squared singular values kept on either side; 0 is off.", low=0.0, high=1.0)
    budget: float = param(0.0, "Most weights of a layer, as a share of what it has; 0 is off.", low=0.0, high=1.0)
    rounds: int = param(10, "Rounds of orthogonal iteration; 0 leaves the HOSVD.", low=0, high=1000)


@torch.no_grad()
def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a copy whose convolutions are chains of smaller ones.

    Args:
        model: Any module with convolutions larger than 1x1.
        config: How much rank to keep.
        task: Its calibration inputs show which layers are called.
        rng: Not used; the method is deterministic.

    Raises:
        RecipeError: There is no convolution to decompose.
    """
    del rng
    small = copied(model)
    named = {n: m for n, m in layers(small).items() if isinstance(m, nn.Conv2d)}
    named = {n: m for n, m in named.items() if m.groups == 1 and max(m.kernel_size) > 1}
    if not named:
        raise RecipeError("decompose.tucker: no ungrouped convolution above 1x1 to decompose; use decompose.svd")
    named, few = reached(small, named, task.calibration.inputs)
    parts = {name: _factored(layer, config) for name, layer in named.items()}
    return replaced(small, named, parts, few, "decompose.tucker")


def looks(config: Config) -> bool:
    """Return whether the values of inputs decide anything of what it makes.

    Args:
        config: Not used.
    """
    del config
    return False


def _factored(layer: nn.Conv2d, config: Config) -> nn.Module:
    leaving, entering, *kernel = layer.weight.shape
    r_out, r_in = ranks = _ranks(layer.weight, config)
    if _weights(ranks, layer.weight) >= layer.weight.numel():
        return layer
    kept = {mode: r for mode, r in enumerate(ranks) if r < layer.weight.shape[mode]}
    core, factors = tucker(layer.weight.double(), kept, config.rounds)
    parts = {"core": (through(r_in, r_out) | spatial(layer), core)}
    if 1 in kept:
        parts = {"into": (through(entering, r_in), factors[1].mT[:, :, None, None])} | parts
    if 0 in kept:
        parts["out"] = (through(r_out, leaving), factors[0][:, :, None, None])
    return chain(layer, parts)


def _ranks(weight: Tensor, config: Config) -> tuple[int, int]:
    if config.budget:
        return _within(weight, config.budget)
    values = (torch.linalg.svdvals(unfold(weight, mode)) for mode in (0, 1))
    out, entering = (rank_of(v, config.rank, config.energy) for v in values)
    return out, entering


def _within(weight: Tensor, budget: float) -> tuple[int, int]:
    most, best = max(weight.shape[:2]), (1, 1)
    for step in range(1, most + 1):
        out, entering = (max(1, round(step / most * size)) for size in weight.shape[:2])
        if _weights((out, entering), weight) <= budget * weight.numel():
            best = (out, entering)
    return best


def _weights(ranks: tuple[int, int], weight: Tensor) -> int:
    core = math.prod(ranks) * weight[0, 0].numel()
    return core + sum(r * size for r, size in zip(ranks, weight.shape, strict=False) if r < size)
