"""The smallest change that fools a model, found by asking it for labels alone: HopSkipJump.

From a point on the border of the decision, random moves that cross it tell where the border faces; a step that way is
halved until it fools the model, and a bisection leads back to the border, nearer to the input.

Source:
    Chen, Jordan & Wainwright, HopSkipJumpAttack: a query-efficient decision-based attack, IEEE S&P 2020,
    arXiv:1904.02144, algorithm 2. Departures: it begins on the lines to the nearest test examples of the four other
    classes that are nearest, at the one whose border is, and only where the model says no other class at noise; random
    moves are a tenth of the distance long, as shorter ones are lost where a model rounds what it is given; there are as
    many rounds as the queries allow; of all points on the border the nearest is kept, and shortened by bisection.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from whatelse.attacks import attack, minimum, norms
from whatelse.evidence.cache import Evidence

# Of the kept points; raised when the same search would find others.
_VERSION = 1
# Every model of a study, and every example, is asked at the same random moves.
_START = 2020
# Random moves of the first round, which grow with the root of its number; halvings of a step; noises tried where no
# other class is known; length of a random move in distances; classes that are headed for at first.
_MOVES, _STEPS, _NOISES, _REACH, _CLASSES = 100, 10, 10, 0.1, 4
_FEWEST = 10
# Values of the inputs of one call: 8 MB in single precision.
_VALUES = 2_000_000
# Answers before the first round and after the last.
AROUND = (_CLASSES + 2) * minimum.SHORTENING + _NOISES


@dataclass(frozen=True)
class Search:
    """How hard to search.

    Attributes:
        norm: One of `whatelse.attacks.norms.NORMS`.
        queries: Answers an example at most, of the rounds and around them.
        examples: How many test examples, from the first.
    """

    norm: str
    queries: int
    examples: int


def own(evidence: Evidence, search: Search) -> minimum.Found:
    """Return the nearest points that fool the model, found by its labels alone; made once, kept with the evidence.

    Args:
        evidence: The model under attack.
        search: How hard.

    Raises:
        NotMeasurableError: The model answers no new inputs, or test inputs leave their bounds.
    """
    evidence.subject.require("predicts")
    attack.attacked(evidence, search.examples)
    return minimum.Found(**evidence.once(f"hop skip jump {_VERSION} {search}", lambda: _own(evidence, search)))


def rounds(queries: int, features: int, norm: str) -> list[int]:
    """Return how many random moves are asked about in each round; empty where the queries allow none.

    Args:
        queries: Answers an example at most.
        features: Values of an input.
        norm: Decides how long a bisection is.
    """
    found: list[int] = []
    left = queries - AROUND
    fixed = _STEPS + _halvings(features, norm)
    while left - fixed >= _FEWEST:
        found.append(min(round(_MOVES * math.sqrt(len(found) + 1)), left - fixed))
        left -= found[-1] + fixed
    return found


def _halvings(features: int, norm: str) -> int:
    """Return the halvings that bring a bisection down to the threshold of the source."""
    return max(1, math.ceil((2.0 if norm == "linf" else 1.5) * math.log2(max(2, features))))


def _own(evidence: Evidence, search: Search) -> dict[str, Tensor]:
    test = evidence.split("test")
    inputs, labels = test.inputs[: search.examples], test.targets[: search.examples]
    rows = (evidence.predictions("test")[: len(inputs)] == labels).nonzero().flatten()
    clean, truth = inputs[rows], labels[rows]
    at, hit = _begun(evidence, clean, truth, search.norm)
    some = hit.nonzero().flatten()
    near = _walked(evidence, (clean[some], truth[some]), at[some], search)
    near, _ = minimum.shortened(evidence, clean[some], truth[some], near - clean[some])
    points, distances = inputs.clone(), torch.zeros(len(inputs))
    known = torch.ones(len(inputs), dtype=torch.bool)
    points[rows[some]], known[rows] = near, hit
    distances[rows] = minimum.farthest(clean, evidence, search.norm)
    distances[rows[some]] = torch.minimum(distances[rows[some]], norms.size(near - clean[some], search.norm))
    return {"points": points, "distances": distances, "known": known, "blind": torch.zeros_like(known)}


def _begun(evidence: Evidence, clean: Tensor, labels: Tensor, norm: str) -> tuple[Tensor, Tensor]:
    """Return a point that fools the model for each input, near the border, and whether there is one."""
    at, hit = clean.clone(), torch.zeros(len(clean), dtype=torch.bool)
    least = torch.full((len(clean),), math.inf)
    for move in _toward(evidence, clean, labels, norm):
        found, fools = minimum.shortened(evidence, clean, labels, move)
        length = norms.size(found - clean, norm).where(fools, math.inf)
        at = torch.where(_each(length < least, at), found, at)
        hit, least = hit | fools, torch.minimum(length, least)
    rng, (low, high) = evidence.draws(_START), evidence.bounds()
    end = clean.clone()
    for _ in range(_NOISES):
        noise = low + (high - low) * torch.rand(clean.shape[1:], generator=rng, dtype=clean.dtype)
        rows = (~hit & (end == clean).flatten(1).all(1)).nonzero().flatten()
        fools = attack.fooled(evidence, noise.expand(len(rows), *noise.shape), labels[rows])
        end[rows[fools]] = noise
    rows = (~hit).nonzero().flatten()
    at[rows], hit[rows] = minimum.shortened(evidence, clean[rows], labels[rows], end[rows] - clean[rows])
    return at, hit


def _toward(evidence: Evidence, clean: Tensor, labels: Tensor, norm: str) -> list[Tensor]:
    """Return the moves to the nearest test examples of which the model says another class, one a class; 0 if none."""
    others, said = evidence.split("test").inputs[: minimum.OTHERS], evidence.predictions("test")[: minimum.OTHERS]
    apart = torch.cdist(clean.flatten(1), others.flatten(1), p=math.inf if norm == "linf" else 2.0)
    near, which = [], []
    for one in range(evidence.task.classes):
        nearest, place = apart.where((said == one) & (labels[:, None] != one), math.inf).min(1)
        near.append(nearest)
        which.append(place)
    far, order = torch.stack(near).topk(min(_CLASSES, len(near) - 1), dim=0, largest=False)
    chosen = torch.stack(which).gather(0, order)
    return [
        torch.where(_each(one.isfinite(), clean), others[at].clamp(*evidence.bounds()) - clean, 0)
        for one, at in zip(far, chosen, strict=True)
    ]


def _walked(evidence: Evidence, given: tuple[Tensor, Tensor], at: Tensor, search: Search) -> Tensor:
    """Return the nearest of the border points that the rounds come to, of the shape of ``at``."""
    clean, labels = given
    if not len(at):
        return at
    features = at[0].numel()
    best, least = at, norms.size(at - clean, search.norm)
    rng = evidence.draws(_START + 1)
    for number, count in enumerate(rounds(search.queries, features, search.norm), 1):
        ways = torch.randn(count, *clean.shape[1:], generator=rng, dtype=clean.dtype)
        slope = _slope(evidence, given, at, norms.steepest(ways, "l2"))
        step = norms.size(at - clean, search.norm) / math.sqrt(number)
        at = _stepped(evidence, given, at, slope, step, search.norm)
        at = _projected(evidence, given, at, _halvings(features, search.norm), search.norm)
        length = norms.size(at - clean, search.norm)
        best = torch.where(_each(length < least, at), at, best)
        least = torch.minimum(length, least)
    return best


def _slope(evidence: Evidence, given: tuple[Tensor, Tensor], at: Tensor, ways: Tensor) -> Tensor:
    """Return the direction in which the model is fooled more, of the shape of ``at``.

    It is the sum of moves in random directions, cut by the bounds, each times 1 where it fools the model and -1 where
    it does not, less the mean of that; where all of them fool it, or none, the mean is left.
    """
    clean, labels = given
    low, high = evidence.bounds()
    reach = _REACH * norms.size(at - clean, "l2")
    net, signed, plain = torch.zeros(len(at)), torch.zeros_like(at), torch.zeros_like(at)
    for part in torch.split(ways, max(1, _VALUES // at.numel())):
        moved = (at[:, None] + _each(reach, at)[:, None] * part).clamp(low, high)
        fools = attack.fooled(evidence, moved.flatten(0, 1), labels.repeat_interleave(len(part)))
        sign = 2.0 * fools.view(len(at), -1) - 1
        move = moved - at[:, None]
        signed += torch.einsum("mk,mk...->m...", sign, move)
        plain += move.sum(1)
        net += sign.sum(1)
    mean = net / len(ways)
    return signed - _each(mean.where(mean.abs() < 1, 0), at) * plain


def _stepped(
    evidence: Evidence, given: tuple[Tensor, Tensor], at: Tensor, slope: Tensor, step: Tensor, norm: str
) -> Tensor:
    """Return points a step up the slope, halved until the model is fooled; none is taken where it never is."""
    labels, way = given[1], norms.steepest(slope, norm)
    found, rows = at.clone(), torch.arange(len(at))
    for _ in range(_STEPS):
        ahead = (at[rows] + way[rows] * _each(step[rows], at)).clamp(*evidence.bounds())
        fools = attack.fooled(evidence, ahead, labels[rows])
        found[rows[fools]] = ahead[fools]
        rows, step = rows[~fools], step / 2
    return found


def _projected(evidence: Evidence, given: tuple[Tensor, Tensor], at: Tensor, halvings: int, norm: str) -> Tensor:
    """Return the points where the way from fooling points to their inputs crosses the border, on the fooling side.

    The way is a straight line in L2; in the L-infinity norm all features are brought nearer alike.
    """
    clean, labels = given
    length = norms.size(at - clean, norm)
    near, far, best = torch.zeros(len(at)), torch.ones(len(at)), at
    for _ in range(halvings):
        middle = (near + far) / 2
        if norm == "linf":
            reach = _each(middle * length, at)
            tried = clean + (at - clean).clamp(-reach, reach)
        else:
            tried = clean + (at - clean) * _each(middle, at)
        fools = attack.fooled(evidence, tried, labels)
        near, far = torch.where(fools, near, middle), torch.where(fools, middle, far)
        best = torch.where(_each(fools, at), tried, best)
    return best


def _each(value: Tensor, like: Tensor) -> Tensor:
    return value.view(-1, *[1] * (like.dim() - 1))
