"""Examples that a population of models answers otherwise once compressed: compression-identified exemplars (PIE).

An example is one where the modal label, the one that most models give, of K compressed models is another than that of
K baselines. It speaks of the method, not of one model: what one seed flips by chance, others do not.

Source:
    Hooker et al., What do compressed deep neural networks forget?, 2019, arXiv:1911.05248. Departure: where two labels
    are given equally often there is no modal label, and the example is left out; the source takes one of them.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from whatelse.tasks.task import Task

SHOWN = 12


class Exemplars(NamedTuple):
    """Examples whose modal label changed, the surest first.

    Attributes:
        rows: Which examples, ``(M,)``.
        before: Modal label of the baselines, ``(M,)``.
        after: Modal label of the compressed models, ``(M,)``.
        agree_before: How many baselines give their modal label, ``(M,)``.
        agree_after: How many compressed models give theirs, ``(M,)``.
    """

    rows: Tensor
    before: Tensor
    after: Tensor
    agree_before: Tensor
    agree_after: Tensor


def exemplars(before: Tensor, after: Tensor) -> Exemplars:
    """Return the examples where the modal label differs, ordered by how sure both populations are.

    The less united population decides the order, then the sum of both, then the index.

    Args:
        before: Labels that the baselines predict, ``(K, N)`` int64.
        after: Labels that the compressed models predict, ``(L, N)`` int64.

    Raises:
        ValueError: The populations were asked about different numbers of examples, or one is empty.
    """
    if before.dim() != 2 or after.dim() != 2 or before.shape[1] != after.shape[1] or not len(before) or not len(after):
        shapes = f"{tuple(before.shape)} and {tuple(after.shape)}"
        raise ValueError(f"predictions have the shapes {shapes}; (models, examples) of the same examples are needed")
    old, old_votes, old_clear = _modal(before)
    new, new_votes, new_clear = _modal(after)
    index = torch.nonzero((old != new) & old_clear & new_clear).flatten()
    sure = torch.stack([old_votes[index] / len(before), new_votes[index] / len(after)])
    # Stable sorts, the last key first.
    order = sure.sum(0).argsort(descending=True, stable=True)
    order = order[sure.amin(0)[order].argsort(descending=True, stable=True)]
    index = index[order]
    return Exemplars(index, old[index], new[index], old_votes[index], new_votes[index])


def _modal(labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the label that most models give, how many do, and whether no other has as many, each ``(N,)``."""
    votes = torch.zeros(int(labels.max()) + 1 if labels.numel() else 1, labels.shape[1], dtype=torch.int64)
    votes.scatter_add_(0, labels, torch.ones_like(labels))
    most, modal = votes.max(0)
    return modal, most, (votes == most).sum(0) == 1


def exhibit(
    found: Exemplars, task: Task, *, row: str, name: str, candidate: str, models: int, asked: int, floor: int | None
) -> dict[str, Any] | None:
    """Return the exhibit of a candidate's exemplars, the surest dozen; None where there are none.

    Items have ``index``, ``truth``, ``before`` and ``after``, the modal labels, and a ``note`` that says how many
    models agree; images that `picture` shows also ``image``, in [0, 1]. Of tables and texts no row is printed.

    Args:
        found: The exemplars.
        task: Gives truths and images.
        row: Row of the table where it stands.
        name: Name of the task in the study.
        candidate: Whose compressed models these are.
        models: Size of each population.
        asked: Number of examples that the populations were asked about.
        floor: How many exemplars retraining alone makes; None where that is not known.
    """
    if not len(found.rows):
        return None
    chance = "" if floor is None else f"; {floor} after retraining alone"
    return {
        "row": row,
        "kind": "population",
        "task": name,
        "candidate": candidate,
        "title": f"read otherwise by most of {models} models: {len(found.rows)} of {asked} examples{chance}",
        "items": [_item(found, i, task, models) for i in range(min(SHOWN, len(found.rows)))],
    }


def picture(image: Tensor, task: Task) -> list[list[float]] | None:
    """Return an image in gray, from 0 at the lower bound of the task to 1 at the upper, of three channels their mean.

    None where that is no picture: tables, texts, another number of channels, unknown bounds.

    Args:
        image: ``(channels, height, width)``.
        task: Gives modality and bounds.
    """
    bounds = task.bounds
    if not pictured(task) or bounds is None or not all(map(math.isfinite, bounds)):
        return None
    gray = ((image.mean(0) - bounds[0]) / (bounds[1] - bounds[0])).clamp(0, 1)
    return [[round(v, 3) for v in line] for line in gray.tolist()]


def pictured(task: Task) -> bool:
    """Return whether inputs are images of one channel or three.

    Args:
        task: Gives modality and shape.
    """
    return task.modality == "images" and task.shape[0] in {1, 3}


def _item(found: Exemplars, place: int, task: Task, models: int) -> dict[str, Any]:
    index, before, after, agree_before, agree_after = (int(column[place]) for column in found)
    item = {
        "index": index,
        "truth": str(int(task.test.targets[index])),
        "before": str(before),
        "after": str(after),
        "note": f"{agree_before} of {models} agree before, {agree_after} of {models} after",
    }
    image = picture(task.test.inputs[index], task)
    return item if image is None else {**item, "image": image}
