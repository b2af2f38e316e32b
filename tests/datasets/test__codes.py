"""Groups in arrays, against what is written beside them by hand."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from whatelse import limits
from whatelse.datasets import arrays, table
from whatelse.errors import TaskError

N = 80
ROW = np.arange(N)


def task_of(groups, tmp_path, **more):
    rng = np.random.default_rng(0)
    # The first input is the number of the row, so that every code can be traced to it.
    inputs = np.column_stack([ROW, rng.random(N)]).astype(np.float32)
    np.savez(tmp_path / "d.npz", **{"inputs": inputs, "targets": ROW % 2, "group_g": groups, **more})
    return arrays.load(arrays.Config(path=str(tmp_path / "d.npz")))


def by_row(task):
    """The name of the group of every row, None where it has none."""
    found = {}
    for name in ("train", "select", "test"):
        split = task.split(name)
        for row, code in zip(split.inputs[:, 0].tolist(), split.groups["g"].tolist(), strict=True):
            found[int(row)] = None if code < 0 else task.group_names["g"][code]
    return [found[row] for row in range(N)]


KINDS = {
    "words": (np.array(["F", "M", "x y"])[ROW % 3], ["F", "M", "x y"]),
    "bytes": (np.array([b"F", b"M"])[ROW % 2], ["F", "M"]),
    "flags": (ROW % 2 == 1, ["False", "True"]),
    "int8": ((ROW % 3).astype(np.int8), ["0", "1", "2"]),
    "uint8": ((ROW % 3).astype(np.uint8), ["0", "1", "2"]),
    "uint64": ((ROW % 3).astype(np.uint64), ["0", "1", "2"]),
    "big-endian": ((ROW % 3).astype(">i4"), ["0", "1", "2"]),
    "whole floats": ((ROW % 3).astype(np.float32), ["0", "1", "2"]),
    "half": ((ROW % 3).astype(np.float16), ["0", "1", "2"]),
    "years": (1990 + 10 * (ROW % 3), ["1990", "2000", "2010"]),
    "far apart": (np.array([0, 10**9, 7])[ROW % 3], ["0", "1000000000", "7"]),
    "beyond int64": (np.array([1, 2**64 - 1], dtype=np.uint64)[ROW % 2], ["1", "18446744073709551615"]),
    "few fractions": (np.array([0.5, -1.5, 2.0])[ROW % 3], ["0.5", "-1.5", "2.0"]),
}


@pytest.mark.known_answer
@pytest.mark.parametrize("kind", KINDS)
def test_a_group_is_called_what_stands_in_the_array(kind, tmp_path):
    values, names = KINDS[kind]
    task = task_of(values, tmp_path)
    assert by_row(task) == [names[i % len(names)] for i in range(N)]
    assert len(task.group_names["g"]) == len(names)
    assert all(split.groups["g"].dtype == torch.int64 for split in task.splits.values())


@pytest.mark.known_answer
@pytest.mark.parametrize(
    ("values", "missing"),
    [
        (np.where(ROW % 4 == 0, -1, ROW % 2), "-1"),
        (np.where(ROW % 4 == 0, np.nan, ROW % 2), "nan"),
        (np.where(ROW % 4 == 0, -1.0, ROW % 2), "-1.0"),
        (np.where(ROW % 4 == 0, "", np.array(["0", "1"])[ROW % 2]), "empty"),
        (np.where(ROW % 4 == 0, "NA", np.array(["0", "1"])[ROW % 2]), "NA"),
    ],
)
def test_a_missing_value_is_in_no_group(values, missing, tmp_path):
    del missing
    assert by_row(task_of(values, tmp_path)) == [None if r % 4 == 0 else str(r % 2) for r in range(N)]


@pytest.mark.known_answer
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shift", [0.0, -40.0])
def test_measured_numbers_are_cut_at_the_quartiles_of_train(kind, shift, tmp_path):
    values = (np.random.default_rng(1).random(N) * 20 + shift).astype(kind)
    values[5] = np.nan
    task = task_of(values, tmp_path)
    train = [int(r) for r in task.train.inputs[:, 0] if int(r) != 5]
    cuts = np.quantile(values[train].astype(np.float64), (0.25, 0.5, 0.75))
    want = [None if r == 5 else int((float(values[r]) > cuts).sum()) for r in range(N)]
    place = {name: i for i, name in enumerate(task.group_names["g"])}
    got = [None if name is None else place[name] for name in by_row(task)]
    near = {
        r for r in range(N) if r != 5 and np.abs(float(values[r]) - cuts).min() < 1e-3
    }  # on a cut, by its last digit
    assert [g for r, g in enumerate(got) if r not in near] == [w for r, w in enumerate(want) if r not in near]
    assert len(near) < 8
    assert len(place) == 4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (ROW % 2 - 5, r"group_g holds -5; whole numbers from 0"),
        (ROW * 1000, r"group_g: 80 different values in 80 examples make no groups"),
        (np.array([f"p{i}" for i in ROW]), r"group_g: 80 different values"),
        (np.full(N, np.nan), r"group_g: every value is missing"),
        (np.where(ROW == 3, np.inf, 0.5), r"group_g holds an infinite value"),
        (np.zeros((N, 2), int), r"group_g is of shape \(80, 2\) for 80 examples"),
        (ROW[:7] % 2, r"group_g is of shape \(7,\) for 80 examples"),
        (np.array(3), r"group_g is of shape \(\)"),
        (np.full(N, 1j), r"group_g is of type complex128"),
        (np.full(N, "2020-01-01", dtype="M8[D]"), r"group_g is of type datetime64"),
        (np.array([None] * N), r"group_g holds Python objects"),
    ],
)
def test_what_makes_no_groups_is_refused_by_the_name_of_the_array(values, message, tmp_path):
    with pytest.raises(TaskError, match=rf"data d.npz: {message}"):
        task_of(values, tmp_path)


def test_an_array_of_another_split_is_named_with_its_prefix(tmp_path):
    parts = {f"{s}_{n}": a for s in ("train", "test") for n, a in {"x": np.ones((N, 2)), "y": ROW % 2}.items()}
    groups = {"train_group_g": np.array(["a", "b"])[ROW % 2], "test_group_g": np.array(["b", "c"])[ROW % 2]}
    np.savez(tmp_path / "d.npz", **parts, **groups)
    task = arrays.load(arrays.Config(path=str(tmp_path / "d.npz")))
    assert task.group_names["g"] == ("a", "b", "c"), "also what test alone has"
    assert set(task.test.groups["g"].tolist()) == {1, 2}
    np.savez(tmp_path / "d.npz", **parts, **{**groups, "test_group_g": ROW % 2})
    with pytest.raises(TaskError, match="group_g: names in one part of the data and numbers in another"):
        arrays.load(arrays.Config(path=str(tmp_path / "d.npz")))
    np.savez(tmp_path / "d.npz", **parts, **{**groups, "test_group_g": ROW[:3]})
    with pytest.raises(TaskError, match=r"test_group_g is of shape \(3,\)"):
        arrays.load(arrays.Config(path=str(tmp_path / "d.npz")))


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.bfloat16, torch.float64, torch.bool])
def test_tensors_are_read_as_arrays_are(kind, tmp_path):
    codes = torch.arange(N) % 2
    parts = {"x": torch.rand(N, 2), "y": torch.arange(N) % 2, "group_g": codes.to(kind)}
    save_file(parts, tmp_path / "d.safetensors")
    task = arrays.load(arrays.Config(path=str(tmp_path / "d.safetensors")))
    assert torch.equal(task.test.groups["g"], task.test.targets)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (ROW / 7, r"type torch.float64 for 80 inputs"),
        (np.array(["a", "b"])[ROW % 2], r"targets of shape \(80,\) and type <U1"),
        (np.where(ROW == 1, 10**9, ROW % 2), "targets hold 1000000000"),
        (np.where(ROW == 1, 2**63 + 1, 1).astype(np.uint64), "targets hold 9223372036854775809"),
        (np.array(1), "targets of shape"),
    ],
)
def test_labels_that_are_no_classes_are_refused_and_named(targets, message, tmp_path):
    with pytest.raises(TaskError, match=message):
        task_of(ROW % 2, tmp_path, targets=targets)


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.bool_])
def test_labels_may_be_whole_numbers_of_any_width(kind, tmp_path):
    task = task_of(ROW % 2, tmp_path, targets=(ROW % 2).astype(kind))
    assert task.classes == 2
    assert torch.equal(task.test.targets, (task.test.inputs[:, 0] % 2).long())


def test_packed_arrays_are_summed_before_they_are_read(tmp_path):
    big = np.zeros((N, 10**5), dtype=np.uint8)  # 8 MB, in 8 kB of file
    np.savez_compressed(tmp_path / "d.npz", inputs=big, targets=ROW % 2, other=big)
    path = arrays.Config(path=str(tmp_path / "d.npz"))
    with (
        limits.within("64M"),
        pytest.raises(TaskError, match=r"d.npz would take 68.7 MiB of memory; allowed are 64 MiB"),
    ):
        arrays.load(path)  # 8 million numbers as a byte and twice as four; what no task is made of is not counted
    with limits.within("70M"):
        assert arrays.load(path).shape == (10**5,)


def test_a_table_is_summed_and_a_group_a_row_refused(tmp_path):
    rows = "\n".join(f"{i % 9},n{i}x,{i % 2}" for i in range(2000))
    (tmp_path / "t.csv").write_text(f"age,name,y\n{rows}\n")
    asked = {"path": str(tmp_path / "t.csv"), "label": "y"}
    with limits.within("4M"), pytest.raises(TaskError, match=r"2000 rows of 1\d\d\d inputs would take"):
        table.load(table.Config(**asked))
    with pytest.raises(TaskError, match=r"groups: column 'name' has \d+ different values in \d+ rows"):
        table.load(table.Config(**asked, groups="name", leave_out="name"))


@pytest.mark.parametrize("kind", ["U1001", ">U1001", "S1001", "U100000"])
def test_names_wider_than_any_name_are_refused_by_their_type(kind, tmp_path):
    with pytest.raises(TaskError, match=r"data d.npz: group_g is of type .*; at most 1,000 are allowed"):
        task_of(np.array(["a", "b"]).astype(kind)[ROW % 2], tmp_path)


@pytest.mark.parametrize("kind", ["U1000", "S1000"])
def test_names_as_wide_as_allowed_are_read(kind, tmp_path):
    made = task_of(np.array(["a" * 1_000, "b"]).astype(kind)[ROW % 2], tmp_path)
    assert by_row(made) == ["a" * 1_000, "b"] * (N // 2)
