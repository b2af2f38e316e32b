"""The two tasks and their untrained networks, from public files: small enough for a CPU."""

from __future__ import annotations

import csv
import gzip
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from whatelse.nets import resnet, transformer
from whatelse.tasks.task import Split, Task

CALIBRATION = 256
_VOCABULARY, _TOKENS = 4000, 32
_LONG = 8  # Words: train has fragments of sentences, test has whole ones.


@dataclass(frozen=True)
class Arena:
    """A network and how its baseline is trained.

    Attributes:
        name: Short name.
        title: What it is, for the table.
        epochs: Passes over train of the baseline.
        rate: Peak learning rate of the baseline.
    """

    name: str
    title: str
    epochs: int
    rate: float


ARENAS = {
    "resnet": Arena("resnet", "ResNet-20 of width 8 on Fashion-MNIST", 8, 8e-3),
    "transformer": Arena("transformer", "transformer of width 64 and 2 blocks on SST-2", 4, 4e-3),
}


def root() -> Path:
    """Return the folder of the data."""
    return Path(os.environ.get("WHATELSE_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def absent() -> list[str]:
    """Return the files that are needed and not there."""
    images = [
        f"fashion-mnist/{part}-ubyte.gz"
        for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    ]
    return [name for name in (*images, "sst2/train.tsv", "sst2/test.tsv") if not (root() / name).is_file()]


def load(name: str, shrink: int) -> Task:
    """Return a task.

    Args:
        name: One of `ARENAS`.
        shrink: Divides the number of examples, for a quick trial.
    """
    return images(4000 // shrink, 2000 // shrink) if name == "resnet" else sentences(6000 // shrink, 872 // shrink)


def network(name: str, rng: torch.Generator) -> nn.Module:
    """Return an untrained network.

    Args:
        name: One of `ARENAS`.
        rng: Source of its weights.
    """
    if name == "resnet":
        return resnet.build(resnet.Config(depth=20, width=8, kind="B"), (1, 28, 28), 10, rng)
    return transformer.build(transformer.Config(vocabulary=_VOCABULARY), (_TOKENS,), 2, rng)


def images(train: int, test: int) -> Task:
    """Return Fashion-MNIST: the first images of its two files.

    Args:
        train: How many to train on.
        test: How many to test on.
    """
    parts = {}
    for part, count in (("train", train + 500), ("t10k", test)):
        pixels = _idx(f"fashion-mnist/{part}-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)[:count]
        labels = _idx(f"fashion-mnist/{part}-labels-idx1-ubyte.gz", 8)[:count]
        parts[part] = torch.tensor(pixels / 255, dtype=torch.float32), torch.tensor(labels, dtype=torch.int64)
    return _task("fashion-mnist", 10, (0.0, 1.0), *parts["train"], *parts["t10k"], train)


def sentences(train: int, test: int) -> Task:
    """Return SST-2 as ids of words, 0 for padding and 1 for words that are rare.

    Fragments of fewer than 8 words are left out of train.

    Args:
        train: How many to train on, drawn at random.
        test: How many to test on.
    """
    rows, asked = _rows("sst2/train.tsv"), _rows("sst2/test.tsv")[:test]
    common = Counter(word for text, _ in rows for word in text.split()).most_common(_VOCABULARY - 2)
    rows = [row for row in rows if len(row[0].split()) >= _LONG]
    ids = {word: i + 2 for i, (word, _) in enumerate(common)}
    picks = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[: train + 500].tolist()
    return _task(
        "sst2", 2, (0.0, _VOCABULARY - 1.0), *_tokens([rows[i] for i in picks], ids), *_tokens(asked, ids), train
    )


def _task(
    name: str, classes: int, bounds: tuple[float, float], x: Tensor, y: Tensor, asked: Tensor, truth: Tensor, train: int
) -> Task:
    whole = Split(x, y, y)
    members = torch.arange(train)
    splits = {
        "train": whole.take(members),
        "calibration": whole.take(members[:CALIBRATION]),
        "select": whole.take(torch.arange(train, len(x))),
        "test": Split(asked, truth, truth),
    }
    return Task(name, classes, bounds, splits)


def _idx(name: str, head: int) -> np.ndarray:
    with gzip.open(root() / name) as file:
        return np.frombuffer(file.read(), np.uint8, offset=head)


def _rows(name: str) -> list[tuple[str, int]]:
    with (root() / name).open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
    return [(row[0].lower(), int(row[1])) for row in rows if row[0].strip()]


def _tokens(rows: list[tuple[str, int]], ids: dict[str, int]) -> tuple[Tensor, Tensor]:
    x = torch.zeros(len(rows), _TOKENS)
    for i, (text, _) in enumerate(rows):
        words = [float(ids.get(word, 1)) for word in text.split()[:_TOKENS]]
        x[i, : len(words)] = torch.tensor(words)
    return x, torch.tensor([label for _, label in rows])
