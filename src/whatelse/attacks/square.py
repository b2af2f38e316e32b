"""Square: a random search inside a ball that asks a model for its answers alone.

Source:
    Andriushchenko et al., Square attack: a query-efficient black-box adversarial attack via random search, ECCV 2020,
    arXiv:1912.00049, algorithms 2 and 3. Departures: the schedule is compressed to the queries there are, windows of
    examples lie apart from each other also in L2, they need not be square, inputs that are not images count as one row,
    and an example may be left early.
"""

from __future__ import annotations

import bisect
import math
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from whatelse.attacks import norms
from whatelse.attacks.apgd import Budget
from whatelse.evidence.cache import Evidence

_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
_SHARE, _TILES, _LEAST = 0.8, 5, 3
# Of the queries, after which an example is looked at again whether it may be left: at one and a half times the speed so
# far it would not arrive. (On eight networks, of 574 that fell after a twentieth of 200 queries none had been further
# off.) One that hardly moved is on a plain, from which it may fall.
_TENTHS, _FASTER, _MOVED = range(2, 10), 1.5, 0.05


def search(
    evidence: Evidence, inputs: Tensor, labels: Tensor, budget: Budget, rng: torch.Generator, *, stop: bool = False
) -> Tensor:
    """Return the point at which the search found the model most wrong about each input, of the shape of ``inputs``.

    In the L-infinity norm stripes of random sign come first; then at every query the features of a random square move
    to a random corner of the ball. In L2 a tiling of bumps comes first; then at every query the length that two random
    squares have is moved into the first, on a bump of random signs. A move is kept where the margin falls.

    Args:
        evidence: The model; only its answers are asked for.
        inputs: ``(M, ...)``, inside the bounds of the task.
        labels: True classes, ``(M,)``.
        budget: Radius, norm and queries.
        rng: Source of the first points, squares and signs.
        stop: Leave an example at the first point that fools, and where the rest of the queries would not lead there.
    """
    if not len(inputs):
        return inputs
    linf = budget.norm == "linf"
    clean = inputs if inputs.dim() == 4 else inputs.flatten(1)[:, None, None]
    bounds = evidence.bounds()
    best = (_striped if linf else _tiled)(clean, budget.radius, bounds, rng)
    least = _margin(evidence, best.view_as(inputs), labels)
    begun = _margin(evidence, inputs, labels) if stop else least
    looks = {budget.steps * tenth // 10: tenth / 10 for tenth in _TENTHS}
    on = _Search(torch.arange(len(inputs)), best.clone(), clean, labels, least, begun)
    inside = norms.within(clean, budget.radius, budget.norm, bounds)
    for query in range(budget.steps):
        stays = on.least >= 0 if stop else torch.ones_like(on.rows, dtype=torch.bool)
        if stop and query in looks:
            stays &= ~_lost(on.least, on.begun, looks[query])
        if not bool(stays.all()):
            best[on.rows] = on.best
            on = _Search(*(t[stays] for t in on))
            inside = norms.within(on.clean, budget.radius, budget.norm, bounds)
        if not len(on.rows):
            break
        share = _share(query / budget.steps)
        tried = inside((_cornered if linf else _bumped)(on.best, on.clean, budget.radius, share, rng))
        margin = _margin(evidence, tried.view(-1, *inputs.shape[1:]), on.labels)
        better = margin < on.least
        on = on._replace(
            best=torch.where(better.view(-1, 1, 1, 1), tried, on.best), least=torch.where(better, margin, on.least)
        )
    best[on.rows] = on.best
    return best.view_as(inputs)


class _Search(NamedTuple):
    """Where the search for some examples stands.

    Attributes:
        rows: Their numbers, ``(m,)``.
        best: The points of the least margin, as images.
        clean: The inputs, likewise.
        labels: True classes, ``(m,)``.
        least: The least margin, ``(m,)``.
        begun: That at the input, ``(m,)``.
    """

    rows: Tensor
    best: Tensor
    clean: Tensor
    labels: Tensor
    least: Tensor
    begun: Tensor


def _margin(evidence: Evidence, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return the score of the true class above the next best; negative where the model is fooled."""
    logits = evidence.answers(inputs)
    mine = logits.gather(1, labels[:, None]).squeeze(1)
    return mine - logits.scatter(1, labels[:, None], float("-inf")).amax(1)


def _lost(left: Tensor, begun: Tensor, done: float) -> Tensor:
    """Return where what is left of the margin is more than the rest of the search would take, ``(M,)``."""
    taken = begun - left
    return (taken > _MOVED * left) & (left > _FASTER * taken * (1 - done) / done)


def _share(done: float) -> float:
    """Return the share of the features in the window; of 10,000 queries it halves after 10, 50, 200, ..."""
    return _SHARE * 0.5 ** bisect.bisect_left(_HALVINGS, 10_000 * done)


def _striped(clean: Tensor, radius: float, bounds: norms.Bounds, rng: torch.Generator) -> Tensor:
    count, channels, _, width = clean.shape
    moved = clean + radius * _signs((count, channels, 1, width), clean, rng)
    return norms.project(moved, clean, radius, "linf", bounds)


def _cornered(best: Tensor, clean: Tensor, radius: float, share: float, rng: torch.Generator) -> Tensor:
    """Return points with the features of one random window an example in a corner of the ball, bounds aside."""
    count, channels, height, width = clean.shape
    tall, wide = _sides(height, width, share, 1)
    top, left = _corner(count, height - tall, rng), _corner(count, width - wide, rng)
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    window = (rows >= top) & (rows < top + tall) & (columns >= left) & (columns < left + wide)
    moved = clean + radius * _signs((count, channels, 1, 1), clean, rng)
    return torch.where(window, moved, best)


def _tiled(clean: Tensor, radius: float, bounds: norms.Bounds, rng: torch.Generator) -> Tensor:
    count, channels, height, width = clean.shape
    tall, wide = max(1, height // _TILES), max(1, width // _TILES)
    bump = _bump(tall, wide).to(clean.dtype)
    down, across = height // tall, width // wide
    signs = _signs((count, channels, down, across), clean, rng)
    move = torch.zeros_like(clean)
    tiles = torch.einsum("ncij,hw->ncihjw", signs, bump)
    move[:, :, : down * tall, : across * wide] = tiles.reshape(count, channels, down * tall, across * wide)
    return norms.project(clean + radius * norms.steepest(move, "l2"), clean, radius, "l2", bounds)


def _bumped(best: Tensor, clean: Tensor, radius: float, share: float, rng: torch.Generator) -> Tensor:
    """Return points with the length of two random windows in the first, on a bump added to what is there."""
    count, channels, height, width = clean.shape
    move = (best - clean).flatten(1)
    tall, wide = _sides(height, width, share, _LEAST)
    shape, within = (count, channels, tall, wide), _within(tuple(clean.shape[1:]), tall, wide)
    first, second = (_window(clean, tall, wide, rng) + within for _ in range(2))
    unused = (radius**2 - move.square().sum(1)).clamp_(min=0).view(-1, 1, 1, 1) / channels
    held = move.gather(1, first).view(shape)
    move.scatter_(1, first, 0.0)
    met = move.gather(1, second).view(shape)
    length = held.square().sum((2, 3), keepdim=True) + met.square().sum((2, 3), keepdim=True) + unused
    bump = _bump(tall, wide).to(clean.dtype)
    if tall == wide and bool(torch.rand(1, generator=rng) < 0.5):
        bump = bump.T
    fresh = bump * _signs((count, channels, 1, 1), clean, rng) + _unit(held)
    move.scatter_(1, second, 0.0).scatter_(1, first, (_unit(fresh) * length.sqrt_()).flatten(1))
    return clean + radius * norms.steepest(move, "l2").view_as(clean)


def _sides(height: int, width: int, share: float, least: int) -> tuple[int, int]:
    tall = min(height, max(least, round(math.sqrt(share * height * width))))
    return tall, min(width, max(least, round(share * height * width / tall)))


def _window(clean: Tensor, tall: int, wide: int, rng: torch.Generator) -> Tensor:
    """Return where one random window an example begins, ``(M, 1)``, among its features side by side."""
    count, _, height, width = clean.shape
    return (_corner(count, height - tall, rng) * width + _corner(count, width - wide, rng)).view(-1, 1)


@cache
def _within(shape: tuple[int, ...], tall: int, wide: int) -> Tensor:
    """Return where the features of a window in the first corner lie, in all channels, ``(channels * tall * wide,)``."""
    return torch.arange(math.prod(shape)).view(shape)[:, :tall, :wide].flatten()


@cache
def _bump(tall: int, wide: int) -> Tensor:
    """Return a window of two opposite halves, each a pyramid that falls off from its middle, of length 1."""
    half = tall // 2 if tall > 1 else wide // 2
    cut = [(half, wide), (tall - half, wide)] if tall > 1 else [(tall, half), (tall, wide - half)]
    bump = torch.cat([sign * _pyramid(*shape) for sign, shape in zip((1, -1), cut, strict=True)], 0 if tall > 1 else 1)
    bump /= bump.norm()
    return bump


def _pyramid(tall: int, wide: int) -> Tensor:
    """Return ``sum_k 1 / (k + 1)^2`` over the nested rectangles around the middle that hold each place."""
    rows, columns = torch.arange(tall)[:, None], torch.arange(wide)
    rings = max(tall // 2 + 1, wide // 2 + 1)
    found = torch.zeros(tall, wide)
    for k in range(rings):
        top, left = tall // 2 - k, wide // 2 - k
        inside = (rows >= top) & (rows <= top + 2 * k) & (columns >= left) & (columns <= left + 2 * k)
        found += inside / (k + 1) ** 2
    return found


def _unit(move: Tensor) -> Tensor:
    """Return the windows with every channel of length 1; 0 where it is 0."""
    return move / move.square().sum((2, 3), keepdim=True).sqrt().clamp(min=torch.finfo(move.dtype).tiny)


def _corner(count: int, room: int, rng: torch.Generator) -> Tensor:
    return torch.randint(room + 1, (count, 1, 1, 1), generator=rng)


def _signs(shape: tuple[int, ...], like: Tensor, rng: torch.Generator) -> Tensor:
    return (2.0 * torch.randint(2, shape, generator=rng) - 1.0).to(like.dtype)
