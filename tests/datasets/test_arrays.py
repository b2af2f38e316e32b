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
