"""Duplicates counted, against loops that hold every example against every other."""

from collections import Counter

import numpy as np
import pytest
import torch

from whatelse.tasks.alike import NEAR, NEAR_IN_TABLES, alike
from whatelse.tasks.task import Split, Task


def task_of(parts):
    splits = {}
    for name, (inputs, targets) in parts.items():
        splits[name] = Split(inputs, targets, targets)
    return Task("t", 1 + max(int(s.targets.max()) for s in splits.values() if len(s)), None, splits)


def drawn(count, shape, rng):
    return torch.randn(count, *shape, generator=rng), torch.arange(count) % 2


@pytest.fixture
def parts():
    rng = torch.Generator().manual_seed(0)
    sizes = {"train": 60, "calibration": 10, "select": 20, "test": 50}
    return {name: drawn(count, (6,), rng) for name, count in sizes.items()}


@pytest.mark.known_answer
def test_equal_examples_are_those_of_a_loop(parts):
    train, select, test = (parts[name] for name in ("train", "select", "test"))
    test[0][:7] = train[0][3:10]
    test[0][7] = test[0][8]
    train[0][20], train[0][21] = train[0][22], train[0][22]
    select[0][5] = test[0][30]
    test[0][40, 2], train[0][50] = 0.0, test[0][40]
    train[0][50, 2], test[0][40] = -0.0, train[0][50]
    test[0][40, 2] = 0.0
    found = alike(task_of(parts))
    rows = {n: [tuple(row) for row in (parts[n][0] + 0.0).tolist()] for n in ("train", "select", "test")}
    assert found.within == {n: len(r) - len(set(r)) for n, r in rows.items()} == {"train": 2, "select": 0, "test": 1}
    assert found.in_test == {n: sum(row in rows[n] for row in rows["test"]) for n in ("train", "select")}
    labels = {}
    for name in rows:
        for row, label in zip(rows[name], parts[name][1].tolist(), strict=True):
            labels.setdefault(row, set()).add(label)
    counts = Counter(row for name in rows for row in rows[name])
    assert found.conflicts == sum(counts[row] for row, seen in labels.items() if len(seen) > 1) > 0


@pytest.mark.known_answer
@pytest.mark.parametrize("shape", [(6,), (1, 12, 12)])
def test_near_examples_are_those_of_a_loop(shape):
    rng = torch.Generator().manual_seed(1)
    parts = {n: drawn(c, shape, rng) for n, c in (("train", 80), ("calibration", 5), ("select", 20), ("test", 40))}
    for row in range(12):  # ever farther from an example of train
        noise = torch.randn(shape, generator=rng)
        parts["test"][0][row] = parts["train"][0][row] + noise * 0.02 * row * (0.1 if len(shape) == 1 else 1)
    found = alike(task_of(parts))
    known = parts["train"][0].flatten(1).double()
    known, scale = known / known.std(0, correction=0), known.std(0, correction=0)
    limit = (NEAR_IN_TABLES if len(shape) == 1 else NEAR) * np.sqrt(2 * known.shape[1])
    wanted = 0
    for row in parts["test"][0].flatten(1).double() / scale:
        distance = float(min((row - other).norm() for other in known))
        wanted += 0 < distance <= limit
    assert found.near == wanted > 0
    assert (found.looked, found.against, found.beside) == (39, 80, "train"), "the equal one is told apart"


def test_without_train_test_is_held_against_select(parts):
    empty = (torch.zeros(0, 6), torch.zeros(0, dtype=torch.int64))
    parts |= {"train": empty, "calibration": empty}
    parts["test"][0][0] = parts["select"][0][0] * 1.0001
    found = alike(task_of(parts))
    assert (found.beside, found.near, found.in_test["train"]) == ("select", 1, 0)
