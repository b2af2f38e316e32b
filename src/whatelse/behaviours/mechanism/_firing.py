"""How strongly each unit of the last hidden layer fires for each class: what the items on single units share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from whatelse.answer import Answer
from whatelse.behaviours.mechanism import _layers
from whatelse.evidence.cache import Evidence


@dataclass(frozen=True, eq=False)
class Firing:
    """How strongly units fire.

    Attributes:
        names: Of the units.
        values: ``max(a, 0)`` of each on every test example, ``(N, units)``.
        notes: Tell where units are left out, or activations are negative.
    """

    names: tuple[str, ...]
    values: Tensor
    notes: tuple[str, ...]


def firing(evidence: Evidence, most: int) -> Firing:
    """Return ``max(a, 0)`` of some units of the last hidden layer on every test example.

    Where activations can be negative (GELU, SiLU, Tanh, the outputs of blocks) only the positive part counts as firing.

    Args:
        evidence: Of a model that opens.
        most: Largest number of units, evenly apart.

    Raises:
        NotMeasurableError: The model does not open or has no hidden layer.
    """
    hidden = evidence.hidden("test")
    picks, notes = _layers.spread(hidden.shape[1], most), []
    if len(picks) < hidden.shape[1]:
        notes.append(f"{len(picks)} of {hidden.shape[1]} units, evenly apart")
        hidden = hidden[:, picks]
    if bool((hidden < 0).any()):
        notes.append("activations of this layer can be negative: only their positive part counts as firing")
    return Firing(tuple(f"unit {unit}" for unit in picks.tolist()), hidden.clamp(min=0).float(), tuple(notes))


def with_class(evidence: Evidence, most: int, ends: dict[str, float | None] | None = None) -> Answer:
    """Return the firing of each unit and, last, the true ``class`` of every test example.

    Args:
        evidence: Of a model that opens.
        most: Largest number of units, evenly apart.
        ends: Of the scale, where the data decide them.

    Raises:
        NotMeasurableError: The model does not open or has no hidden layer.
    """
    found = firing(evidence, most)
    columns = dict(zip(found.names, found.values.unbind(1), strict=True))
    return Answer(columns | {"class": evidence.split("test").targets.float()}, notes=found.notes, ends=ends or {})


def units(answer: Answer) -> list[str]:
    """Return the names of the units of an answer.

    Args:
        answer: What `with_class` returned.
    """
    return [name for name in answer.columns if name != "class"]


def class_means(answer: Answer, weights: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the mean firing in each class, one class at a time: no array of draws, classes and units is made.

    Args:
        answer: What `with_class` returned.
        weights: How often each example stands in each resample, ``(draws, N)``.

    Yields:
        Whether a resample has the class, ``(draws, 1)``, and the means, ``(draws, units)``, 0 where it has not.
    """
    codes, fires = answer["class"], answer.table(*units(answer))
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        mine = weights[:, rows]
        size = mine.sum(1)[:, None]
        yield size > 0, mine @ fires[rows] / np.maximum(size, 1e-12)


def mean_over(known: np.ndarray, each: np.ndarray) -> np.ndarray:
    """Return the mean over the units that are known, of every resample, ``(draws,)``; NaN where none is.

    Args:
        known: ``(draws, units)`` bool.
        each: ``(draws, units)``.
    """
    size = known.sum(1)
    mean: np.ndarray = np.where(size > 0, np.where(known, each, 0).sum(1) / np.maximum(size, 1), np.nan)
    return mean
