"""Linear maps from one representation to another, in closed form: what `alignment` and `probe` share."""

from __future__ import annotations

import torch
from torch import Tensor

from whatelse.behaviours.mechanism import _layers


def ridge(x: Tensor, y: Tensor, penalty: float) -> dict[str, Tensor]:
    """Return the ridge regression of ``y`` on ``x``: ``weight`` ``(dx, dy)`` and the means ``start`` and ``end``.

    Args:
        x: ``(N, dx)``.
        y: ``(N, dy)``.
        penalty: Of the squared weights, in units of the mean sum of squares of a column of ``x``.
    """
    start, end = x.mean(0, dtype=torch.float64), y.mean(0, dtype=torch.float64)
    gram, shared = _layers.cross(x, x, start, start), _layers.cross(x, y, start, end)
    level = gram.diagonal().mean()
    # Below a billionth of the squares, what varies is rounding: a constant layer says nothing.
    if level <= 1e-12 * len(x) * start.square().mean() or level == 0:
        return {"weight": torch.zeros_like(shared), "start": start, "end": end}
    gram.diagonal().add_(penalty * level)
    return {"weight": torch.linalg.solve(gram, shared), "start": start, "end": end}


def procrustes(x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Return the turn, with one scale, that brings ``x`` closest to ``y``: as in `ridge`, ``weight`` ``(dx, dy)``.

    Args:
        x: ``(N, dx)``.
        y: ``(N, dy)``; of another width, the turn keeps as many directions as the narrower has.
    """
    start, end = x.mean(0, dtype=torch.float64), y.mean(0, dtype=torch.float64)
    shared = _layers.cross(x, y, start, end)
    u, sizes, v = torch.linalg.svd(shared, full_matrices=False)
    turn = u @ v
    length = ((_layers.cross(x, x, start, start) @ turn) * turn).sum()
    scale = sizes.sum() / length if length > 0 else torch.zeros((), dtype=torch.float64)
    return {"weight": scale * turn, "start": start, "end": end}


def predict(fitted: dict[str, Tensor], x: Tensor) -> Tensor:
    """Return what a map says of ``x``, ``(N, dy)`` in double precision.

    Args:
        fitted: What `ridge` or `procrustes` returned.
        x: ``(N, dx)``.
    """
    return (x.double() - fitted["start"]) @ fitted["weight"] + fitted["end"]
