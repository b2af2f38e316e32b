"""Zero weights in a sweep over a layer's columns, letting the columns still to come make good for each loss.

With ``H`` the mean of ``x x^T`` over what enters a layer on the calibration split, damped by ``damping`` times its
mean diagonal, and ``U`` the upper Cholesky factor of ``H^-1``, ``U^T U = H^-1``: before each ``block`` of columns the
weights of lowest ``w[i, j]**2 / U[j, j]**2`` in it are chosen, over all rows; then from left to right each chosen
weight becomes zero, and ``w[i, j:] -= w[i, j] / U[j, j] * U[j, j:]``. This is optimal brain surgeon with every row's
inverse Hessian taken over the same columns ``j:``. ``pattern="2:4"`` chooses two of every four neighboring input
channels as the sweep comes to them; layers whose input channels do not come in fours are left alone.

Columns run over input channels first, then positions of the kernel. Each layer, and each group of a convolution, is
pruned to the same share, layers in the order in which they are called, each with the inputs that come out of those
pruned before. Weights that were zero stay zero and count toward the sparsity. Biases stay. Where we depart: the
paper leaves the first and last layer of a language model dense, we prune all; inputs that are always zero are kept
in the ranking (where they go first) instead of being zeroed outright, so that the sparsity is exact.

Left alone: layers that no calibration input reaches, tied weights, and the projections of ``nn.MultiheadAttention``.

Source:
    Frantar & Alistarh, SparseGPT: massive language models can be accurately pruned in one-shot, ICML 2023,
    arXiv:2301.00774.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whatelse.methods.prune._mask import as_weight, by_channel, called, prunable, two_of_four
from whatelse.modules.calibration import UNREACHED, grams
from whatelse.modules.notes import note
from whatelse.modules.stream import Stream
from whatelse.modules.walk import copied
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, KNOB, TAKES, LEAVES = 1, "sparsity", {"dense", "sparse"}, "sparse"
LAYERWISE = True


@dataclass(frozen=True)
class Config:
    """Settings of the sweep."""

    sparsity: float = param(0.5, "Share of each layer's weights to zero.", low=0.0, high=1.0)
    pattern: str = param("any", "Which weights may go; 2:4 is two of four inputs.", choices=("any", "2:4"))
    block: int = param(128, "Columns whose weights are ranked together.", low=1, high=100_000)
    damping: float = param(0.01, "Added to the Hessian, as a share of its mean diagonal.", low=1e-6, high=10.0)


@torch.no_grad()
def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a pruned copy whose remaining weights are adjusted.

    Args:
        model: Any module with convolutions or linear layers.
        config: How much to prune.
        task: Its calibration split, of which the inputs are read.
        rng: Not used; the method is deterministic.

    Raises:
        RecipeError: There is nothing to prune, or the sparsity does not go with the pattern.
    """
    del rng
    pruned = copied(model)
    inputs = task.calibration.inputs
    found = prunable(pruned, "prune.sparsegpt", config.sparsity, config.pattern)
    stream = Stream(pruned, inputs)
    left: dict[str, str] = {}
    for name, layer in called(pruned, found, inputs).items():
        gram = grams(pruned, {name: layer}, inputs, stream.watch).get(name)
        if gram is None:
            left[name] = UNREACHED
            continue
        weight = by_channel(layer.weight).double()
        order = by_channel(torch.arange(weight.shape[1]).view(1, *layer.weight.shape[1:])).flatten()
        quotas = _quotas(weight == 0, config.sparsity, len(gram), _block(config))
        parts = zip(weight.chunk(len(gram)), gram[:, order][:, :, order], quotas, strict=True)
        swept = torch.cat([_swept(rows, h, quota, config) for rows, h, quota in parts])
        layer.weight.copy_(as_weight(swept, layer.weight))
    note(pruned, left)
    return pruned


def _block(config: Config) -> int:
    return config.block if config.pattern == "any" else config.block + -config.block % 4


def _quotas(gone: Tensor, sparsity: float, groups: int, block: int) -> list[list[int]]:
    """Return how many weights go in each block of each group: what was zero, and an even share of the others."""
    tiles = [tile for rows in gone.chunk(groups) for tile in torch.split(rows, block, 1)]
    was = torch.tensor([int(t.sum()) for t in tiles])
    left = torch.tensor([t.numel() for t in tiles]) - was
    more = max(0, round(sparsity * gone.numel()) - int(was.sum()))
    # Rounded as a running total, so that the sum over blocks is exact.
    upto = (left.cumsum(0).double() * more / max(1, int(left.sum()))).round().long()
    lost = was + upto.diff(prepend=torch.zeros(1, dtype=torch.long))
    return [[int(n) for n in part] for part in lost.view(groups, -1)]


def _swept(weight: Tensor, gram: Tensor, quotas: list[int], config: Config) -> Tensor:
    """Return the rows of one group after the sweep, ``(rows, fan-in)``."""
    weight, gone = weight.clone(), weight == 0
    mean = gram.diagonal().mean()
    damped = gram + (config.damping * mean if mean > 0 else 1.0) * torch.eye(len(gram), dtype=gram.dtype)
    factor = torch.linalg.cholesky(torch.linalg.inv(damped), upper=True)
    block = _block(config)
    for start, quota in zip(range(0, len(gram), block), quotas, strict=True):
        stop = min(start + block, len(gram))
        if config.pattern == "any":
            gone[:, start:stop] = _lowest(weight, factor, gone, slice(start, stop), quota)
        for j in range(start, stop):
            if config.pattern == "2:4" and j % 4 == 0:
                gone[:, j : j + 4] |= ~two_of_four(_scores(weight, factor, gone, slice(j, j + 4)))
            error = weight[:, j].where(gone[:, j], 0.0) / factor[j, j]
            weight[:, j:] -= error[:, None] * factor[j, j:]
    return weight.masked_fill(gone, 0.0)


def _scores(weight: Tensor, factor: Tensor, gone: Tensor, columns: slice) -> Tensor:
    scores = weight[:, columns].square() / factor.diagonal()[columns].square()
    return scores.masked_fill(gone[:, columns], -torch.inf)


def _lowest(weight: Tensor, factor: Tensor, gone: Tensor, columns: slice, quota: int) -> Tensor:
    scores = _scores(weight, factor, gone, columns)
    lost = torch.zeros(scores.numel(), dtype=torch.bool)
    lost[scores.flatten().argsort(stable=True)[:quota]] = True
    return lost.view_as(scores)
