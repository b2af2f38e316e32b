"""How two attribution maps of the same inputs are held against each other: one number an example, (n,)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from whatelse.explainers import maps as _maps

# Of the structural similarity: Wang et al. 2004, with the values in [0, 1].
_SIGMA, _REACH, _LEVEL, _CONTRAST = 1.5, 5, 0.01**2, 0.03**2
_CELLS = 16


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Return the cosine of the signed maps.

    Args:
        a: ``(n, features)``.
        b: As ``a``.
    """
    return functional.cosine_similarity(a, b, dim=1)


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Return the rank correlation of the absolute maps over the features that are not zero in both.

    Args:
        a: ``(n, features)``.
        b: As ``a``.
    """
    kept = (a != 0) | (b != 0)
    x = _centered_ranks(a.abs(), kept)
    y = x if torch.equal(a, b) else _centered_ranks(b.abs(), kept)
    scale = (x.square().sum(1) * y.square().sum(1)).sqrt()
    # A map of one value throughout ranks nothing: it is as bad as none.
    return torch.where(scale > 0, (x * y).sum(1) / scale.clamp(min=1e-12), -1.0)


def sign(a: Tensor, b: Tensor) -> Tensor:
    """Return the share of features with the same sign, among those that are not zero in both.

    Args:
        a: ``(n, features)``.
        b: As ``a``.
    """
    kept = (a != 0) | (b != 0)
    return ((a.sign() == b.sign()) & kept).sum(1) / kept.sum(1).clamp(min=1)


def top(share: float, told: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the score of the overlap (intersection over union) of the features that rank highest in absolute value.

    Args:
        share: How many of the features are the highest.
        told: Which features are there, ``(n, features)``; the share is of these.
    """
    count = (share * told.sum(1).double()).round().long().clamp(min=1)

    def score(a: Tensor, b: Tensor) -> Tensor:
        x, y = _highest(a.abs(), count), _highest(b.abs(), count)
        return (x & y).sum(1) / (x | y).sum(1).clamp(min=1)

    return score


def ssim(shape: tuple[int, ...]) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the score of structural similarity: absolute maps summed over channels, pooled, scaled to a maximum of 1.

    Pooled means averaged to at least 16 cells a side, where there are as many; the Gaussian window is of 11 cells, less
    in tiny maps, and sees the map reflected at its border.

    Args:
        shape: ``(channels, height, width)``.
    """
    reach = min(_REACH, *(n // _factor(shape) - 1 for n in shape[1:]))
    window = _gaussian(2 * reach + 1)

    def blur(x: Tensor) -> Tensor:
        x = functional.pad(x, (reach, reach, reach, reach), "reflect")
        return functional.conv2d(functional.conv2d(x, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))

    def score(a: Tensor, b: Tensor) -> Tensor:
        x, y = _pooled(a, shape), _pooled(b, shape)
        mx, my = blur(x), blur(y)
        vx, vy, both = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
        level = (2 * mx * my + _LEVEL) / (mx * mx + my * my + _LEVEL)
        return (level * (2 * both + _CONTRAST) / (vx + vy + _CONTRAST)).flatten(1).mean(1)

    return score


def _centered_ranks(maps: Tensor, kept: Tensor) -> Tensor:
    # What is left out ranks below everything else, which shifts the other ranks by a constant.
    ranks = _maps.ranks(torch.where(kept, maps, -1.0))
    mean = (ranks * kept).sum(1, keepdim=True) / kept.sum(1, keepdim=True).clamp(min=1)
    return (ranks - mean) * kept


def _highest(maps: Tensor, count: Tensor) -> Tensor:
    # All that tie with the last of the top belong to it, so that no order of the features decides; zeros never do.
    best = maps.topk(int(count.max()), dim=1).values.gather(1, count[:, None] - 1)
    return (maps >= best) & (maps > 0)


def _factor(shape: tuple[int, ...]) -> int:
    return max(1, min(shape[1:]) // _CELLS)


def _pooled(maps: Tensor, shape: tuple[int, ...]) -> Tensor:
    seen = maps.abs().view(-1, *shape).sum(1, keepdim=True)
    seen = functional.avg_pool2d(seen, _factor(shape))
    return seen / seen.amax((2, 3), keepdim=True).clamp(min=torch.finfo(seen.dtype).tiny)


def _gaussian(side: int) -> Tensor:
    way = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    found = torch.exp(-(way**2) / (2 * _SIGMA**2))
    return found / found.sum()
