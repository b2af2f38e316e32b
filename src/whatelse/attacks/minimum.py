"""The smallest change that fools a model: a search with gradients (FMN), then a bisection on the model's answers.

Source:
    Pintor, Roli, Brendel & Biggio, Fast minimum-norm adversarial attacks through adaptive norm constraints, NeurIPS
    2021, arXiv:2102.12827. Departures: steps are lengths in units of the current radius, so that inputs may have any
    scale, and follow the sign of the gradient under the L-infinity norm; the first estimate of the radius overshoots a
    little, as a linear model is else never left; later runs begin at random points and each heads for another class;
    what is found is shortened by bisection.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from whatelse.attacks import attack, norms
from whatelse.evidence.cache import Evidence

# Of the kept points; raised when the same search would find others.
_VERSION = 2
# Every model of a study starts in the same random directions.
_START = 2021
# From the first to the last step of a run: the step in radii, and the share by which the radius changes.
_STEP, _GROWTH = (2.0, 0.05), (0.1, 0.001)
_HALVINGS = 12
# Kernels may round otherwise than the surrogate that gradients are of: a move that fails there goes a little further.
_SLACK = 1.01
OTHERS, _NEARER = 512, 0.9
# Forward passes of one bisection, its first look included.
SHORTENING = _HALVINGS + 1
NOISES = 10


@dataclass(frozen=True)
class Search:
    """How hard to search.

    Attributes:
        norm: One of `whatelse.attacks.norms.NORMS`.
        steps: Gradient steps of every run.
        starts: Runs.
        examples: How many test examples, from the first.
    """

    norm: str
    steps: int
    starts: int
    examples: int


@dataclass(frozen=True, eq=False)
class Found:
    """The nearest points known to fool a model.

    Attributes:
        points: ``(M, ...)``; the input itself where it is misclassified or where no point is known.
        distances: ``(M,)``: 0 where the input is misclassified, that to the far corner where no point is known.
        known: Whether a point is known, or the input misclassified, ``(M,)`` bool.
        blind: Where a line to another example leads nearer by a tenth than all gradients, ``(M,)`` bool.
    """

    points: Tensor
    distances: Tensor
    known: Tensor
    blind: Tensor


def own(evidence: Evidence, search: Search) -> Found:
    """Return the nearest points that fool the model, found with nothing but it; made once, kept with the evidence.

    Args:
        evidence: The model under attack.
        search: How hard.

    Raises:
        NotMeasurableError: The model does not differentiate, or test inputs leave their bounds.
    """
    evidence.subject.require("differentiates")
    attack.attacked(evidence, search.examples)
    return Found(**evidence.once(f"fmn {_VERSION} {search}", lambda: _own(evidence, search)))


def lent(evidence: Evidence, mine: Found, other: Found, norm: str) -> Tensor:
    """Return the distances after the points of another model were tried too, ``(M,)``; none grows.

    The other's move is scaled to the length of the model's own; where that fools the model, it is shortened.

    Args:
        evidence: The model under attack.
        mine: What was found on it.
        other: What was found on another model, for the same examples.
        norm: Of the distance.
    """
    inputs, labels = _examples(evidence, len(mine.points))
    move = other.points - inputs
    length = norms.size(move, norm)
    rows = ((mine.distances > 0) & (length > 0)).nonzero().flatten()
    scaled = move[rows] * _each(mine.distances[rows] / length[rows], move)
    points, hit = shortened(evidence, inputs[rows], labels[rows], scaled)
    distances = mine.distances.clone()
    reached = norms.size(points - inputs[rows], norm)
    distances[rows[hit]] = torch.minimum(distances[rows], reached)[hit]
    return distances


def noisy(evidence: Evidence, found: Found, norm: str, draws: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return which known points random noise of nine tenths of their length makes needless, and that noisy point.

    ``(M,)`` bool, and ``(M, ...)``; the input where no noise does.

    Args:
        evidence: The model under attack.
        found: What was found on it.
        norm: Of the distance.
        draws: Noises tried for each example.
        rng: Source of the noise.
    """
    inputs, labels = _examples(evidence, len(found.points))
    tried = (found.distances > 0) & found.known
    rows = tried.nonzero().flatten()
    clean, truth = inputs[rows], labels[rows]
    hits, points = torch.zeros_like(tried), inputs.clone()
    for _ in range(draws):
        # Drawn for all, so that every model meets the same noise.
        way = norms.steepest(torch.randn(inputs.shape, generator=rng)[rows], norm)
        at = (clean + way * _each(_NEARER * found.distances[rows], clean)).clamp(*evidence.bounds())
        hit = attack.fooled(evidence, at, truth)
        hits[rows[hit]], points[rows[hit]] = True, at[hit]
    return hits, points


def _examples(evidence: Evidence, count: int) -> tuple[Tensor, Tensor]:
    test = evidence.split("test")
    return test.inputs[:count], test.targets[:count]


def _own(evidence: Evidence, search: Search) -> dict[str, Tensor]:
    inputs, labels = _examples(evidence, search.examples)
    scores = evidence.logits("test")[: len(inputs)]
    rows = (scores.argmax(1) == labels).nonzero().flatten()
    clean, truth = inputs[rows], labels[rows]
    ranks = scores[rows].scatter(1, truth[:, None], float("-inf")).argsort(1, descending=True)
    rng = evidence.draws(_START)
    noise = [torch.randn(inputs.shape, generator=rng)[rows] for _ in range(search.starts - 1)]
    parts = [torch.split(t, evidence.batch) for t in (clean, truth, ranks, *noise)]
    moves = [_searched(evidence, x, y, r, ways, search) for x, y, r, *ways in zip(*parts, strict=True)]
    move = torch.cat(moves) if moves else torch.zeros_like(clean)
    sure = attack.fooled(evidence, clean + move, truth)
    near, led = shortened(evidence, clean, truth, torch.where(_each(sure, move), move, _SLACK * move))
    reach = torch.where(led, norms.size(near - clean, search.norm), math.inf)
    aside, joined = shortened(evidence, clean, truth, toward(evidence, clean, truth, search.norm))
    line = torch.where(joined, norms.size(aside - clean, search.norm), math.inf)
    points, distances = inputs.clone(), torch.zeros(len(inputs))
    known, blind = torch.ones(len(inputs), dtype=torch.bool), torch.zeros(len(inputs), dtype=torch.bool)
    points[rows] = torch.where(_each(line < reach, clean), aside, near)
    distances[rows] = torch.minimum(torch.minimum(reach, line), farthest(clean, evidence, search.norm))
    known[rows], blind[rows] = led | joined, line < _NEARER * reach
    found = Found(points, distances, known, blind)
    hits, at = noisy(evidence, found, search.norm, NOISES, rng)
    some = hits.nonzero().flatten()
    points[some], _ = shortened(evidence, inputs[some], labels[some], at[some] - inputs[some])
    distances[some] = torch.minimum(distances[some], norms.size(points[some] - inputs[some], search.norm))
    return {"points": points, "distances": distances, "known": known, "blind": blind}


def _searched(
    evidence: Evidence, clean: Tensor, labels: Tensor, ranks: Tensor, noise: list[Tensor], search: Search
) -> Tensor:
    """Return the shortest move that fooled the model in any run, of the shape of ``clean``; 0 where none did."""
    best = _Best(torch.zeros_like(clean), torch.full((len(clean),), math.inf))
    best = _run(evidence, clean, labels, None, best, torch.zeros_like(clean), search)
    far = farthest(clean, evidence, search.norm)
    for number, way in enumerate(noise, 1):
        target = ranks[:, number] if number < ranks.shape[1] - 1 else None
        radius = torch.minimum(best.length, far)
        start = clean + norms.steepest(way, search.norm) * _each(radius, clean)
        move = norms.project(start, clean, radius, search.norm, evidence.bounds()) - clean
        best = _run(evidence, clean, labels, target, best, move, search)
    return best.move


@dataclass(frozen=True, eq=False)
class _Best:
    """The shortest fooling moves so far, ``(M, ...)``, and their lengths, ``(M,)``: infinite where none is known."""

    move: Tensor
    length: Tensor


def _run(
    evidence: Evidence,
    clean: Tensor,
    labels: Tensor,
    target: Tensor | None,
    best: _Best,
    move: Tensor,
    search: Search,
) -> _Best:
    """Return the best moves after one run: the radius shrinks where the model is fooled, and grows where it is not."""
    norm, bounds = search.norm, evidence.bounds()
    far = farthest(clean, evidence, norm)
    radius = norms.size(move, norm)
    for k in range(search.steps):
        share = (1 + math.cos(math.pi * k / search.steps)) / 2
        step, growth = (last + share * (first - last) for first, last in (_STEP, _GROWTH))
        gap, slope, wrong = _look(evidence, clean + move, labels, target)
        length = norms.size(move, norm)
        better = wrong & (length < best.length)
        best = _Best(torch.where(_each(better, move), move, best.move), torch.where(better, length, best.length))
        # Of a linear model the border is exactly this far.
        border = gap.abs() / norms.dual(slope, norm).clamp(min=torch.finfo(gap.dtype).tiny)
        wider = torch.where(best.length.isfinite(), radius * (1 + growth), (length + border) * (1 + growth))
        radius = torch.where(wrong, torch.minimum(radius * (1 - growth), best.length), wider)
        radius = torch.minimum(radius.nan_to_num(), far)
        ahead = clean + move + norms.steepest(slope, norm) * _each(step * radius, move)
        move = norms.project(ahead, clean, radius, norm, bounds) - clean
    return best


def _look(evidence: Evidence, at: Tensor, labels: Tensor, target: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return the score of the true class above the target's, its slope downwards, and whether the model is wrong."""
    x = at.detach().requires_grad_()
    with torch.enable_grad():
        logits = evidence.slopes(evidence.laid(x))
        mine = logits.gather(1, labels[:, None]).squeeze(1)
        if target is None:
            rest = logits.scatter(1, labels[:, None], float("-inf")).amax(1)
        else:
            rest = logits.gather(1, target[:, None]).squeeze(1)
        gap = mine - rest
        (slope,) = torch.autograd.grad(-gap.sum(), x)
    evidence.passes.forward += len(x)
    evidence.passes.backward += len(x)
    return gap.detach(), slope.nan_to_num(), logits.detach().argmax(1) != labels


def shortened(evidence: Evidence, clean: Tensor, labels: Tensor, move: Tensor) -> tuple[Tensor, Tensor]:
    """Return points that fool the model on the way from inputs along moves, as near as halving finds them, and where.

    Where the end of the move, cut by the bounds, does not fool the model, the input is returned. Points ``(M, ...)``,
    and whether the move fools, ``(M,)`` bool; it takes `SHORTENING` answers for each.

    Args:
        evidence: The model; only its answers are asked for.
        clean: Inputs, ``(M, ...)``.
        labels: True classes, ``(M,)``.
        move: Of the shape of ``clean``.
    """
    low, high = evidence.bounds()
    hit = attack.fooled(evidence, (clean + move).clamp(low, high), labels)
    rows = hit.nonzero().flatten()
    start, truth, way = clean[rows], labels[rows], move[rows]
    near, far = torch.zeros(len(rows)), torch.ones(len(rows))
    for _ in range(_HALVINGS):
        middle = (near + far) / 2
        wrong = attack.fooled(evidence, (start + way * _each(middle, way)).clamp(low, high), truth)
        near, far = torch.where(wrong, near, middle), torch.where(wrong, middle, far)
    points = clean.clone()
    points[rows] = (start + way * _each(far, way)).clamp(low, high)
    return points, hit


def toward(evidence: Evidence, clean: Tensor, labels: Tensor, norm: str) -> Tensor:
    """Return the moves to the nearest of some test examples of which the model says another class; 0 if none.

    Args:
        evidence: The model; only what it says of test is asked for.
        clean: Inputs, ``(M, ...)``.
        labels: True classes, ``(M,)``.
        norm: Of the distance.
    """
    others, said = evidence.split("test").inputs[:OTHERS], evidence.predictions("test")[:OTHERS]
    apart = torch.cdist(clean.flatten(1), others.flatten(1), p=math.inf if norm == "linf" else 2.0)
    apart[said[None] == labels[:, None]] = math.inf
    nearest, which = apart.min(1)
    move = others[which].clamp(*evidence.bounds()) - clean
    return torch.where(_each(nearest.isfinite(), move), move, 0)


def farthest(clean: Tensor, evidence: Evidence, norm: str) -> Tensor:
    """Return how far off the farthest corner of the bounds lies, ``(M,)``.

    Args:
        clean: Inputs, ``(M, ...)``.
        evidence: Gives the bounds.
        norm: Of the distance.
    """
    low, high = evidence.bounds()
    return norms.size(torch.maximum(clean - low, high - clean), norm)


def _each(value: Tensor, like: Tensor) -> Tensor:
    return value.view(-1, *[1] * (like.dim() - 1))
