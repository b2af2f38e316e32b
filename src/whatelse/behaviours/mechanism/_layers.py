"""Layers of two models side by side, and sums over chunks of rows: what the items of this family share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence

# Rows that are held in double precision at a time.
CHUNK = 4096
# What the effort of an item takes a network to be, which it does not know: hidden layers, and units of each.
LAYERS, UNITS = 8, 64
# Units that correlate by so much when matched are the same ones; by so much less in place, they have moved. Of networks
# that were trained again the best match stays below. Examples that are looked at.
_SAME, _MOVED, _LOOKED = 0.9, 0.1, 2048


def layers(evidence: Evidence, split: str = "test") -> dict[str, Tensor]:
    """Return the activations of every layer by its name, each ``(N, units)``.

    Args:
        evidence: Of a model that opens.
        split: Which examples.

    Raises:
        NotMeasurableError: The model does not open or has no hidden layer.
    """
    evidence.hidden(split)  # refuses a model without hidden layers
    return evidence.activations(split)


def by_depth(before: Sequence[Tensor], after: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Return each layer of the baseline beside the candidate's of like depth: the last beside the last.

    Args:
        before: The baseline's layers, first to last.
        after: The candidate's.
    """
    deepest = len(before) - 1
    places = [i / deepest for i in range(len(before))] if deepest else [1.0]
    return [(x, after[round(place * (len(after) - 1))]) for x, place in zip(before, places, strict=True)]


def pairs(baseline: Evidence, candidate: Evidence, split: str = "test") -> list[tuple[Tensor, Tensor]]:
    """Return each layer of the baseline beside the candidate's of like depth, both ``(N, units)``.

    Args:
        baseline: Evidence of the model before compression.
        candidate: Evidence of the compressed model.
        split: Which examples.

    Raises:
        NotMeasurableError: A model does not open or has no hidden layer.
    """
    return by_depth(list(layers(baseline, split).values()), list(layers(candidate, split).values()))


def same_basis(baseline: Evidence, candidate: Evidence) -> None:
    """Refuse a candidate whose units cannot be the baseline's: another number of layers or units, or another order.

    A network with permuted units computes the same; whoever looks for the baseline's unit at its place would call that
    a change.

    Args:
        baseline: Evidence of the model before compression.
        candidate: Evidence of the compressed model.

    Raises:
        NotMeasurableError: The widths differ, the same units stand in another order, or a model does not open or has
            no hidden layer.
    """
    before, after = layers(baseline), layers(candidate)
    start = f"needs the baseline's basis; {candidate.subject.name} has"
    if len(before) != len(after):
        raise NotMeasurableError(f"{start} {len(after)} layers, not {len(before)}")
    for (name, x), y in zip(before.items(), after.values(), strict=True):
        if x.shape[1] != y.shape[1]:
            raise NotMeasurableError(f"{start} {y.shape[1]} units in layer {name}, not {x.shape[1]}")
        here, there = _alike(x, y)
        if there > _SAME and here < there - _MOVED:
            told = f"correlation {here:.2f} in place, {there:.2f} matched"
            raise NotMeasurableError(f"{start} the units of layer {name} in another order: {told}")


def _alike(x: Tensor, y: Tensor) -> tuple[float, float]:
    """Return the mean correlation of units with those in their place, and with those that match them best."""
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 - listing all items must stay light

    x, y = x[:_LOOKED], y[:_LOOKED]
    centers = x.double().mean(0), y.double().mean(0)
    spreads = (x.double().std(0), y.double().std(0))
    apart = cross(x, y, *centers) / max(1, len(x) - 1) / (spreads[0][:, None] * spreads[1]).clamp(min=1e-12)
    live = spreads[0] > 0
    if not bool(live.any()):
        return 1.0, 1.0
    apart = apart[live]
    rows, columns = linear_sum_assignment(apart.numpy(), maximize=True)
    own = torch.nonzero(live).flatten()
    return float(apart[torch.arange(len(own)), own].mean()), float(apart[rows, columns].mean())


def spread(count: int, most: int) -> Tensor:
    """Return up to ``most`` whole numbers below ``count``, evenly apart and rising.

    Args:
        count: How many there are.
        most: How many are taken at the most.
    """
    return torch.linspace(0, count - 1, min(count, most), dtype=torch.float64).round().long()


def chunks(rows: int) -> Iterator[slice]:
    """Yield slices that cut the rows into chunks of bounded size.

    Args:
        rows: How many there are.
    """
    for start in range(0, rows, CHUNK):
        yield slice(start, min(start + CHUNK, rows))


def cross(x: Tensor, y: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Return ``(x - start)' (y - end)`` in double precision, ``(columns of x, columns of y)``.

    Args:
        x: ``(N, columns)``.
        y: ``(N, columns)``.
        start: Center of ``x``, ``(columns,)``.
        end: Center of ``y``, ``(columns,)``.
    """
    found = torch.zeros(x.shape[1], y.shape[1], dtype=torch.float64)
    for rows in chunks(len(x)):
        found += (x[rows].double() - start).T @ (y[rows].double() - end)
    return found
