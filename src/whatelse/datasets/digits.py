"""Real handwritten digits that come with scikit-learn: 1,797 images of 8x8 pixels in [0, 1].

Every image is used once. The split is fixed: 600 train (the first 200 of them are the calibration split), 297
select, 900 test, the same for every seed of a study. Groupings: ``digit``, the class, and ``style``: a fixed random
15 % of the images is turned by a quarter, in every split alike, and is the minority. ``noise`` gives that share of
the images another label, drawn evenly from the nine wrong ones, as ``observed``; ``targets`` stay true. With
``canvas`` each digit lies at a random place of a larger canvas of uniform noise, and ``masks`` says where; train
images may be shown at several places (``copies``). ``clusters`` numbers the 1,797 images.

Source:
    Alpaydin & Kaynak, Optical recognition of handwritten digits, UCI 1998, doi:10.24432/C50P49, as shipped by
    scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from whatelse.errors import MissingExtraError, SettingError
from whatelse.settings import param
from whatelse.tasks.task import Split, Task

VERSION = 1
_TRAIN, _CALIBRATION, _SELECT = 600, 200, 297
# One fixed seed for each decision about the data, so that changing one setting leaves the others as they are.
_ORDER, _STYLE, _LABELS, _PLACES = 1797, 15, 30, 16


@dataclass(frozen=True)
class Config:
    """Settings of the digits."""

    noise: float = param(0.0, "Share of images whose recorded label is wrong.", low=0.0, high=0.9)
    minority: float = param(0.15, "Share of images in the minority style.", low=0.0, high=0.5)
    canvas: int = param(0, "Side of the noisy canvas in pixels, 8 or more; 0 leaves the image.", low=0, high=64)
    clutter: float = param(0.2, "Largest value of the noise on the canvas.", low=0.0, high=1.0)
    copies: int = param(1, "Places at which every train image is shown on the canvas.", low=1, high=100)


def load(config: Config) -> Task:
    """Return the digits as a task.

    Args:
        config: Which variant.

    Raises:
        MissingExtraError: scikit-learn is not installed.
        SettingError: The canvas is smaller than a digit.
    """
    try:
        from sklearn.datasets import load_digits  # noqa: PLC0415 - an extra, imported where it is needed
    except ModuleNotFoundError as error:
        raise MissingExtraError("data digits needs scikit-learn: pip install 'whatelse[digits]'") from error
    if 0 < config.canvas < 8:
        raise SettingError(f"data digits: canvas={config.canvas} is smaller than a digit; allowed are 0 and 8 to 64")
    raw = load_digits()
    order = torch.randperm(len(raw.target), generator=_generator(_ORDER))
    images = torch.tensor(raw.images, dtype=torch.float32)[order, None] / 16
    targets = torch.tensor(raw.target, dtype=torch.int64)[order]
    style = _pick(len(targets), config.minority, _STYLE)
    images[style] = torch.rot90(images[style], 1, (2, 3))
    observed = _mislabel(targets, config.noise)
    copy_of = torch.arange(len(targets))
    whole = Split(images, targets, observed, {"style": style.long(), "digit": targets}, None, copy_of)
    rows = torch.arange(len(targets))
    train = rows[:_TRAIN]
    if config.canvas:
        # Further placements of train images come last, so that all others lie where they lay with one copy.
        rows = torch.cat([rows, train.repeat(config.copies - 1)])
        whole = _place(whole.take(rows), config.canvas, config.clutter)
        train = torch.cat([train, torch.arange(len(targets), len(rows))])
        rows = rows[: len(targets)]
    splits = {
        "train": whole.take(train),
        "calibration": whole.take(train[:_CALIBRATION]),
        "select": whole.take(rows[_TRAIN : _TRAIN + _SELECT]),
        "test": whole.take(rows[_TRAIN + _SELECT :]),
    }
    names = {"style": ("upright", "quarter turn"), "digit": tuple(map(str, range(10)))}
    return Task("digits", 10, (0.0, 1.0), splits, names)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _pick(count: int, share: float, seed: int) -> Tensor:
    chosen = torch.zeros(count, dtype=torch.bool)
    chosen[torch.randperm(count, generator=_generator(seed))[: round(share * count)]] = True
    return chosen


def _mislabel(targets: Tensor, share: float) -> Tensor:
    rng = _generator(_LABELS + 1)
    shift = torch.randint(1, 10, targets.shape, generator=rng)
    return torch.where(_pick(len(targets), share, _LABELS), (targets + shift) % 10, targets)


def _place(split: Split, side: int, clutter: float) -> Split:
    rng = _generator(_PLACES)
    count, _, height, width = split.inputs.shape
    canvas = clutter * torch.rand(count, 1, side, side, generator=rng)
    masks = torch.zeros(canvas.shape, dtype=torch.bool)
    corners = torch.randint(0, side - height + 1, (count, 2), generator=rng)
    for i, (top, left) in enumerate(corners.tolist()):
        window = (i, 0, slice(top, top + height), slice(left, left + width))
        canvas[window] = torch.maximum(canvas[window], split.inputs[i, 0])
        masks[window] = True
    return replace(split, inputs=canvas, masks=masks)
