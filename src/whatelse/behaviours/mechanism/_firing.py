"""How strongly each unit of the last hidden layer fires for each class: what the items on single units share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from whatelse.behaviours.mechanism import _layers
from whatelse.evidence.cache import Evidence


def firing(evidence: Evidence, most: int) -> Tensor:
    """Return ``max(a, 0)`` of some units of the last hidden layer on every test example, ``(N, units)``.

    Where activations can be negative (GELU, SiLU, Tanh, the outputs of blocks) only the positive part counts as firing.

    Args:
        evidence: Of a model that opens; takes a note where activations are negative or units are left out.
        most: Largest number of units, evenly apart.

    Raises:
        NotMeasurableError: The model does not open or has no hidden layer.
    """
    hidden = evidence.hidden("test")
    picks = _layers.spread(hidden.shape[1], most)
    if len(picks) < hidden.shape[1]:
        evidence.note(f"{len(picks)} of {hidden.shape[1]} units, evenly apart")
        hidden = hidden[:, picks]
    if bool((hidden < 0).any()):
        evidence.note("activations of this layer can be negative: only their positive part counts as firing")
    return hidden.clamp(min=0).float()


def with_class(evidence: Evidence, most: int) -> Tensor:
    """Return the firing of the units and, last, the true class of every test example, ``(N, units + 1)``.

    Args:
        evidence: Of a model that opens.
        most: Largest number of units, evenly apart.

    Raises:
        NotMeasurableError: The model does not open or has no hidden layer.
    """
    return torch.cat([firing(evidence, most), evidence.split("test").targets[:, None].float()], 1)


def class_means(values: np.ndarray, counts: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the mean firing in each class, one class at a time: no array of draws, classes and units is made.

    Args:
        values: What `with_class` returned.
        counts: How often each example stands in each resample, ``(draws, N)``.

    Yields:
        Whether a resample has the class, ``(draws, 1)``, and the means, ``(draws, units)``, 0 where it has not.
    """
    codes = values[:, -1]
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        mine = counts[:, rows]
        size = mine.sum(1)[:, None]
        yield size > 0, mine @ values[rows, :-1] / np.maximum(size, 1e-12)


def mean_over(known: np.ndarray, each: np.ndarray) -> np.ndarray:
    """Return the mean over the units that are known, of every resample, ``(draws,)``; NaN where none is.

    Args:
        known: ``(draws, units)`` bool.
        each: ``(draws, units)``.
    """
    size = known.sum(1)
    mean: np.ndarray = np.where(size > 0, np.where(known, each, 0).sum(1) / np.maximum(size, 1), np.nan)
    return mean
