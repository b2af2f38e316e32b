"""Datasets of the user's own: what their examples hold, and one line for what they do not."""

import pytest
import torch

from whatelse import opening
from whatelse.errors import SettingError, TaskError

FILE = """
import torch
from torch.utils.data import Dataset, IterableDataset, TensorDataset

INPUTS = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))

def pairs():
    return TensorDataset(INPUTS, torch.arange(90) % 3)

class Items(Dataset):
    def __init__(self, count):
        self.count = count
    def __len__(self):
        return self.count
    def __getitem__(self, i):
        image = torch.full((3, 4, 4), i, dtype=torch.uint8)
        return {"image": image, "label": ("no", "yes")[i % 2], "sex": "fm"[i % 3 % 2], "age": 20 + i, "who": i // 4}

def items():
    return {"train": Items(40), "validation": Items(12), "test": Items(60)}

def fewer():
    return Items(20)

def stream():
    class Stream(IterableDataset):
        def __iter__(self):
            yield from range(3)
    return Stream()

def uneven():
    return [(torch.zeros(2 + (i == 7)), i % 2) for i in range(40)]

def broken():
    class Broken(Items):
        def __getitem__(self, i):
            if i == 3:
                raise KeyError("gone")
            return super().__getitem__(i)
    return Broken(10)

def nothing():
    return []

def task():
    import whatelse
    return whatelse.load_task("digits")

def words():
    return [("a text", i % 2) for i in range(20)]
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "mine.py").write_text(FILE)
    return tmp_path / "mine.py"


def load(text, **options):
    return opening.load_task(opening.data_text(text, options))


@pytest.mark.known_answer
def test_pairs_are_the_tensors_that_they_are(file):
    task = load(f"{file}:pairs", split="test")
    inputs = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(90, generator=torch.Generator().manual_seed(7))
    assert torch.equal(torch.cat([task.split("select").inputs, task.test.inputs]), inputs[order])
    assert torch.equal(torch.cat([task.split("select").targets, task.test.targets]), order % 3)
    assert (len(task.train), task.classes) == (0, 3)


def test_mappings_have_groups_and_persons(file):
    task = load(f"{file}:items", groups="sex,age:q2", cluster="who", bounds="0,1")
    assert {n: len(s) for n, s in task.splits.items()} == {"train": 40, "select": 12, "test": 60, "calibration": 40}
    assert task.class_names == ("no", "yes")
    value = (task.test.inputs[:, 0, 0, 0] * 255).round().long()
    assert torch.equal(task.test.targets, value % 2)
    assert torch.equal(task.test.groups["sex"], (value % 3) % 2)
    assert torch.equal(task.test.groups["age"], (20 + value > 39.5).long()), "the median of train"
    assert torch.equal(task.test.clusters, value // 4)
    assert len(load(f"{file}:items", members=f"{file}:fewer").train) == 20
    assert len(load(f"{file}:items", split="validation").test) == 12


def test_a_whole_task_is_taken_as_it_is(file):
    assert load(f"{file}:task").key == opening.load_task("digits").key
    assert len(load(f"{file}:task", limit=30).test) == 30
    with pytest.raises(TaskError, match="groups: the function returns a whole task"):
        load(f"{file}:task", groups="sex")
    assert load(f"{file}:task", split="test").key == opening.load_task("digits").key
    with pytest.raises(
        TaskError, match="split='select': models were trained on it, or choices are made on it; .*: test"
    ):
        load(f"{file}:task", split="select")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("stream", {}, "got a Stream without a length; a map-style dataset"),
        ("uneven", {}, r"example 7 is of shape \(3,\), others are \(2,\)"),
        ("broken", {}, "example 3: KeyError: 'gone'"),
        ("nothing", {}, "is empty; examples are needed"),
        ("words", {}, r"example \d+: its input is a str; numbers are needed"),
        ("absent", {}, "no 'absent' in .*; "),
        ("items", {"target": "y"}, "label: no 'y' in an example; it has image, label, sex, age, who"),
        ("items", {"groups": "gender"}, "groups: no column 'gender'"),
        ("items", {"split": "tset"}, "split: no 'tset'; did you mean test"),
        ("pairs", {"cluster": "who"}, "cluster: no column 'who'"),
        ("pairs", {"bounds": "0,1"}, "inputs of .* reach from"),
        ("pairs", {"split": "validation"}, "it has no splits: say test"),
    ],
)
def test_what_is_none_is_named_in_one_line(name, options, message, file):
    with pytest.raises(TaskError, match=message) as error:
        load(f"{file}:{name}", **options)
    assert "\n" not in str(error.value)


def test_options_that_a_loader_has_not_and_values_that_the_call_says_otherwise(file, tmp_path):
    with pytest.raises(SettingError, match=r"--target: data digits has no such setting; it has noise, "):
        opening.data_text("digits", {"target": "y"})
    with pytest.raises(SettingError, match=r"--split='test', and the call says split='train'; leave one of them out"):
        opening.data_text("python(path='x.py:f', split='train')", {"split": "test"})
    (tmp_path / "x.xyz").write_text("")
    with pytest.raises(TaskError, match=r"no loader opens .xyz files; there are .csv"):
        opening.data_call(str(tmp_path / "x.xyz"))
