"""PNG data URIs, read back with an independent reader."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from whatelse.report._pictures import AGAINST, FOR, gray, signed


def _read(uri: str) -> np.ndarray:
    kind, data = uri.split(",", 1)
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        image.load()
        return np.asarray(image)


def test_gray_is_black_to_white_and_clipped() -> None:
    assert _read(gray(((0.0, 0.5, 1.0), (2.0, -1.0, 0.25)))).tolist() == [[0, 128, 255], [255, 0, 64]]


def test_signed_maps_have_hue_for_sign_and_opacity_for_strength() -> None:
    pixels = _read(signed(((2.0, -1.0), (0.0, 0.5))))
    assert pixels[0, 0].tolist() == [*FOR, 255]
    assert pixels[0, 1].tolist() == [*AGAINST, 128]
    assert pixels[1, 0, 3] == 0
    assert pixels[1, 1].tolist() == [*FOR, 64]


def test_a_map_of_zeros_is_transparent() -> None:
    assert not _read(signed(((0.0, 0.0),)))[:, :, 3].any()
