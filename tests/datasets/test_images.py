import os

import numpy as np
import pytest
import torch

from whatelse import mapped, opening
from whatelse.auditing.overlap import overlaps
from whatelse.datasets import _pictures
from whatelse.errors import MissingExtraError, TaskError
from whatelse.tasks.alike import alike

image = pytest.importorskip("PIL.Image")


def paint(place, count, value, mode="RGB", kind="png"):
    """Images of one color, whose value says which they are."""
    place.mkdir(parents=True)
    for i in range(count):
        shape = (6, 4, 3) if mode == "RGB" else (6, 4)
        image.fromarray(np.full(shape, value + i, np.uint8), mode if mode == "L" else None).save(place / f"{i}.{kind}")


def load(place, **given):
    return opening.load_task(f"images(path='{place}', {', '.join(f'{k}={v!r}' for k, v in given.items())})")


@pytest.mark.known_answer
def test_every_image_is_in_one_split_with_its_folder_as_class(tmp_path):
    paint(tmp_path / "pets" / "cat", 20, 0)
    paint(tmp_path / "pets" / "dog", 20, 100)
    task = load(tmp_path / "pets", size=8, calibration=6)
    assert {n: len(s) for n, s in task.splits.items()} == {"test": 12, "select": 3, "train": 25, "calibration": 6}
    assert task.shape == (3, 8, 8)
    assert task.group_names == {"class": ("cat", "dog")}
    told = []
    for name in ("train", "select", "test"):
        split = task.split(name)
        value = (split.inputs * 255).round()
        assert torch.equal(value.amin((1, 2, 3)), value.amax((1, 2, 3))), "one color stays one color"
        assert torch.equal(split.targets, (value[:, 0, 0, 0] >= 100).long())
        told += value[:, 0, 0, 0].int().tolist()
    assert sorted(told) == [*range(20), *range(100, 120)]
    assert load(tmp_path / "pets", size=8, calibration=6).key == task.key


def test_folders_of_splits_stay_so(tmp_path):
    for name, count in (("train", 9), ("test", 5), ("shifted", 3)):
        for label, kind in (("a", "png"), ("b", "jpeg")):
            paint(tmp_path / name / label, count, 40, mode="L", kind=kind)
    task = load(tmp_path, size=4, color="gray")
    assert {n: len(s) for n, s in task.splits.items()} == {
        "train": 16,
        "test": 10,
        "shifted": 6,
        "select": 2,
        "calibration": 16,
    }
    assert task.shape == (1, 4, 4)
    assert len(load(tmp_path, size=4, limit=3).split("shifted")) == 3


def test_what_is_no_image_is_named(tmp_path, monkeypatch):
    with pytest.raises(TaskError, match="no such folder"):
        load(tmp_path / "none")
    paint(tmp_path / "a", 5, 0)
    with pytest.raises(TaskError, match="two classes or more are needed; it has a"):
        load(tmp_path)
    paint(tmp_path / "b", 5, 0)
    (tmp_path / "b" / "0.png").write_text("no image")
    with pytest.raises(TaskError, match=r"b/0\.png: no image that can be read"):
        load(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"whatelse\[images\]"):
        load(tmp_path)


def pictures(place, count=12, size=(5, 7)):
    """Images of noise, and what a table says of them."""
    rng = np.random.default_rng(len(str(place)))
    place.mkdir(parents=True)
    rows = ["file_name,label,site,patient"]
    for i in range(count):
        image.fromarray(rng.integers(0, 255, (*size, 3)).astype(np.uint8)).save(place / f"{i}.png")
        rows.append(f"{i}.png,{('sick', 'well')[i % 2]},{'xyz'[i % 3]},p{i // 2}")
    (place / "metadata.csv").write_text("\n".join(rows))
    return place


@pytest.mark.known_answer
def test_metadata_says_classes_groups_and_persons(tmp_path):
    place = pictures(tmp_path / "scans")
    task = load(place, size=0, groups="site", cluster="patient", split="test")
    assert task.class_names == ("sick", "well")
    rows = []
    for name in ("select", "test"):
        split = task.split(name)
        for i in range(len(split)):
            wanted = [
                n
                for n in range(12)
                if np.array_equal(
                    (split.inputs[i].permute(1, 2, 0) * 255).round().numpy(), np.asarray(image.open(place / f"{n}.png"))
                )
            ]
            rows += wanted
            assert int(split.targets[i]) == wanted[0] % 2
            assert int(split.groups["site"][i]) == wanted[0] % 3
    assert sorted(rows) == list(range(12)), "each is what Pillow reads"
    assert not set(task.test.clusters.tolist()) & set(task.split("select").clusters.tolist())
    assert len(task.train) == 0
    assert load(place, size=0, groups="site", members=str(pictures(tmp_path / "more", 8))).train.inputs.shape[0] == 8


def test_what_metadata_and_sizes_may_not_be(tmp_path):
    place = pictures(tmp_path / "scans")
    with pytest.raises(TaskError, match=r"label: no column 'diagnosis'; .*\(--target\)"):
        load(place, label="diagnosis")
    image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(place / "3.png")
    with pytest.raises(TaskError, match=r"\d+\.png is of shape \(3, .*, others are \(3, .*; one shape is needed"):
        load(place, size=0)
    assert load(place, size=4).shape == (3, 4, 4)
    (place / "metadata.csv").write_text("file_name,label\n../scans/1.png,a\n../../x.png,b\n")
    with pytest.raises(TaskError, match=r"row 2 is '../../x.png'; no such file in"):
        load(place)
    (place / "metadata.csv").write_text("file,label\n1.png,a\n")
    with pytest.raises(TaskError, match="no column 'file_name'"):
        load(place)
    with pytest.raises(TaskError, match="split: no folder 'tset'"):
        load(tmp_path, split="tset")


def test_a_pipe_is_no_image_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(TaskError, match="row 1: no image that can be read"):
        _pictures.pixels(tmp_path / "x.png", "row 1", "rgb", 0)


def test_many_images_lie_in_a_file_and_are_the_same_data(tmp_path, monkeypatch):
    """Larger than memory is fine: what is read, its key and what is said of it do not depend on where it lies."""
    for name, value in (("cat", 0), ("dog", 100)):
        paint(tmp_path / "pets" / name, 20, value)
    small = load(tmp_path / "pets", size=8)
    monkeypatch.setattr(mapped, "LARGE", 2**8)
    asked = []
    real = mapped.mmap.mmap
    monkeypatch.setattr(mapped.mmap, "mmap", lambda file, count: asked.append(count) or real(file, count))
    large = load(tmp_path / "pets", size=8)
    assert sum(asked) == sum(4 * large.split(n).inputs.numel() for n in ("train", "select", "test"))
    assert large.key == small.key
    assert alike(large) == alike(small)
    assert overlaps(large, "pets") == overlaps(small, "pets")
