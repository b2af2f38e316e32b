import gzip
import struct

import numpy as np
import pytest
import torch

from whatelse import opening
from whatelse.datasets import fashion_mnist
from whatelse.errors import TaskError


def idx(array):
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return gzip.compress(head + array.astype(np.uint8).tobytes())


@pytest.fixture
def pixels():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (70, 28, 28), dtype=np.uint8), (np.arange(70) % 10).astype(np.uint8)


@pytest.fixture
def small(at, pixels):
    images, labels = pixels
    folder = at / "fashion-mnist"
    folder.mkdir()
    for name, rows in (("train", slice(0, 50)), ("t10k", slice(50, 70))):
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(idx(images[rows]))
        (folder / f"{name}-labels-idx1-ubyte.gz").write_bytes(idx(labels[rows]))
    return folder


def test_every_image_lies_in_the_split_of_its_file(small, pixels):
    images, labels = pixels
    task = opening.load_task("fashion_mnist(calibration=8)")
    assert {n: len(s) for n, s in task.splits.items()} == {"train": 45, "calibration": 8, "select": 5, "test": 20}
    known = {(image.tobytes(), int(label)): i for i, (image, label) in enumerate(zip(images, labels, strict=True))}

    def rows(split):
        values = (split.inputs[:, 0] * 255).round().byte().numpy()
        return {known[v.tobytes(), t] for v, t in zip(values, split.targets.tolist(), strict=True)}

    assert rows(task.splits["train"]) | rows(task.splits["select"]) == set(range(50))
    assert rows(task.test) == set(range(50, 70))
    assert torch.equal(task.test.groups["class"], task.test.targets)
    assert task.bounds == (0.0, 1.0)
    assert len(opening.load_task("fashion_mnist(limit=7, limit_test=3)").train) == 7


def test_openml_gives_the_same_task_as_the_files(small, pixels, monkeypatch):
    images, labels = pixels
    from_files = opening.load_task("fashion_mnist")
    monkeypatch.delenv("WHATELSE_DATA")
    monkeypatch.setattr(fashion_mnist, "_TRAIN", 50)
    asked = []

    def fetch(name, **rest):
        from sklearn.utils import Bunch

        asked.append((name, rest["version"]))
        return Bunch(data=images.reshape(70, -1).astype(np.int64), target=labels.astype(str).astype(object))

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    assert opening.load_task("fashion_mnist").key == from_files.key
    assert asked == [("Fashion-MNIST", 1)]


def test_damaged_files_are_named(small):
    path = small / "t10k-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    for damaged in (whole[:-20], b"no gzip", gzip.compress(gzip.decompress(whole)[:-9]), gzip.compress(b"")):
        path.write_bytes(damaged)
        with pytest.raises(TaskError, match=r"data fashion_mnist: .*t10k-images-idx3-ubyte\.gz"):
            opening.load_task("fashion_mnist")
    path.unlink()
    with pytest.raises(TaskError, match=r"no file .*t10k-images"):
        opening.load_task("fashion_mnist")


@pytest.mark.known_answer
def test_the_real_images_are_counted_as_their_authors_say(real):
    folder = real("fashion-mnist")
    task = opening.load_task("fashion_mnist")
    assert {n: len(s) for n, s in task.splits.items()} == {
        "train": 54_000,
        "calibration": 256,
        "select": 6_000,
        "test": 10_000,
    }
    assert torch.bincount(task.test.targets).tolist() == [1_000] * 10
    assert (torch.bincount(task.train.targets) + torch.bincount(task.split("select").targets)).tolist() == [6_000] * 10
    # The mean of the pixels that everybody normalizes by: 0.2860, of the train file.
    both = torch.cat([task.train.inputs, task.split("select").inputs])
    assert float(both.double().mean()) == pytest.approx(0.2860, abs=5e-5)
    first = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())[16 : 16 + 784]
    at = int((torch.randperm(10_000, generator=torch.Generator().manual_seed(7)) == 0).nonzero())
    assert (task.test.inputs[at] * 255).round().byte().numpy().tobytes() == first
