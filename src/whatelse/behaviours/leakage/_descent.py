"""Two ways downhill, many searches side by side: each row has its own point, step and history.

Source:
    Kingma & Ba, Adam, ICLR 2015, arXiv:1412.6980; Nocedal & Wright, Numerical optimization, 2006, algorithms 3.1
    (backtracking) and 7.4 (two loops of L-BFGS).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

# Takes points ``(B, d)``; returns values ``(B,)`` and slopes ``(B, d)``, each row of its own.
Ask = Callable[[Tensor], tuple[Tensor, Tensor]]

_BETAS, _TINY = (0.9, 0.999), 1e-300
_HISTORY, _ENOUGH, _SHORTEST = 20, 1e-4, 1e-8


def adam(
    ask: Ask, start: Tensor, iterations: int, rate: Tensor, inside: tuple[Tensor, Tensor], *, signed: bool
) -> Tensor:
    """Return where Adam ends, ``(B, d)``; its rate falls to zero along half a cosine.

    Args:
        ask: Gives values and slopes.
        start: ``(B, d)``.
        iterations: Steps, of one question each.
        rate: Largest step by entry, ``(d,)``.
        inside: Smallest and largest value by entry, ``(d,)`` each.
        signed: Take of the slope only its sign.
    """
    here = start
    first, second = torch.zeros_like(here), torch.zeros_like(here)
    for step in range(iterations):
        slope = ask(here)[1]
        slope = slope.sign() if signed else slope
        first = _BETAS[0] * first + (1 - _BETAS[0]) * slope
        second = _BETAS[1] * second + (1 - _BETAS[1]) * slope.square()
        steep = (second / (1 - _BETAS[1] ** (step + 1))).sqrt().clamp(min=_TINY)
        now = rate * (1 + math.cos(math.pi * step / iterations)) / 2
        here = (here - now * first / (1 - _BETAS[0] ** (step + 1)) / steep).clamp(*inside)
    return here


def lbfgs(ask: Ask, start: Tensor, iterations: int) -> Tensor:
    """Return where L-BFGS ends, ``(B, d)``: never higher than it began.

    One question an iteration: a step that does not lead down far enough is halved and asked again. A search whose
    steps become too short forgets its history and goes straight down.

    Args:
        ask: Gives values and slopes.
        start: ``(B, d)``.
        iterations: Questions, after that at the start.
    """
    here = start
    value, slope = ask(here)
    way, length = _downhill(slope), torch.ones_like(value)
    past: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=_HISTORY)
    for _ in range(iterations):
        step = length[:, None] * way
        there, new = ask(here + step)
        good = there <= value + _ENOUGH * (slope * step).sum(1)
        turn = new - slope
        bent = (step * turn).sum(1)
        kept = good & (bent > 1e-12 * step.norm(dim=1) * turn.norm(dim=1))
        past.append((step, turn, torch.where(kept, 1 / bent.where(kept, 1.0), 0.0)))
        here, slope = torch.where(good[:, None], here + step, here), torch.where(good[:, None], new, slope)
        value = torch.where(good, there, value)
        way = torch.where(good[:, None], _turned(slope, past), way)
        length = torch.where(good, 1.0, length / 2)
        lost = (length < _SHORTEST) | ~((way * slope).sum(1) < 0)
        if bool(lost.any()):
            past = deque(((s, y, r.where(~lost, 0.0)) for s, y, r in past), maxlen=_HISTORY)
            way, length = torch.where(lost[:, None], _downhill(slope), way), torch.where(lost, 1.0, length)
    return here


def _downhill(slope: Tensor) -> Tensor:
    return -slope / slope.abs().sum(1, keepdim=True).clamp(min=1.0)


def _turned(slope: Tensor, past: deque[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Return minus the slope times the inverse curvature that the history tells; a pair with weight 0 tells nothing."""
    q, weights = slope, []
    for step, turn, r in reversed(past):
        weights.append(r * (step * q).sum(1))
        q = q - weights[-1][:, None] * turn
    scale = torch.ones_like(slope[:, 0])
    for _, turn, r in past:  # of the last pair that tells anything
        scale = torch.where(r > 0, 1 / (r * turn.square().sum(1)).where(r > 0, 1.0), scale)
    q = scale[:, None] * q
    for (step, turn, r), weight in zip(past, reversed(weights), strict=True):
        q = q + (weight - r * (turn * q).sum(1))[:, None] * step
    return -q
