import pytest
import torch

from whatelse.errors import TaskError
from whatelse.task import Task


def test_the_key_follows_the_content(toy):
    inputs = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    a, b = toy.task_of(inputs, [0, 1]), toy.task_of(inputs.clone(), [0, 1])
    assert a.key == b.key
    assert toy.task_of(inputs + 1e-6, [0, 1]).key != a.key
    assert toy.task_of(inputs, [1, 0]).key != a.key
    assert toy.task_of(inputs, [0, 1], groups={"g": [0, 1]}).key != a.key


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([0, 2], r"targets of row 1 is 2; allowed are 0 to 1"),
        ([-1, 1], r"targets of row 0 is -1"),
        ([1, 1], r"every target is 1; a task needs at least two classes"),
        ([0, 1, 1], r"2 inputs, 3 targets"),
    ],
)
def test_bad_labels_are_refused_with_the_row(toy, targets, message):
    with pytest.raises(TaskError, match=message):
        toy.task_of(torch.zeros(2, 2), targets)


def test_a_missing_split_is_named(toy):
    split = toy.split_of(torch.zeros(2, 2), [0, 1])
    with pytest.raises(TaskError, match="split 'select' is missing"):
        Task("t", 2, (0, 1), {"train": split, "calibration": split, "test": split})
    with pytest.raises(TaskError, match=r"no split 'tset'; did you mean test"):
        toy.task_of(torch.zeros(2, 2), [0, 1]).split("tset")


def test_joining_keeps_the_order(toy):
    a = toy.split_of(torch.zeros(2, 2), [0, 1], groups={"g": [0, 1], "h": [1, 1]})
    b = toy.split_of(torch.ones(1, 2), [1], groups={"g": [3]})
    whole = a.join(b)
    assert whole.targets.tolist() == [0, 1, 1]
    assert {n: c.tolist() for n, c in whole.groups.items()} == {"g": [0, 1, 3]}
    assert whole.take(torch.tensor([2, 2])).inputs.tolist() == [[1, 1], [1, 1]]
