"""The units of the hidden layers that carry the answer for a class, found by mean ablation: what circuits share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whatelse.behaviours.mechanism import _ablate, _layers
from whatelse.evidence.cache import Evidence
from whatelse.tasks.task import Task


@dataclass(frozen=True, eq=False)
class Examples:
    """Examples on which circuits are found or read, a few of a split, evenly apart.

    Attributes:
        rows: Which examples of the split, ``(M,)``.
        inputs: ``(M, ...)``.
        labels: The true class of each, ``(M,)``.
    """

    rows: Tensor
    inputs: Tensor
    labels: Tensor


def examples(evidence: Evidence, split: str, most: int) -> Examples:
    """Return some examples of a split.

    Args:
        evidence: Its task has the split.
        split: Which.
        most: Largest number, evenly apart.
    """
    whole = evidence.split(split)
    rows = _layers.spread(len(whole), most)
    return Examples(rows, whole.inputs[rows], whole.targets[rows])


def classes(read_on: Examples) -> tuple[str, ...]:
    """Return the names of the classes that some examples have, in order.

    Args:
        read_on: The examples.
    """
    return tuple(f"class {code}" for code in torch.unique(read_on.labels).tolist())


def units(evidence: Evidence, layers: str) -> list[_ablate.Unit]:
    """Return the units that a circuit may consist of, layer after layer.

    Args:
        evidence: Of a model that opens.
        layers: ``hidden`` for the last hidden layer, ``all`` for all of them.

    Raises:
        NotMeasurableError: The model does not open or has no hidden layer.
    """
    found = _layers.layers(evidence)
    names = list(found) if layers == "all" else list(found)[-1:]
    return [(name, unit) for name in names for unit in range(found[name].shape[1])]


def ranking(evidence: Evidence, found_on: Examples, asked: list[_ablate.Unit]) -> dict[int, list[_ablate.Unit]]:
    """Return for each class the units by falling effect of their ablation on the margin of that class.

    A class that has no example here takes the order over all examples, under -1.

    Args:
        evidence: Of a model that opens.
        found_on: The examples, not those of test.
        asked: The units.
    """
    mean = _ablate.means(evidence, "calibration")
    effects = _ablate.effects(evidence, found_on.inputs, found_on.labels, asked, mean)
    orders = {-1: effects.mean(0).argsort(descending=True, stable=True)}
    for code in torch.unique(found_on.labels).tolist():
        orders[code] = effects[found_on.labels == code].mean(0).argsort(descending=True, stable=True)
    return {code: [asked[i] for i in order.tolist()] for code, order in orders.items()}


def steps(count: int, most: int) -> list[int]:
    """Return the sizes of circuit that are tried, from 0 to all units.

    Args:
        count: Number of units.
        most: Number of steps, at the most.
    """
    parts = min(count, most)
    return [step * count // parts for step in range(parts + 1)]


def kept(
    evidence: Evidence, read_on: Examples, orders: dict[int, list[_ablate.Unit]], sizes: dict[int, list[int]]
) -> Tensor:
    """Return the margin of each example's class with all but the first units of its order held, ``(M, sizes)``.

    Args:
        evidence: Of a model that opens.
        read_on: The examples.
        orders: What `ranking` returned.
        sizes: How many units are left as they are, for each class; -1 for classes that are not named.
    """
    mean = _ablate.means(evidence, "calibration")
    found = torch.zeros(len(read_on.labels), len(sizes[-1]), dtype=torch.float64)
    for code in torch.unique(read_on.labels).tolist():
        rows, order = read_on.labels == code, orders.get(code, orders[-1])
        for column, size in enumerate(sizes.get(code, sizes[-1])):
            found[rows, column] = _ablate.margins(
                evidence, read_on.inputs[rows], read_on.labels[rows], order[size:], mean
            )
    return found


def surplus(margins: Tensor, keep: float) -> Tensor:
    """Return how far each margin is above the share that is to be kept, ``(M, sizes)``: its mean decides.

    Args:
        margins: From none of the units to all of them, ``(M, sizes)``.
        keep: The share of the way from none to all.
    """
    nothing, everything = margins[:, :1], margins[:, -1:]
    return margins - nothing - keep * (everything - nothing)


def effort(layers: str, sizes: int, most: int, task: Task) -> int:
    """Return how many passes forward it takes to order the units and to read circuits of some sizes.

    Args:
        layers: ``hidden`` or ``all``.
        sizes: How many are tried, beside 0.
        most: Examples, at the most.
        task: Gives the examples.
    """
    count = _layers.UNITS * (_layers.LAYERS if layers == "all" else 1)
    rows = min(most, max(len(task.calibration), len(task.test)))
    return rows * (count + 1 + min(count, sizes) + 1)
