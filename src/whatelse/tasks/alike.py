"""Examples that are the same, or nearly so, in several splits or under several labels.

Exact: inputs of equal bytes, told apart by two random hashes of 64 bits. Near: a test example whose nearest neighbor in
train (in select, where there is no train) is closer than a twentieth of the distance that two random examples of train
are apart, root mean square, every column divided by its standard deviation; in a table a hundredth, since people of a
census are alike. Up to a thousand test examples are held
against up to twenty thousand others; beyond 64 columns a random projection finds the five nearest, whose distances are
then computed whole.

Source:
    Johnson and Lindenstrauss, Extensions of Lipschitz mappings into a Hilbert space, 1984; for duplicates across
    splits: Barz and Denzler, Do we train on test data? Journal of Imaging, 2020, arXiv:1902.00423.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whatelse.tasks.task import SPLITS, Split, Task

NEAR, NEAR_IN_TABLES = 0.05, 0.01
_LOOKED, _AGAINST, _WIDE, _KEPT = 1_000, 20_000, 64, 5
_PART = 2**22  # Numbers that are mixed at a time.


@dataclass(frozen=True)
class Alike:
    """How many examples stand twice.

    Attributes:
        within: Of every split, examples that are equal to an earlier one of it.
        in_test: Of every other split, examples of test that stand in it too.
        conflicts: Examples whose equals have another label, over all splits.
        near: Examples of test with a near neighbor that is not equal.
        looked: Examples of test that were looked at for it.
        against: Examples that they were held against.
        beside: The split that these are of.
    """

    within: dict[str, int]
    in_test: dict[str, int]
    conflicts: int
    near: int
    looked: int
    against: int
    beside: str


def alike(task: Task) -> Alike:
    """Return how many examples of a task stand twice.

    Args:
        task: The examples; calibration, which lies in train, is not looked at.
    """
    names = [name for name in (*SPLITS, *sorted(set(task.splits) - set(SPLITS))) if name != "calibration"]
    rows = {name: _hashed(task.splits[name]) for name in names}
    within = {name: len(found) - len(np.unique(found)) for name, found in rows.items()}
    test = rows["test"]
    shared = {name: int(np.isin(test, found).sum()) for name, found in rows.items() if name != "test"}
    targets = np.concatenate([task.splits[name].targets.numpy() for name in names])
    _, index = np.unique(np.concatenate(list(rows.values())), return_inverse=True)
    least, most = np.full(len(index), np.iinfo(np.int64).max), np.full(len(index), -1)
    np.minimum.at(least, index, targets)
    np.maximum.at(most, index, targets)
    beside = "train" if len(task.train) else "select"
    near, looked, against = _near(task, beside, np.isin(test, rows[beside]))
    return Alike(within, shared, int((least != most)[index].sum()), near, looked, against, beside)


def _hashed(split: Split) -> NDArray[np.void]:
    """Return a hash of the inputs of every example, ``(N,)`` of 16 bytes."""
    rng = np.random.default_rng(0)
    width = split.inputs[:1].numel() if len(split) else 0
    odd = rng.integers(0, 2**63, size=(2, width), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    found = np.empty((len(split), 2), dtype=np.uint64)
    step = max(1, _PART // max(1, width))
    for start in range(0, len(split), step):
        part = split.inputs[start : start + step].flatten(1)
        plain = part.float() + 0.0 if part.is_floating_point() else part.int()  # zero has two signs
        bits = plain.contiguous().numpy().view(np.uint32).astype(np.uint64)
        mixed = (bits + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
        for at in (0, 1):
            found[start : start + step, at] = (mixed * odd[at]).sum(1, dtype=np.uint64)
    return found.view("V16").ravel()


def _near(task: Task, beside: str, equal: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Return how many test examples have a near neighbor, of how many, among how many."""
    test, other = task.test, task.split(beside)
    if not len(other) or not test.inputs.is_floating_point() or task.sentences or task.language:
        return 0, 0, 0
    mine = np.flatnonzero(~equal)[:_LOOKED]
    known = other.inputs[:_AGAINST].flatten(1)
    scale = _spread(known)
    apart = math.sqrt(2 * int((scale > 0).sum()))  # every column has variance 1
    close = apart * (NEAR_IN_TABLES if task.modality == "table" else NEAR)
    if not len(mine) or not apart:
        return 0, len(mine), len(known)
    asked, turn = test.inputs.flatten(1), None
    if int((scale > 0).sum()) > _WIDE:
        rng = torch.Generator().manual_seed(0)
        turn = torch.randn(int((scale > 0).sum()), _WIDE, generator=rng) / math.sqrt(_WIDE)
    long = torch.cat([_scaled(part, scale, turn) for part in torch.split(known, _rows(known))])
    found = 0
    for rows in torch.split(torch.from_numpy(mine), min(100, max(1, _rows(known) // _KEPT))):
        nearest = torch.cdist(_scaled(asked[rows], scale, turn), long).topk(min(_KEPT, len(long)), largest=False)
        whole, near = _scaled(asked[rows], scale), _scaled(known[nearest.indices.flatten()], scale)
        distance = (near.view(*nearest.indices.shape, -1) - whole[:, None]).norm(dim=2).amin(1)
        found += int((distance <= close).sum())
    return found, len(mine), len(known)


def _rows(inputs: Tensor) -> int:
    """Return how many rows are looked at together, a few copies of which take little memory."""
    return max(1, _PART // max(1, inputs.shape[1]))


def _spread(inputs: Tensor) -> Tensor:
    """Return the standard deviation of every column, ``(D,)``, in two passes over parts; exactly 0 of a constant."""
    mean, square = (torch.zeros(inputs.shape[1], dtype=torch.float64) for _ in range(2))
    for part in torch.split(inputs, _rows(inputs)):
        mean += (part - inputs[0]).sum(0, dtype=torch.float64) / len(inputs)
    for part in torch.split(inputs, _rows(inputs)):
        square += (part - inputs[0] - mean).square().sum(0) / len(inputs)
    return square.sqrt().float()


def _scaled(inputs: Tensor, scale: Tensor, turn: Tensor | None = None) -> Tensor:
    """Return rows with every column that varies divided by its deviation, and projected where that is asked for."""
    found = inputs.float()[:, scale > 0] / scale[scale > 0]
    return found if turn is None else found @ turn
