"""Replace each layer by two smaller ones, from the truncated singular value decomposition of its weight.

A linear layer ``W (out, in) ~ U V`` becomes ``V`` without bias, then ``U`` with the bias. A convolution, its weight
seen as ``(out, in * kh * kw)``, becomes a ``kh x kw`` convolution to ``r`` channels, then a 1x1 convolution. The
result is a real smaller network. ``r`` is the share ``rank`` of full rank, rounded up, or with ``energy`` the smallest
rank that keeps that share of the squared singular values; a layer for which two layers of that rank would hold no
fewer weights is left alone, and so are grouped convolutions, tied weights, layers that no calibration input reaches,
and layers of which the model takes more than their calls return (it reads the weight, asks for the kind, has a hook).

Plain, ``||W - U V||`` is least. With ``aware``, ``||(W - U V) X||`` is least for the calibration inputs ``X`` of that
layer: with ``S S^T = mean x x^T`` and ``Q`` the leading left singular vectors of ``W S``, the best ``U V`` is
``Q Q^T W``, which needs no inverse of ``S``. All inputs are those of the whole model; errors of the layers before are
not made up for (SVD-LLM's sequential update).

Source:
    Denton et al., Exploiting linear structure within convolutional networks, NeurIPS 2014, arXiv:1404.0736;
    Zhang et al., Accelerating very deep convolutional networks, TPAMI 2016, arXiv:1505.06798; aware: Chen et al.,
    DRONE: Data-aware low-rank compression for large NLP models, NeurIPS 2021; Wang et al., SVD-LLM, ICLR 2025,
    arXiv:2403.07378.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whatelse.errors import RecipeError
from whatelse.methods.decompose._parts import chain, rank_of, reached, replaced, spatial, through
from whatelse.modules.calibration import grams
from whatelse.modules.stream import Stream
from whatelse.modules.walk import Layer, copied, layers
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, KNOB, TAKES, LEAVES = 1, "rank", {"dense"}, "dense"
LAYERWISE = True

_FLOOR = 1e-12  # Variance lent to directions never seen, as a share of the largest: the weight decides among them.


@dataclass(frozen=True)
class Config:
    """Settings of decomposition by singular values."""

    rank: float = param(0.5, "Rank kept, as a share of the layer's full rank.", low=0.0, high=1.0)
    energy: float = param(0.0, "Share of squared singular values kept; 0 keeps a rank instead.", low=0.0, high=1.0)
    aware: bool = param(False, "Least error of the layer's outputs on calibration, not of its weights.")


@torch.no_grad()
def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a copy whose layers are products of smaller ones.

    Args:
        model: Any module; grouped convolutions and tied weights are left alone.
        config: How much rank to keep, and what error to keep small.
        task: Its calibration split, where the decomposition is aware of activations.
        rng: Not used; the method is deterministic.

    Raises:
        RecipeError: There is nothing to decompose, as after ``quantize.uniform``.
    """
    del rng
    small = copied(model)
    named = layers(small)
    if not named:
        raise RecipeError("decompose.svd: no convolution or linear layer to decompose; decompose before quantizing")
    whole = {n: layer for n, layer in named.items() if isinstance(layer, nn.Linear) or layer.groups == 1}
    whole, few = reached(small, whole, task.calibration.inputs)
    parts: dict[str, nn.Module] = {}
    stream = Stream(small, task.calibration.inputs)
    for some in stream.groups(whole) if config.aware else [whole]:
        seen = grams(small, some, task.calibration.inputs, stream.watch) if config.aware else {}
        parts |= {name: _factored(layer, config, seen.get(name)) for name, layer in some.items()}
    return replaced(small, whole, parts, few, "decompose.svd")


def looks(config: Config) -> bool:
    """Return whether the values of inputs decide anything of what it makes.

    Args:
        config: Whether it is aware of them.
    """
    return config.aware


def _factored(layer: Layer, config: Config, gram: Tensor | None) -> nn.Module:
    kind = torch.promote_types(layer.weight.dtype, torch.float32)  # no half precision has singular values
    matrix = layer.weight.flatten(1).to(kind)
    u, s, v = torch.linalg.svd(matrix if gram is None else _as_seen(matrix, gram[0]), full_matrices=False)
    rank = rank_of(s, config.rank, config.energy)
    if rank * sum(matrix.shape) >= matrix.numel():
        return layer
    if gram is not None:
        v = u.mT @ matrix.double()
        s = v.norm(dim=1)
        v = v / s.clamp(min=torch.finfo(s.dtype).tiny)[:, None]
    root = s[:rank].sqrt()
    down, up = root[:, None] * v[:rank], u[:, :rank] * root
    if isinstance(layer, nn.Linear):
        first = {"in_features": layer.in_features, "out_features": rank}
        second = {"in_features": rank, "out_features": layer.out_features}
        return chain(layer, {"down": (first, down), "up": (second, up)})
    first = through(layer.in_channels, rank) | spatial(layer)
    down, up = down.view(rank, *layer.weight.shape[1:]), up[:, :, None, None]
    return chain(layer, {"down": (first, down), "up": (through(rank, layer.out_channels), up)})


def _as_seen(matrix: Tensor, gram: Tensor) -> Tensor:
    """Return the weight times a root of the gram, whose rows have the length of the outputs."""
    variances, ways = torch.linalg.eigh(gram)
    most = float(variances[-1])
    floor = _FLOOR * most if most > 0 else 1.0
    seen: Tensor = matrix.double() @ (ways * (variances.clamp(min=0) + floor).sqrt())
    return seen
