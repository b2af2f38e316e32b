import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from whatelse.datasets import arrays
from whatelse.errors import TaskError


def whole(count=50):
    rng = np.random.default_rng(0)
    return {
        "inputs": rng.integers(0, 256, (count, 1, 4, 4), dtype=np.uint8),
        "targets": np.arange(count) % 3,
        "group_sex": np.arange(count) % 2,
    }


def test_a_whole_file_is_split_once_and_for_all(tmp_path):
    np.savez(tmp_path / "d.npz", **whole())
    one, two = (arrays.load(arrays.Config(path=str(tmp_path / "d.npz"), calibration=8)) for _ in range(2))
    assert [len(one.splits[n]) for n in ("train", "calibration", "select", "test")] == [30, 8, 5, 15]
    assert one.key == two.key
    assert one.classes == 3
    assert one.bounds == (0.0, 1.0)
    assert one.group_names == {"sex": ("0", "1")}
    rows = torch.cat([one.splits[n].inputs for n in ("train", "select", "test")]).flatten(1)
    assert len(torch.unique(rows, dim=0)) == 50, "every example is in one split"
    assert torch.equal(one.train.inputs[:8], one.calibration.inputs)


def test_a_file_that_is_split_stays_so(tmp_path):
    parts = {f"{s}_{n}": torch.as_tensor(a) for s in ("train", "test") for n, a in whole().items()}
    save_file(parts, tmp_path / "d.safetensors")
    task = arrays.load(arrays.Config(path=str(tmp_path / "d.safetensors"), limit=40))
    assert [len(task.splits[n]) for n in ("train", "select", "test")] == [40, 5, 40]
    known = parts["train_inputs"].float().flatten(1) / 255
    assert all((known == row).all(1).any() for row in task.train.inputs.flatten(1))
    assert not torch.equal(task.train.targets, parts["train_targets"][:40]), "shuffled, as files are often sorted"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"targets": np.ones(50)}, r"type torch.float64 for 50 inputs"),
        ({"targets": np.arange(49) % 3}, r"targets of shape \(49,\)"),
        ({"targets": np.arange(50) - 1}, "targets of row"),
        ({"targets": np.zeros(50, dtype=int)}, "at least two classes"),
        ({"inputs": np.array([None] * 50)}, "Python objects"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changed, message, tmp_path):
    np.savez(tmp_path / "d.npz", **{**whole(), **changed})
    with pytest.raises(TaskError, match=message):
        arrays.load(arrays.Config(path=str(tmp_path / "d.npz")))


def test_a_file_without_the_arrays_says_what_it_has(tmp_path):
    np.savez(tmp_path / "d.npz", images=np.zeros(3))
    with pytest.raises(TaskError, match="no array inputs; it has images"):
        arrays.load(arrays.Config(path=str(tmp_path / "d.npz")))
    np.savez(tmp_path / "t.npz", **{f"train_{n}": a for n, a in whole().items()})
    with pytest.raises(TaskError, match="no test_"):
        arrays.load(arrays.Config(path=str(tmp_path / "t.npz")))
    (tmp_path / "e.npz").write_text("no zip")
    with pytest.raises(TaskError, match=r"e\.npz"):
        arrays.load(arrays.Config(path=str(tmp_path / "e.npz")))


def test_a_shifted_split_is_taken_whether_or_not_the_file_is_split(tmp_path):
    shifted = {f"shifted_{n}": a for n, a in whole(20).items()}
    np.savez(tmp_path / "d.npz", **whole(), **shifted)
    task = arrays.load(arrays.Config(path=str(tmp_path / "d.npz")))
    assert {n: len(s) for n, s in task.splits.items()} == {
        "train": 30,
        "calibration": 30,
        "select": 5,
        "test": 15,
        "shifted": 20,
    }
    parts = {f"{s}_{n}": a for s in ("train", "test") for n, a in whole().items()}
    np.savez(tmp_path / "p.npz", **parts, **shifted)
    both = arrays.load(arrays.Config(path=str(tmp_path / "p.npz"), limit=12))
    assert len(both.split("shifted")) == 12
    known = torch.as_tensor(shifted["shifted_inputs"]).float().flatten(1) / 255
    assert all((known == row).all(1).any() for row in both.split("shifted").inputs.flatten(1))


def test_codes_of_groups_name_themselves_and_may_be_missing(tmp_path):
    codes = np.where(np.arange(50) % 5 == 0, -1, 2 * (np.arange(50) % 2))
    np.savez(tmp_path / "d.npz", **{**whole(), "group_sex": codes})
    task = arrays.load(arrays.Config(path=str(tmp_path / "d.npz")))
    assert task.group_names["sex"] == ("0", "1", "2"), "the name of a code is at its place"
    assert -1 in task.train.groups["sex"]


def load(tmp_path, parts, **given):
    np.savez(tmp_path / "d.npz", **parts)
    return arrays.load(arrays.Config(path=str(tmp_path / "d.npz"), **given))


@pytest.mark.known_answer
def test_members_and_a_test_file_are_kept_apart(tmp_path):
    np.savez(tmp_path / "m.npz", **{n: a[:20] for n, a in whole().items()})
    task = load(tmp_path, whole(), members=str(tmp_path / "m.npz"))
    assert [len(task.splits[n]) for n in ("train", "select", "test")] == [20, 5, 45]
    alone = load(tmp_path, whole(), split="test")
    assert [len(alone.splits[n]) for n in ("train", "calibration", "select", "test")] == [0, 0, 5, 45]
    assert torch.equal(alone.test.inputs, task.test.inputs)
    only = load(tmp_path, {f"test_{n}": a for n, a in whole().items()})
    assert only.key == alone.key, "a file that has no train will do"


def test_persons_groups_and_classes_of_arrays(tmp_path):
    people = np.array([f"p{i // 5}" for i in range(50)])
    given = {"cluster": "who", "classes": "a,b,c,d", "groups": "sex", "bounds": "-1,2"}
    task = load(tmp_path, {**whole(), "who": people, "group_age": np.arange(50) % 4}, **given)
    assert (task.classes, task.class_names, task.bounds) == (4, ("a", "b", "c", "d"), (-1.0, 2.0))
    assert set(task.group_names) == {"sex"}
    assert len(torch.unique(torch.cat([task.splits[n].clusters for n in ("train", "select", "test")]))) == 10


def test_split_names_what_verdicts_are_given_on(tmp_path):
    parts = {f"{s}_{n}": a + i for i, s in enumerate(("train", "test", "shifted")) for n, a in whole().items()}
    parts = {n: a % 3 if n.endswith("targets") else a for n, a in parts.items()}
    task = load(tmp_path, parts, split="shifted")
    known = (torch.from_numpy(parts["shifted_inputs"]).float() / 255).flatten(1)
    assert all((known == row).all(1).any() for row in task.test.inputs.flatten(1))


@pytest.mark.parametrize(
    ("changed", "given", "message"),
    [
        ({"inputs": np.zeros((50, 8, 8, 3), np.float32)}, {}, r"look like images with channels last \(NHWC\)"),
        ({"inputs": np.arange(50.0)[:, None]}, {"bounds": "0,1"}, "they look like pixels from 0 to 255: divide"),
        ({}, {"classes": "a,b"}, r"targets hold 2; classes name 2: name all of them \(--classes\)"),
        ({}, {"cluster": "who"}, "cluster: no array 'who'"),
        ({}, {"groups": "age:25,40"}, "groups: no array group_age:25.*leave cuts and"),
        ({}, {"split": "shifted"}, "split='shifted'; test is allowed"),
    ],
)
def test_what_is_asked_for_and_not_there(changed, given, message, tmp_path):
    with pytest.raises(TaskError, match=message) as error:
        load(tmp_path, {**whole(), **changed}, **given)
    assert "\n" not in str(error.value)


@pytest.mark.known_answer
def test_channels_that_come_last_are_turned_where_that_is_said(tmp_path):
    pixels = np.random.default_rng(0).random((50, 8, 9, 3), dtype=np.float32)
    task = load(tmp_path, {**whole(), "inputs": pixels}, layout="NHWC", split="test", select=0.0 + 0.1)
    assert task.shape == (3, 8, 9)
    known = torch.from_numpy(pixels).permute(0, 3, 1, 2).flatten(1)
    assert all((known == row).all(1).any() for row in task.test.inputs.flatten(1))
    assert load(tmp_path, {**whole(), "inputs": pixels}, layout="NCHW").shape == (8, 9, 3)
