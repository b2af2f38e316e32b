"""Copies of files that lie far away, kept on this machine for every process that reads them again.

A copy goes by the place and the version of what it was made from, so that it never stands for another one. They are in
the folder ``WHATELSE_CACHE``, or else below the user's own folder of caches; empty keeps none.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MOST = 8 * 2**30  # bytes of all copies: those that were not read for longest go
_BETWEEN = 2**30  # bytes that a process writes before it looks at what all take


@dataclass
class _Written:
    """Bytes that this process wrote since it looked at what all copies take; at first it looks at once."""

    bytes: int = _BETWEEN


_written = _Written()


def folder() -> Path | None:
    """Return where copies are kept; None where nothing is kept."""
    told = os.environ.get("WHATELSE_CACHE")
    if told is not None:
        return Path(told) if told else None
    base = os.environ.get("XDG_CACHE_HOME")
    with suppress(RuntimeError):  # a user without a home
        return (Path(base) if base else Path.home() / ".cache") / "whatelse"
    return None


def read(place: str, version: str) -> bytes | None:
    """Return the copy of a file; None where there is none.

    Args:
        place: Where the file lies.
        version: What its version is called there.
    """
    path = _path(place, version)
    if path is None:
        return None
    try:
        raw = path.read_bytes()
        os.utime(path)  # read last
    except OSError:
        return None
    return raw


def write(place: str, version: str, raw: bytes) -> None:
    """Keep a copy of a file. Where that is not possible, none is kept: it will be read from where it lies.

    Args:
        place: Where the file lies.
        version: What its version is called there.
        raw: What it holds.
    """
    path = _path(place, version)
    if path is None:
        return
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # values of people's rows, for nobody else
        with part.open("xb") as file:
            file.write(raw)
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    _written.bytes += len(raw)
    if _written.bytes >= _BETWEEN:
        _written.bytes = 0
        _trim(path.parent, MOST)


def _path(place: str, version: str) -> Path | None:
    base = folder()
    return base / hashlib.sha256(f"{place}\n{version}".encode()).hexdigest() if base is not None and version else None


def _trim(base: Path, most: int) -> None:
    """Remove the copies that were not read for longest, until all take no more than some bytes."""
    found = []
    for path in base.iterdir():
        with suppress(OSError):  # another process may remove it at this moment
            held = path.stat()
            found.append((held.st_mtime, held.st_size, path))
    left = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if left <= most:
            return
        with suppress(OSError):
            path.unlink()
        left -= size
