"""Tensors that are too large to be held in memory: they lie in a file without a name, which the system reads as needed.

Its pages are given up where memory is short, and nobody asks for them twice; the file is gone with the process. It lies
where ``TMPDIR`` says, else in ``/var/tmp``, which is on a disk where ``/tmp`` may be memory.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from whatelse import limits
from whatelse.errors import WhatElseError

LARGE = 2**28  # Bytes from which on a tensor lies in a file.
_SPARED = 0.1  # Share of a disk that is left to others.
_DISK = "/var/tmp"  # noqa: S108 - for files without a name
_NAME = "TMPDIR"


def is_large(count: int) -> bool:
    """Return whether so many bytes belong into a file.

    Args:
        count: Bytes.
    """
    return count >= LARGE


def place() -> str:
    """Return the folder of such files."""
    known = os.environ.get(_NAME) or _DISK
    return known if os.path.isdir(known) and os.access(known, os.W_OK) else tempfile.gettempdir()


def check(asked: int, what: str, raising: type[WhatElseError]) -> None:
    """Refuse what would fill the disk, before any of it is made.

    Args:
        asked: Bytes that it would take, over all tensors.
        what: The subject of the message.
        raising: The error that is raised.
    """
    here = place()
    free = _free(here)
    if asked > free:
        told = f"{limits.size(asked)} on the disk of {here}; {limits.size(free)} may be taken"
        raise raising(f"{what} would take {told}; {_NAME} names another folder, limit takes fewer")


def empty(shape: Sequence[int], dtype: torch.dtype, what: str, raising: type[WhatElseError]) -> Tensor:
    """Return a tensor whose numbers are yet to be written: in memory, or in a file where it is large.

    Args:
        shape: Its own.
        dtype: Of its numbers.
        what: The subject of the message.
        raising: The error that is raised where there is no room on the disk.
    """
    count = prod(shape) * dtype.itemsize
    if not is_large(count):
        return torch.empty(tuple(shape), dtype=dtype)
    check(count, what, raising)
    try:
        with tempfile.TemporaryFile(dir=place()) as file:
            _reserve(file.fileno(), count)
            room = mmap.mmap(file.fileno(), count)
    except OSError as error:
        told = f"{what}: no {limits.size(count)} could be had in {place()} ({error.strerror})"
        raise raising(f"{told}; {_NAME} names another folder, limit takes fewer") from error
    return torch.frombuffer(room, dtype=dtype).view(tuple(shape))


def _free(folder: str) -> int:
    try:
        found = os.statvfs(folder)
    except (AttributeError, OSError):  # Windows does not say it so
        return 2**63
    return max(0, int(found.f_bavail * found.f_frsize - _SPARED * found.f_blocks * found.f_frsize))


def _reserve(file: int, count: int) -> None:
    """Take room on the disk: a page that has none when it is written would end the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, count)
    else:
        os.ftruncate(file, count)
