"""Search over single replacements that an adversary may make, one after the other, by asking the model alone.

All replacements are tried, the few that hurt most are kept, and all further ones are tried on each of these. One
replacement deep the search is exhaustive; deeper it is the greedy search of Pruthi et al. with more than one beam.

Source:
    Pruthi, Dhingra & Lipton, Combating adversarial misspellings with robust word recognition, ACL 2019,
    arXiv:1905.11268, section 4; beams: Ebrahimi et al., HotFlip, ACL 2018, arXiv:1712.06751.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from whatelse.evidence.cache import Evidence

# Points kept at every depth.
WIDTH = 3
# Values of the inputs that are made at once, and entries of the table of moves that is held at once.
_VALUES = 4_000_000


class Moves(Protocol):
    """The replacements that points may take, numbered from 0."""

    @property
    def count(self) -> int:
        """Number of replacements."""

    def open(self, points: Tensor, clean: Tensor) -> Tensor:
        """Return which replacements each point may still take, ``(P, count)`` bool.

        Args:
            points: Where the search has come to, ``(P, ...)``.
            clean: Where it began, ``(P, ...)``.
        """

    def made(self, points: Tensor, moves: Tensor) -> Tensor:
        """Return each point after one replacement, ``(P, ...)``.

        Args:
            points: ``(P, ...)``.
            moves: Number of the replacement of each point, ``(P,)``.
        """


def margin(evidence: Evidence, points: Tensor, labels: Tensor) -> Tensor:
    """Return the score of the true class above the next best, ``(P,)``; negative where the model is wrong.

    Args:
        evidence: The model.
        points: ``(P, ...)``.
        labels: True classes, ``(P,)``.
    """
    if not len(points):
        return torch.zeros(0)
    logits = evidence.answers(points)
    mine = logits.gather(1, labels[:, None]).squeeze(1)
    return mine - logits.scatter(1, labels[:, None], float("-inf")).amax(1)


def wrong(evidence: Evidence, points: Tensor, labels: Tensor) -> Tensor:
    """Return whether the model predicts another class than the true one, ``(P,)``.

    Args:
        evidence: The model.
        points: ``(P, ...)``.
        labels: True classes, ``(P,)``.
    """
    return evidence.answers(points).argmax(1) != labels


def rows(inputs: Tensor, moves: int) -> int:
    """Return how many examples are searched at once, so that their points and the table of their moves stay small.

    Args:
        inputs: All of them, ``(M, ...)``.
        moves: Number of replacements.
    """
    return max(1, min(len(inputs), _VALUES // (WIDTH * max(moves, math.prod(inputs.shape[1:])))))


def widen(evidence: Evidence, beams: Tensor, clean: Tensor, labels: Tensor, moves: Moves) -> tuple[Tensor, Tensor]:
    """Return the `WIDTH` points one replacement further on at which the model is most wrong, and their margins.

    Points ``(M, WIDTH, ...)`` and margins ``(M, WIDTH)``, the worst first. Where fewer replacements are left, a beam
    stays where it is and its margin is infinite.

    Args:
        evidence: The model; only its answers are asked for.
        beams: Points of every example, ``(M, beams, ...)``.
        clean: Where the search began, ``(M, ...)``.
        labels: True classes, ``(M,)``.
        moves: The replacements.
    """
    many, width = beams.shape[:2]
    if not moves.count:
        return beams, torch.full((many, width), math.inf)
    points, origin = beams.flatten(0, 1), clean.repeat_interleave(width, 0)
    seen = torch.full((len(points), moves.count), math.inf)
    pairs = moves.open(points, origin).nonzero()
    truth = labels.repeat_interleave(width)
    for part in torch.split(pairs, max(1, _VALUES // math.prod(clean.shape[1:]))):
        row, move = part.unbind(1)
        seen[row, move] = margin(evidence, moves.made(points[row], move), truth[row])
    least, best = seen.view(many, width * moves.count).topk(min(WIDTH, width * moves.count), largest=False)
    row = (torch.arange(many)[:, None] * width + best.div(moves.count, rounding_mode="floor")).flatten()
    kept = points[row]
    made = moves.made(kept, best.flatten() % moves.count)
    still = least.flatten().isinf().view(-1, *[1] * (clean.dim() - 1))
    return torch.where(still, kept, made).view(many, -1, *clean.shape[1:]), least


def worst(points: Tensor, margins: Tensor) -> Tensor:
    """Return of the points of every example the one with the least margin, the first of equals, ``(M, ...)``.

    Args:
        points: ``(M, K, ...)``.
        margins: ``(M, K)``.
    """
    return points[torch.arange(len(points)), margins.argmin(1)]


def tries(moves: int, depth: int) -> int:
    """Return how many points are tried for one example at most.

    Args:
        moves: Replacements that it may take.
        depth: How many are made one after the other.
    """
    return moves * (1 + WIDTH * (depth - 1)) if depth else 0
