"""Pictures as numbers: read by Pillow, scaled, each value in [0, 1]."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whatelse import limits
from whatelse.errors import MissingExtraError, TaskError

MODES = {"gray": "L", "rgb": "RGB"}  # as Pillow calls them, a letter a channel


def pixels(source: Path | bytes, where: str, color: str, size: int) -> Tensor:
    """Return a picture, ``(channels, height, width)`` in [0, 1].

    Args:
        source: A file, or what one holds.
        where: How messages call it.
        color: One of `MODES`.
        size: Height and width; 0 for its own.

    Raises:
        TaskError: It is no picture that can be read.
        MissingExtraError: Pillow is not installed.
    """
    try:
        from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - an extra, imported where it is needed
    except ModuleNotFoundError as error:
        raise MissingExtraError("data images needs Pillow: pip install 'whatelse[images]'") from error
    try:
        if not isinstance(source, bytes):  # a data set of a stranger may name a pipe, which never ends
            limits.regular(source)
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            return of(image, color, size)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        raise TaskError(f"data images: {where}: no image that can be read; mend it or leave it out") from error


def of(image: Any, color: str, size: int) -> Tensor:  # noqa: ANN401 - an image of Pillow
    """Return an open picture, ``(channels, height, width)`` in [0, 1].

    Args:
        image: Of Pillow.
        color: One of `MODES`.
        size: Height and width; 0 for its own.
    """
    shown = image.convert(MODES[color])
    scaled = shown.resize((size, size), 2) if size else shown  # 2 is BILINEAR, in every release
    values = torch.from_numpy(np.array(scaled, dtype=np.float32) / 255)
    return values[None] if values.dim() == 2 else values.permute(2, 0, 1).contiguous()  # noqa: PLR2004


def is_one(value: object) -> bool:
    """Say whether a value is a picture of Pillow, which is not imported for it.

    Args:
        value: Anything.
    """
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(value, pillow.Image)
