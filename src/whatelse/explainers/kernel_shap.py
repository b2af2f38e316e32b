"""Shapley values of the log-odds margin, from answers to inputs of which all but a coalition of parts is hidden.

Parts and what stands in their place are those of occlusion: patches of images, columns, tokens. Where a task has few
parts every coalition is asked, and the values are exact; where it has more, coalitions are drawn in pairs of opposites
with the Shapley kernel, sizes of which the budget allows all being taken whole, and a weighted least squares fit that
adds up exactly stands for the values. All models, and all examples, are asked the same coalitions.

Source:
    Lundberg & Lee, A unified approach to interpreting model predictions, NeurIPS 2017, arXiv:1705.07874 (the kernel,
    and that whole sizes come first); Covert & Lee, Improving KernelSHAP: practical Shapley value estimation via linear
    regression, AISTATS 2021, arXiv:2012.01536 (pairs). Departure: a part that is what would stand in its place is worth
    exactly nothing, and takes no part in the fit.
"""

from __future__ import annotations

import math
from itertools import combinations

import torch
from torch import Tensor

from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.evidence.loudness import margin
from whatelse.explainers import captum
from whatelse.tasks.task import Task

_SEED = 20_170_503
# Where no number is given: so many for every part, and no fewer than that.
_EACH, _LEAST = 8, 254
# Fewer for a part leave the fit without a single answer.
_NEEDED = 4
# Values of the inputs of one call: 8 MB in single precision.
_VALUES = 2_000_000


def asked(task: Task, given: int) -> int:
    """Return how many coalitions an input is asked with, none and all of its parts aside.

    Args:
        task: Gives the parts of an input.
        given: The most; 0 for eight a part, 254 at the least.
    """
    parts = captum.patches(task)
    most = given or max(_EACH * parts, _LEAST)
    return 2**parts - 2 if 2**parts - 2 <= most else most - most % 2


def mapped(evidence: Evidence, inputs: Tensor, labels: Tensor, given: int) -> Tensor:
    """Return the Shapley value of each part, ``(M, ...)``; of images ``(M, 1, height, width)``.

    Args:
        evidence: Gives the answers; nothing else is asked of the model.
        inputs: ``(M, ...)``.
        labels: The class that is explained, ``(M,)``.
        given: Coalitions at most; 0 for eight a part.

    Raises:
        NotMeasurableError: There are too few coalitions for the parts, or an answer is not finite.
    """
    task, parts = evidence.task, captum.patches(evidence.task)
    count = asked(task, given)
    if count < min(2**parts - 2, _NEEDED * parts):
        raise NotMeasurableError(
            f"kernel shap of {parts} parts needs {_NEEDED * parts} coalitions; it is given {given}"
        )
    kept, weights = coalitions(parts, count, evidence.draws(_SEED))
    where, hidden = _places(task), captum.hidden(evidence)
    empty = evidence.answers(hidden[None])
    found = []
    for x, y in zip(*(torch.split(part, _room(inputs, len(kept))) for part in (inputs, labels)), strict=True):
        odds = _odds(evidence, (x, y), hidden, kept[:, where])
        ends = [
            _finite(evidence, margin(evidence, s.double(), y)) for s in (evidence.answers(x), empty.expand(len(x), -1))
        ]
        there = _there(x != hidden, where, parts)
        found.append(fitted(kept, weights, odds - ends[1][:, None], ends[0] - ends[1], there))
    spread = torch.cat(found)[:, where] if found else inputs.new_zeros(0, *where.shape)
    return (spread[:, None] if task.modality == "images" else spread).float()


def coalitions(parts: int, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return coalitions of parts, ``(K, parts)`` bool, and the weight of each in the fit, ``(K,)``.

    All of them, weighted with the kernel, where there are no more than ``count``. Else whole sizes from the outside in,
    as long as those that are due to a size would be enough for all of it; the rest in pairs, as the kernel has sizes,
    each of what weight is left over.

    Args:
        parts: Parts of an input.
        count: How many at most.
        rng: Source of those that are drawn.
    """
    if parts == 1:
        return torch.ones(1, 1, dtype=torch.bool), torch.ones(1, dtype=torch.float64)
    sizes = torch.arange(1, parts, dtype=torch.float64)
    share = 1 / (sizes * (parts - sizes))
    share /= share.sum()  # of the weight of all coalitions of a size
    rows: list[Tensor] = []
    weights: list[float] = []
    done = 0
    while done < parts // 2:
        size = done + 1
        pair = {size, parts - size}
        all_ = len(pair) * math.comb(parts, size)
        due = float(sum(share[s - 1] for s in pair) / share[done : parts - 1 - done].sum())
        if (count - len(rows)) * due < all_ - 1e-9:
            break
        for s in sorted(pair):
            rows += [_row(parts, held) for held in combinations(range(parts), s)]
            weights += [float(share[s - 1]) / math.comb(parts, s)] * math.comb(parts, s)
        done = size
    inner = share[done : parts - 1 - done]
    pairs = (count - len(rows)) // 2 if len(inner) else 0
    for size in (torch.multinomial(inner, pairs, True, generator=rng) + done + 1).tolist() if pairs else ():
        one = _row(parts, torch.randperm(parts, generator=rng)[:size].tolist())
        rows += [one, ~one]
        weights += [float(inner.sum()) / (2 * pairs)] * 2
    return torch.stack(rows), torch.tensor(weights, dtype=torch.float64)


def fitted(kept: Tensor, weights: Tensor, gained: Tensor, whole: Tensor, there: Tensor) -> Tensor:
    """Return the values of least weighted squared error that sum to ``whole``, ``(M, parts)`` in double precision.

    Args:
        kept: Coalitions, ``(K, parts)`` bool.
        weights: Of each, ``(K,)``.
        gained: What each is worth above the empty one, ``(M, K)``.
        whole: What all parts together are worth, ``(M,)``.
        there: Which parts count, ``(M, parts)`` bool; the others get zero.
    """
    z = kept.double()
    square = z.T @ (weights[:, None] * z)
    both = there[:, :, None] & there[:, None, :]
    square = torch.where(both, square, torch.diag_embed((~there).double()))
    aim = torch.where(there, (gained.double() * weights) @ z, 0)
    one = there.double()
    free, level = torch.linalg.solve(square, torch.stack([aim, one], 2)).unbind(2)
    missing = whole.double() - free.sum(1)
    values: Tensor = free + level * (missing / level.sum(1).where(there.any(1), 1))[:, None]
    return values


def _odds(evidence: Evidence, given: tuple[Tensor, Tensor], hidden: Tensor, kept: Tensor) -> Tensor:
    """Return the margin of each input, of its label, under every coalition, ``(M, K)``."""
    x, labels = given
    found = []
    for part in torch.split(
        kept[:, None] if evidence.task.modality == "images" else kept, max(1, _VALUES // x.numel())
    ):
        scores = evidence.answers(torch.where(part, x[:, None], hidden).flatten(0, 1)).double()
        found.append(margin(evidence, scores, labels.repeat_interleave(len(part))).view(len(x), -1))
    return _finite(evidence, torch.cat(found, 1))


def _finite(evidence: Evidence, odds: Tensor) -> Tensor:
    if not bool(odds.isfinite().all()):
        raise NotMeasurableError(f"{evidence.subject.name} has no finite answer to inputs with hidden parts")
    return odds


def _places(task: Task) -> Tensor:
    """Return the number of the part that each pixel, column or token belongs to, of the shape of a map."""
    if task.modality != "images":
        return torch.arange(math.prod(task.shape)).view(task.shape)
    height, width = task.shape[1:]
    tall, wide = captum.patch(task)
    return torch.arange(height)[:, None] // tall * -(-width // wide) + torch.arange(width) // wide


def _there(differs: Tensor, where: Tensor, parts: int) -> Tensor:
    """Return which parts of each input are not what would stand in their place, ``(M, parts)`` bool."""
    flat = differs.view(len(differs), -1, where.numel()).any(1)
    return torch.zeros(len(flat), parts).index_add_(1, where.flatten(), flat.float()) > 0


def _row(parts: int, held: list[int] | tuple[int, ...]) -> Tensor:
    row = torch.zeros(parts, dtype=torch.bool)
    row[list(held)] = True
    return row


def _room(inputs: Tensor, count: int) -> int:
    return max(1, _VALUES // (count * max(1, inputs[0].numel()))) if len(inputs) else 1
