"""Examples that a population of models answers otherwise once compressed: compression-identified exemplars (PIE).

An example is one where the modal label, the one that most models give, of K compressed models is another than that of
K baselines. It speaks of the method, not of one model: what one seed flips by chance, others do not.

Source:
    Hooker et al., What do compressed deep neural networks forget?, 2019, arXiv:1911.05248. Departure: where two labels
    are given equally often there is no modal label, and the example is left out; the source takes one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from whatelse.exhibits.asked import BASELINE, Asked
from whatelse.exhibits.pictures import picture
from whatelse.findings.exhibits import Exhibit, Picture

VERSION, SCOPE = 1, "study"
SHOWN = 12
# So many test examples, from the first, are asked of every model.
ASKED = 2000


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


def exhibits(asked: Asked) -> Iterator[Exhibit]:
    """Return one exhibit for every candidate that most seeds read otherwise, the surest dozen examples of each.

    Of images the picture is shown; of tables and texts no row is printed.

    Args:
        asked: A question about test examples; there is something to show only under more than one seed.

    Yields:
        Those of the candidates.
    """
    base = _labels(BASELINE, asked) if len(asked.seeds) > 1 else None
    if base is None:
        return
    twins = _labels(asked.twin, asked) if asked.twin else None
    floor = None if twins is None else len(exemplars(base, twins).rows)
    for candidate in asked.candidates:
        mine = _labels(candidate.name, asked)
        found = None if mine is None else exemplars(base, mine)
        if found is not None and len(found.rows):
            yield exhibit(found, asked, candidate.name, base.shape[1], floor)


def exhibit(found: Exemplars, asked: Asked, candidate: str, examples: int, floor: int | None) -> Exhibit:
    """Return the exhibit of a candidate's exemplars.

    Args:
        found: The exemplars, at least one.
        asked: Gives truths, images and the size of each population.
        candidate: Whose compressed models these are.
        examples: Number of examples that the populations were asked about.
        floor: How many exemplars retraining alone makes; None where that is not known.
    """
    models = len(asked.seeds)
    chance = "" if floor is None else f"; {floor} after retraining alone"
    return Exhibit(
        row=asked.measurement.row,
        kind="population",
        task=asked.task_name,
        candidate=candidate,
        title=f"read otherwise by most of {models} models: {len(found.rows)} of {examples} examples{chance}",
        items=tuple(_item(found, i, asked) for i in range(min(SHOWN, len(found.rows)))),
    )


def _labels(name: str, asked: Asked) -> Tensor | None:
    """Return what the models of every seed predict, ``(seeds, examples)``; None where one is missing."""
    inputs, found = asked.task.test.inputs[:ASKED], []
    for seed in asked.seeds:
        mine = asked.evidence_of(name, seed)
        if mine is None:
            return None
        found.append(mine.answers(inputs).argmax(1))
    return torch.stack(found)


def _item(found: Exemplars, place: int, asked: Asked) -> Picture:
    index, before, after, agree_before, agree_after = (int(column[place]) for column in found)
    models, test = len(asked.seeds), asked.task.test
    return Picture(
        image=picture(test.inputs[index], asked.task),
        note=f"{agree_before} of {models} agree before, {agree_after} of {models} after",
        index=index,
        truth=str(int(test.targets[index])),
        before=str(before),
        after=str(after),
    )
