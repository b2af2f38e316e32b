import dataclasses
from dataclasses import replace

import pytest
import torch

from whatelse.auditing import assemble
from whatelse.auditing.overlap import overlaps
from whatelse.tasks.task import SPLITS, Split, Task


def split(rows, dtype=torch.float32):
    """Examples that are numbers: equal numbers, equal examples."""
    x = torch.as_tensor(rows)[:, None, None, None].expand(-1, 1, 2, 3).to(dtype) / 7
    y = torch.arange(len(rows)) % 2
    return Split(x, y, y)


def task(train, calibration, select, test, dtypes=None):
    parts = {"train": train, "calibration": calibration, "select": select, "test": test}
    return Task("toy", 2, None, {n: split(rows, (dtypes or {}).get(n, torch.float32)) for n, rows in parts.items()})


def counted(given):
    return {(o.split, o.within): o.twice for o in overlaps(given, "data")}


def test_examples_that_stand_in_two_splits_are_counted():
    found = overlaps(task(range(10), range(3), range(8, 14), [20, 9, 1, 13, 1]), "data")
    assert [(o.split, o.within, o.twice, o.of) for o in found] == [
        ("test", "train", 3, 5),
        ("test", "calibration", 2, 5),
        ("test", "select", 2, 5),
        ("select", "train", 2, 6),
    ]
    assert found[0].remark == "3 of 5 test examples stand in train too: what is said of test is said of members"


def test_where_none_is_found_that_is_said_without_a_remark():
    found = overlaps(task(range(10), range(3), range(20, 30), range(30, 40)), "data")
    assert {o.twice for o in found} == {0}
    assert {o.remark for o in found} == {""}


@pytest.mark.parametrize("coarse", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("which", ["train", "test"])
def test_what_was_rounded_to_another_type_of_number_is_the_same_example(coarse, which):
    fine = torch.float64 if coarse == torch.float32 else torch.float32
    other = "test" if which == "train" else "train"
    given = task(range(10), range(3), range(20, 30), [4, 5, 40], {which: coarse, other: fine})
    assert counted(given)["test", "train"] == 2


def test_token_ids_of_other_widths_and_zeros_of_either_sign():
    ids = torch.tensor([[1, 2], [3, 0], [5, 6]])
    y = torch.tensor([0, 1, 0])
    splits = {n: Split(ids, y, y) for n in ("train", "calibration", "select")}
    test = Split(ids.int() + torch.tensor([[0], [0], [9]]).int(), y, y)
    given = Task("t", 2, None, {**splits, "test": test}, vocabulary=20)
    assert counted(given)["test", "train"] == 2
    zeros = task([0, 1], [0], [5, 6], [0, 3])
    flipped = replace(zeros, splits={**zeros.splits, "test": replace(zeros.test, inputs=-zeros.test.inputs)})
    assert counted(flipped)["test", "train"] == 1


def test_of_several_tasks_a_remark_names_its_own():
    tasks = {"a": task(range(10), range(3), [20, 21], [1, 30]), "b": task(range(10), range(3), [20, 21], [30, 31])}
    found = assemble._comparability(tasks, {})
    assert [o.task for o in found.splits] == ["a"] * 4 + ["b"] * 4
    assert all(line.startswith("task a: 1 of 2 test examples") for line in found.remarks)
    assert len(found.remarks) == 2
    assert found.pairs == {}


def test_an_empty_split_overlaps_with_nothing():
    empty = Task("toy", 2, None, {n: split([] if n in {"train", "calibration"} else [1, 2]) for n in SPLITS})
    assert counted(empty) == {
        ("test", "train"): 0,
        ("test", "calibration"): 0,
        ("test", "select"): 2,
        ("select", "train"): 0,
    }


def test_an_empty_split_may_have_groups():
    parts = {n: split([] if n == "train" else [1, 2]) for n in SPLITS}
    named = {
        n: dataclasses.replace(s, groups={"sex": torch.zeros(len(s), dtype=torch.int64)}) for n, s in parts.items()
    }
    assert len(Task("toy", 2, None, named, {"sex": ("female",)}).train) == 0
