import dataclasses

import pytest
import torch

from whatelse.errors import TaskError
from whatelse.tasks.task import Task


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


def test_train_may_hold_one_class_or_nothing_until_something_trains(toy):
    both, one = toy.split_of(torch.zeros(2, 2), [0, 1]), toy.split_of(torch.zeros(2, 2), [1, 1])
    none = toy.split_of(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))
    for train, told in ((one, "split train: every target is 1"), (none, "split train: it has no examples")):
        task = Task("t", 2, None, {"train": train, "calibration": train, "select": both, "test": both})
        assert task.shape == (2,)
        with pytest.raises(TaskError, match=told):
            task.check_training()
    both_again = Task("t", 2, None, dict.fromkeys(("train", "calibration", "select", "test"), both))
    both_again.check_training()
    for bad, told in ((one, "split test: every target is 1"), (none, "split test: it has no examples")):
        with pytest.raises(TaskError, match=told):
            Task("t", 2, None, {"train": both, "calibration": both, "select": both, "test": bad})


def test_splits_of_other_shapes_are_refused(toy):
    both, wider = toy.split_of(torch.zeros(2, 2), [0, 1]), toy.split_of(torch.zeros(2, 3), [0, 1])
    with pytest.raises(TaskError, match=r"split train: inputs are of shape \(3,\), those of test \(2,\)"):
        Task("t", 2, None, {"train": wider, "calibration": both, "select": both, "test": both})


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


def test_further_splits_are_checked_and_part_of_the_key(toy):
    task = toy.task_of(torch.zeros(2, 2), [0, 1])
    shifted = toy.split_of(torch.ones(2, 2), [1, 0])
    more = dataclasses.replace(task, splits={**task.splits, "shifted": shifted})
    assert more.split("shifted").targets.tolist() == [1, 0]
    assert more.key != task.key
    with pytest.raises(TaskError, match=r"split shifted: targets of row 1 is 5"):
        dataclasses.replace(task, splits={**task.splits, "shifted": toy.split_of(torch.ones(2, 2), [1, 5])})


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([0, 1, 1], r"group sex has 3 codes for 2 examples"),
        ([0, -2], r"group sex needs whole numbers from 0, and -1 where a value is missing"),
        ([0.5, 1.0], r"group sex needs whole numbers"),
        ([[0, 1], [1, 0]], r"group sex has codes of shape \(2, 2\) for 2 examples"),
        ([0, 10**9], r"group sex has the code 1000000000; allowed are 0 to 999999"),
    ],
)
def test_bad_groups_are_refused_by_name(toy, codes, message):
    split = toy.split_of(torch.zeros(2, 2), [0, 1])
    bad = dataclasses.replace(split, groups={"sex": torch.tensor(codes)})
    with pytest.raises(TaskError, match=message):
        Task("t", 2, None, {"train": split, "calibration": split, "select": split, "test": bad})
    missing = dataclasses.replace(split, groups={"sex": torch.tensor([0, -1])})
    Task("t", 2, None, {"train": split, "calibration": split, "select": split, "test": missing})


def test_a_task_says_what_its_inputs_are_and_whether_they_have_bounds(toy):
    table = toy.task_of(torch.zeros(2, 2), [0, 1])
    assert table.modality == "table"
    assert dataclasses.replace(table, vocabulary=9).modality == "tokens"
    assert dataclasses.replace(table, vocabulary=9).key != table.key
    assert toy.task_of(torch.zeros(2, 1, 4, 4), [0, 1]).modality == "images"
    assert table.limits() == (-10, 10)
    with pytest.raises(TaskError, match="task toy: its inputs have no bounds"):
        dataclasses.replace(table, bounds=None).limits()


def test_what_data_are_called_is_told_apart_where_models_are_not(toy):
    task = toy.task_of(torch.zeros(2, 2), [0, 1], groups={"a": [0, 1], "b": [1, 0]})
    turned = {
        n: dataclasses.replace(s, groups={"b": s.groups["b"], "a": s.groups["a"]}) for n, s in task.splits.items()
    }
    other = dataclasses.replace(task, splits=turned)
    assert (other.key == task.key, other.names == task.names) == (True, False)
    renamed = dataclasses.replace(task, group_names={"a": ("x", "y")})
    assert (renamed.key == task.key, renamed.names == task.names) == (True, False)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [(torch.zeros(0, 2), "it has no examples"), (torch.tensor([[0.0, 1.0], [float("nan"), 0.0]]), "row 1 hold NaN")],
)
def test_empty_splits_and_inputs_that_are_no_numbers_are_refused(toy, inputs, message):
    with pytest.raises(TaskError, match=message):
        toy.task_of(inputs, [0, 1][: len(inputs)])


def test_whole_numbers_are_no_inputs(toy):
    with pytest.raises(TaskError, match="split train: inputs are uint8; floating-point numbers are needed, pixels div"):
        toy.task_of(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.arange(4) % 2)


def test_a_code_beyond_the_names_of_its_grouping_is_refused(toy):
    task = toy.task_of(torch.zeros(2, 2), [0, 1], groups={"sex": torch.tensor([0, 1])})
    with pytest.raises(TaskError, match=r"group sex has the code 1; allowed are 0 to 0, one for each name"):
        dataclasses.replace(task, group_names={"sex": ("F",)})


@pytest.mark.parametrize(
    ("beside", "message"),
    [
        ({"masks": torch.zeros(2, 3)}, r"masks are of shape \(2, 3\) for inputs of \(2, 2\)"),
        ({"clusters": torch.zeros(3, dtype=torch.int64)}, r"clusters are of shape \(3,\)"),
        ({"clusters": torch.zeros(2)}, r"clusters are of shape \(2,\) and type float32; one whole number"),
        ({"inputs": torch.zeros(2, 0)}, "they hold nothing"),
    ],
)
def test_what_stands_beside_the_examples_must_fit_them(toy, beside, message):
    split = dataclasses.replace(toy.split_of(torch.zeros(2, 2), [0, 1]), **beside)
    with pytest.raises(TaskError, match=message):
        Task("t", 2, None, dict.fromkeys(("train", "calibration", "select", "test"), split))


def test_names_of_classes_stand_once_each(task):
    with pytest.raises(TaskError, match="class_names: 'a' stands twice"):
        dataclasses.replace(task, class_names=("a", "a"))
    assert dataclasses.replace(task, class_names=("a", "b")).class_names == ("a", "b")


def test_texts_go_with_their_examples_and_into_the_key(toy):
    split = dataclasses.replace(toy.split_of(torch.zeros(2, 2), [0, 1]), texts=("a", "b"))
    assert split.take(torch.tensor([1, 1, 0])).texts == ("b", "b", "a")
    assert split.join(split).texts == ("a", "b", "a", "b")
    assert split.join(toy.split_of(torch.zeros(2, 2), [0, 1])).texts is None
    names = ("train", "calibration", "select", "test")
    task = Task("t", 2, None, dict.fromkeys(names, split))
    other = dataclasses.replace(split, texts=("a", "c"))
    assert Task("t", 2, None, dict.fromkeys(names, other)).key != task.key
    with pytest.raises(TaskError, match="1 texts for 2 examples; one each is needed"):
        Task("t", 2, None, dict.fromkeys(names, dataclasses.replace(split, texts=("a",))))
