"""Geometry of a ball around clean inputs, in the L-infinity or the L2 norm, cut by the bounds of the inputs.

Inputs are ``(M, ...)``; a norm is taken over everything but the first axis. Bounds are a pair of numbers, or of tensors
that broadcast to the inputs, such as one value a feature. Clean inputs lie within them.

Source:
    Croce & Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks,
    ICML 2020, arXiv:2003.01690 (starts and steps). Departure: the source scales into the L2 ball and clips then, which
    leaves budget unused where the bounds bind; here the nearest point of the intersection is found.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

NORMS = ("linf", "l2")
Bounds: TypeAlias = "tuple[float | Tensor, float | Tensor]"
Inside: TypeAlias = Callable[[Tensor], Tensor]

# The set of features held at their bounds only grows, and hardly after the third round.
_ROUNDS = 12


def project(at: Tensor, clean: Tensor, radius: float | Tensor, norm: str, bounds: Bounds) -> Tensor:
    """Return the nearest points that lie in the ball around the clean inputs and within the bounds, ``(M, ...)``.

    Args:
        at: Points, ``(M, ...)``.
        clean: Centers of the balls, within the bounds, ``(M, ...)``.
        radius: Of every ball, or one each, ``(M,)``; in units of the input.
        norm: One of `NORMS`.
        bounds: Smallest and largest value of an input.
    """
    return within(clean, radius, norm, bounds)(at)


def within(clean: Tensor, radius: float | Tensor, norm: str, bounds: Bounds) -> Inside:
    """Return `project` for many points of the same balls, whose edges are worked out once.

    Args:
        clean: Centers of the balls, within the bounds, ``(M, ...)``.
        radius: Of every ball, or one each, ``(M,)``; in units of the input.
        norm: One of `NORMS`.
        bounds: Smallest and largest value of an input.
    """
    low, high = (_like(edge, clean) for edge in bounds)
    far = _each(radius, clean)
    if norm == "linf":
        low, high = torch.maximum(clean - far, low), torch.minimum(clean + far, high)
        return lambda at: at.clamp(low, high)
    low, high = low - clean, high - clean
    return lambda at: clean + _shrunk(at - clean, far, low, high)


def steepest(slope: Tensor, norm: str) -> Tensor:
    """Return the move of length 1 along which a function with that slope rises fastest, ``(M, ...)``; 0 where it is 0.

    Args:
        slope: Gradients, ``(M, ...)``.
        norm: In which the length is 1, one of `NORMS`.
    """
    if norm == "linf":
        return slope.sign()
    # Divided by the largest first: the square of a tiny gradient would underflow.
    slope = slope / _each(slope.flatten(1).abs().amax(1).clamp(min=torch.finfo(slope.dtype).tiny), slope)
    return slope / _each(slope.flatten(1).norm(dim=1).clamp(min=torch.finfo(slope.dtype).tiny), slope)


def start(clean: Tensor, radius: float | Tensor, norm: str, bounds: Bounds, rng: torch.Generator) -> Tensor:
    """Return random points of the balls: uniform in the L-infinity ball, on the L2 sphere; then cut by the bounds.

    Args:
        clean: Centers of the balls, within the bounds, ``(M, ...)``.
        radius: Of every ball, or one each, ``(M,)``.
        norm: One of `NORMS`.
        bounds: Smallest and largest value of an input.
        rng: Source of the randomness.
    """
    if norm == "linf":
        way = 2 * torch.rand(clean.shape, generator=rng, dtype=clean.dtype) - 1
    else:
        way = steepest(torch.randn(clean.shape, generator=rng, dtype=clean.dtype), norm)
    return project(clean + _each(radius, clean) * way, clean, radius, norm, bounds)


def size(move: Tensor, norm: str) -> Tensor:
    """Return the length of every move, ``(M,)``.

    Args:
        move: ``(M, ...)``.
        norm: One of `NORMS`.
    """
    length: Tensor = move.flatten(1).norm(dim=1, p=math.inf if norm == "linf" else 2)
    return length


def dual(slope: Tensor, norm: str) -> Tensor:
    """Return by how much a linear function rises at most along a move of length 1: its dual norm, ``(M,)``.

    Args:
        slope: Gradients, ``(M, ...)``.
        norm: Of the move, one of `NORMS`; its dual is L1 for ``linf``, L2 for ``l2``.
    """
    length: Tensor = slope.flatten(1).norm(dim=1, p=1 if norm == "linf" else 2)
    return length


def _shrunk(move: Tensor, radius: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return the nearest move of L2 length at most the radius, between low and high, which hold 0.

    It is ``clip(s * move)`` with one ``s`` in [0, 1] for each example. From the ``s`` that ignores the bounds upwards:
    what is held at its bound stays there, and the rest may take the length that this has left.
    """
    cut = move.clamp(low, high)
    shape, budget = move.shape, radius.flatten().square()
    # A feature is held at its bound where it would go further: there it takes its share of the budget as it is cut.
    length, tight = move.flatten(1).abs(), cut.flatten(1).abs()
    lengths, tights = length.square(), tight.square()
    inside = tights.sum(1) <= budget
    tiny = torch.finfo(move.dtype).tiny
    if not bool(inside.all()):
        beyond = length > tight
        scale, held = torch.ones_like(budget), beyond & (tight <= 0)
        for _ in range(_ROUNDS):
            left = budget - torch.where(held, tights, 0).sum(1)
            free = torch.where(held, 0, lengths).sum(1)
            scale = (left.clamp_(min=0) / free.clamp_(min=tiny)).sqrt_().clamp_(max=1)
            now = beyond & (length * scale[:, None] >= tight)
            if torch.equal(now, held):
                break
            held = now
        cut = (move * torch.where(inside, 1, scale).view(-1, *[1] * (len(shape) - 1))).clamp(low, high)
    # What rounding, or a round too few, leaves too long.
    over = cut.flatten(1).norm(dim=1).clamp_(min=tiny)
    shrunk: Tensor = cut * (radius.flatten() / over).clamp_(max=1).view(-1, *[1] * (len(shape) - 1))
    return shrunk


def _each(value: float | Tensor, like: Tensor) -> Tensor:
    """Return one value for each example, shaped so that it broadcasts over its features."""
    if not isinstance(value, Tensor) or value.dim() == 0:
        value = torch.full((len(like),), float(value), dtype=like.dtype)
    return value.to(like.dtype).view(-1, *[1] * (like.dim() - 1))


def _like(edge: float | Tensor, inputs: Tensor) -> Tensor:
    return torch.as_tensor(edge, dtype=inputs.dtype)
