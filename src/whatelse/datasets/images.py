"""A folder of images of one's own: one folder inside it for every class, with PNG or JPEG files.

``path/cat/1.png`` is of class ``cat``; classes are in order of the alphabet. The images are shuffled once and for all
and cut into the shares ``test`` and ``select`` and the rest, train. Or ``path`` holds the folders ``train`` and
``test``, and ``select`` if there is one, with the folders of the classes inside each; a folder ``shifted`` is the split
``shifted``. Every image becomes ``size`` by ``size`` pixels in [0, 1]: gray or red, green and blue, scaled without
regard to its proportions. Groupings: ``class``.

Source:
    The layout of torchvision's ImageFolder; scaling: Pillow, bilinear with antialiasing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from whatelse import limits
from whatelse.datasets import _cut
from whatelse.errors import MissingExtraError, TaskError
from whatelse.settings import param
from whatelse.tasks.task import Split, Task

VERSION = 1
_KINDS = {".png", ".jpg", ".jpeg"}
_SPLITS = ("train", "select", "test", "shifted")
_MODES = {"gray": "L", "rgb": "RGB"}  # as Pillow calls them, a letter a channel


@dataclass(frozen=True)
class Config:
    """Settings of a folder of images."""

    path: str = param("", "The folder.")
    size: int = param(32, "Height and width in pixels; nets.cnn takes multiples of 4.", low=1, high=1024)
    color: str = param("rgb", "What a pixel is.", choices=tuple(_MODES))
    test: float = param(0.3, "Share of images held back for verdicts, without a folder test.", low=0.01, high=0.9)
    select: float = param(0.1, "Share of the others held back for choices, without a folder.", low=0.01, high=0.9)
    calibration: int = param(256, "Images of train that set the scales of quantization.", low=2)
    limit: int = param(0, "Largest number of images of each split; 0 for all.", low=0)


def load(config: Config) -> Task:
    """Return a folder of images as a task.

    Args:
        config: Which folder, and what becomes of its images.

    Raises:
        TaskError: There is no such folder, it has no images of two classes, or a file cannot be read.
        MissingExtraError: Pillow is not installed.
    """
    place = Path(config.path)
    given = [name for name in _SPLITS if (place / name).is_dir()]
    official = {"train", "test"} <= set(given)
    names = _classes(place / "train" if official else place)
    found = {name: _files(place / name, names) for name in given} if official else {"": _files(place, names)}
    files = found if official else _parted(found[""], config)
    if "select" not in files:
        rows = files["train"]
        held = max(1, round(config.select * len(rows)))
        files |= {"select": rows[:held], "train": rows[held:]}
    kept = {name: rows[: config.limit] if config.limit else rows for name, rows in files.items()}
    for name, rows in kept.items():
        if not rows:
            raise TaskError(f"data images: {place}: no images are left for {name}")
    _foresee([path for rows in kept.values() for path, _ in rows], config)
    splits = {name: _split(rows, config) for name, rows in kept.items()}
    splits["calibration"] = splits["train"].take(torch.arange(min(config.calibration, len(splits["train"]))))
    return Task(place.name or "images", len(names), (0.0, 1.0), splits, {"class": names})


def _foresee(paths: list[Path], config: Config) -> None:
    """Refuse, before any is read, images of more memory than is allowed: a file of a few bytes may be of any size."""
    one = 4 * config.size**2 * len(_MODES[config.color])
    held = sum(path.stat().st_size for path in paths)
    what = f"data images: {config.path}: {len(paths)} images of {config.size} by {config.size}"
    limits.check(2 * len(paths) * one, held, what, TaskError)


def _classes(place: Path) -> tuple[str, ...]:
    if not place.is_dir():
        raise TaskError(f"data images: {place}: no such folder")
    names = tuple(sorted(p.name for p in place.iterdir() if p.is_dir() and not p.name.startswith(".")))
    if len(names) < 2:
        found = ", ".join(names) or "none"
        raise TaskError(f"data images: {place}: folders of two classes or more are needed; it has {found}")
    return names


def _files(place: Path, names: tuple[str, ...]) -> list[tuple[Path, int]]:
    """Return every image and its class, in the fixed order."""
    found = []
    for label, name in enumerate(names):
        images = sorted(p for p in (place / name).rglob("*") if p.suffix.lower() in _KINDS and p.is_file())
        found += [(image, label) for image in images]
    return [found[i] for i in _cut.shuffled(len(found)).tolist()]


def _parted(rows: list[tuple[Path, int]], config: Config) -> dict[str, list[tuple[Path, int]]]:
    held = max(1, round(config.test * len(rows)))
    return {"test": rows[:held], "train": rows[held:]}


def _split(rows: list[tuple[Path, int]], config: Config) -> Split:
    pixels = torch.stack([_pixels(path, config) for path, _ in rows])
    targets = torch.tensor([label for _, label in rows])
    return Split(pixels, targets, targets, {"class": targets})


def _pixels(path: Path, config: Config) -> Tensor:
    try:
        from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - an extra, imported where it is needed
    except ModuleNotFoundError as error:
        raise MissingExtraError("data images needs Pillow: pip install 'whatelse[images]'") from error
    try:
        with Image.open(path) as image:
            shown = image.convert(_MODES[config.color])
            scaled = shown.resize((config.size, config.size), Image.Resampling.BILINEAR)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise TaskError(f"data images: {path}: no image that can be read") from error
    values = torch.from_numpy(np.array(scaled, dtype=np.float32) / 255)
    return values[None] if values.dim() == 2 else values.permute(2, 0, 1).contiguous()
