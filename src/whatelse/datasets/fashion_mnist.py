"""Fashion-MNIST: 70,000 gray images of 28x28 pixels in [0, 1], ten kinds of clothes.

The official test file is test (10,000 images), the official train file (60,000) is shuffled once and for all; its first
tenth is select, the rest train. Grouping: ``class``, the kind.

The data lies in the folder ``fashion-mnist`` inside the one that the environment variable WHATELSE_DATA names, as the
four files of its authors (idx, gzip); where it is not set, scikit-learn fetches it from OpenML (Fashion-MNIST, version
1: the train file, then the test file).

Source:
    Xiao, Rasul & Vollgraf, Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms, 2017,
    arXiv:1708.07747 (MIT).
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from whatelse import limits
from whatelse.datasets import _cut, _place
from whatelse.errors import TaskError
from whatelse.settings import param
from whatelse.tasks.task import Split, Task

VERSION = 1
FILES = tuple(f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))
KINDS = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
_TRAIN, _SIDE, _LARGEST = 60_000, 28, 2**26  # more bytes than any of the four files has


@dataclass(frozen=True)
class Config:
    """Settings of Fashion-MNIST."""

    select: float = param(0.1, "Share of the official train file held back for choices.", low=0.01, high=0.9)
    calibration: int = param(256, "Images of train that set the scales of quantization.", low=2)
    limit: int = param(0, "Largest number of images of train and of select; 0 for all.", low=0)
    limit_test: int = param(0, "Largest number of images of test; 0 for all.", low=0)


def load(config: Config) -> Task:
    """Return Fashion-MNIST as a task.

    Args:
        config: How many images.

    Raises:
        TaskError: The data is not where it should be, or is not this data.
        MissingExtraError: It has to be fetched, and scikit-learn or pandas is not installed.
    """
    place = _place.folder("fashion-mnist", FILES)
    pixels, labels, count = _fetched() if place is None else _read(place)
    select, train = _cut.held_back(_cut.shuffled(count), config.select, config.limit)
    test = count + _cut.first(_cut.shuffled(len(labels) - count), config.limit_test)
    splits = {
        name: _split(pixels[rows], labels[rows])
        for name, rows in {"train": train, "calibration": train[: config.calibration], "select": select}.items()
    }
    splits["test"] = _split(pixels[test], labels[test])
    return Task("fashion_mnist", len(KINDS), (0.0, 1.0), splits, {"class": KINDS})


def _split(pixels: Tensor, labels: Tensor) -> Split:
    targets = labels.long()
    return Split(pixels[:, None].float() / 255, targets, targets, {"class": targets})


def _read(place: Path) -> tuple[Tensor, Tensor, int]:
    images, labels, more, others = (_idx(place / file) for file in FILES)
    if images.shape[1:] != (_SIDE, _SIDE) or len(images) != len(labels) or len(more) != len(others):
        raise TaskError(f"data fashion_mnist: {place}: images of shape {images.shape} for {len(labels)} labels")
    pixels, targets = np.concatenate([images, more]), np.concatenate([labels, others])
    return torch.from_numpy(pixels), torch.from_numpy(targets), len(images)


def _idx(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    # An idx file: two zeros, the type (8 for bytes), the number of axes, their lengths, the values.
    try:
        limits.regular(path)
        with gzip.open(path) as file:
            raw = file.read(_LARGEST)
    except (OSError, EOFError, zlib.error) as error:
        raise TaskError(f"data fashion_mnist: {path}: {error}") from error
    axes = raw[3] if len(raw) > 3 else 0
    start = 4 + 4 * axes
    shape = tuple(int.from_bytes(raw[i : i + 4], "big") for i in range(4, start, 4))
    if raw[:3] != b"\0\0\x08" or len(raw) - start != int(np.prod(shape)):
        raise TaskError(f"data fashion_mnist: {path} is no idx file of bytes, or a part of one")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def _fetched() -> tuple[Tensor, Tensor, int]:
    found = _place.openml("fashion_mnist", "Fashion-MNIST", 1, as_frame=False)
    pixels = torch.from_numpy(np.asarray(found.data).astype(np.uint8))
    labels = torch.from_numpy(np.asarray(found.target).astype(np.int64))
    if pixels.shape[1:] != (_SIDE * _SIDE,) or len(pixels) <= _TRAIN:
        raise TaskError(f"data fashion_mnist: OpenML gives values of shape {tuple(pixels.shape)}; not this data")
    return pixels.view(-1, _SIDE, _SIDE), labels, _TRAIN
