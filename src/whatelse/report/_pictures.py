"""Small images as PNG data URIs: what a model saw, and where two models looked."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

from whatelse.findings.exhibits import Grey

# Orange speaks for the class, blue against it: told apart under every common color vision deficiency.
FOR, AGAINST = (213, 94, 0), (0, 114, 178)


def gray(image: Grey) -> str:
    """Return an image in [0, 1] as the model sees it, black to white.

    Args:
        image: Shaped ``(height, width)``.
    """
    levels = np.clip(np.asarray(image, dtype=float), 0, 1)
    return _uri((levels[:, :, None] * 255).round().astype(np.uint8), color_type=0)


def signed(values: Grey) -> str:
    """Return a signed map: hue for the sign, opacity for the strength relative to the map's strongest pixel.

    Zero is transparent, so that the map stands on a light page as well as on a dark one.

    Args:
        values: Shaped ``(height, width)``.
    """
    field = np.asarray(values, dtype=float)
    strength = np.abs(field) / (np.abs(field).max() or 1.0)
    hue = np.where(field[:, :, None] >= 0, np.array(FOR), np.array(AGAINST))
    pixels = np.concatenate([hue, (strength[:, :, None] * 255).round()], axis=2)
    return _uri(pixels.astype(np.uint8), color_type=6)


def _uri(pixels: np.ndarray, color_type: int) -> str:
    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8, color_type, 0, 0, 0)
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)
    parts = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(lines, 9)), _chunk(b"IEND", b""))
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(parts)).decode("ascii")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
