"""How much memory and time opening a file may take, and what may be opened as a file at all.

A file of a few bytes can describe work without bound: a layer of a million by a million weights, zeros packed a
thousandfold, a code of a thousand million. What a file asks for is therefore summed before any of it is made, and held
against what the file itself holds and a limit that its reader can raise.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import stat
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from whatelse.errors import SettingError, WhatElseError

MEMORY, SECONDS = 2 * 2**30, 10.0
GROWTH = 16  # A byte on disk may become so many in memory: codes of 2 bits are computed with as 32.
SLOWEST = 10 * 2**20  # Bytes a second that any disk reads: large files may take longer.
# What reaches the workers of a study too.
VARIABLE, TIME = "WHATELSE_MAX_MEMORY", "WHATELSE_MAX_SECONDS"
RAISE = "--max-memory, or max_memory= in Python, raises the limit"
_KEPT, _TRIM, _MAP = 2**30, -1, -3  # bytes, and what glibc calls the settings of when memory goes back
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def keep_memory() -> None:
    """Keep memory that is let go for the next batch, in a process that is ours: as workers do; only glibc knows how."""
    try:
        settle = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # Windows, or another library of C's
        return
    settle(_MAP, _KEPT)
    settle(_TRIM, _KEPT)


@dataclass(frozen=True)
class Limit:
    """What opening files may take; None for the default, which grows with what the files hold.

    Attributes:
        memory: Bytes.
        seconds: Of the first answer of a model that was opened.
    """

    memory: int | None = None
    seconds: float | None = None

    def environment(self) -> dict[str, str]:
        """Return the variables that make it hold in another process."""
        given = {VARIABLE: self.memory, TIME: self.seconds}
        return {name: f"{value}" for name, value in given.items() if value is not None}

    def room(self, held: int) -> int:
        """Return how many bytes may be made.

        Args:
            held: Bytes that the files have on disk.
        """
        return max(MEMORY, GROWTH * held) if self.memory is None else self.memory

    def time(self, held: int) -> float:
        """Return how many seconds it may take.

        Args:
            held: Bytes that the files have on disk.
        """
        return SECONDS + held / SLOWEST if self.seconds is None else self.seconds


_CURRENT: ContextVar[Limit | None] = ContextVar("limit", default=None)


def current() -> Limit:
    """Return the limit that holds here: of `within`, else of the environment, else the default.

    Raises:
        SettingError: The environment holds no size or time.
    """
    found = _CURRENT.get()
    if found is not None:
        return found
    memory, time = (os.environ.get(name, "") for name in (VARIABLE, TIME))
    return Limit(amount(memory, VARIABLE) if memory else None, duration(time, TIME) if time else None)


@contextmanager
def within(memory: int | str | None = None, seconds: float | str | None = None) -> Generator[None, None, None]:
    """Let another limit hold inside; what is not given stays as it is.

    Args:
        memory: Bytes, or a text such as ``8G``; None or empty leaves it.
        seconds: Of a model's first answer; likewise.

    Raises:
        SettingError: It is no size or time.
    """
    before = current()
    room = before.memory if memory is None or memory == "" else amount(memory, "--max-memory")
    time = before.seconds if seconds is None or seconds == "" else duration(seconds, "seconds")
    token = _CURRENT.set(Limit(room, time))
    try:
        yield
    finally:
        _CURRENT.reset(token)


def amount(given: int | str, where: str) -> int:
    """Return a number of bytes.

    Args:
        given: Bytes, or a text such as ``500M`` or ``8GB``.
        where: Name of the setting, for the message.

    Raises:
        SettingError: It is no size above zero.
    """
    told = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?)\s*([KMGT]?)(?:i?B)?", str(given).strip(), re.IGNORECASE)
    size = int(float(told[1]) * _UNITS[told[2].upper()]) if told else 0
    if size < 1:
        raise SettingError(f"{where}={given!r}; a number of bytes is needed, such as 500M or 8G")
    return size


def duration(given: float | str, where: str) -> float:
    """Return a number of seconds.

    Args:
        given: Seconds, or a text of them.
        where: Name of the setting, for the message.

    Raises:
        SettingError: It is no time above zero.
    """
    told = re.fullmatch(r"\d{1,9}(?:\.\d{1,6})?", str(given).strip())
    seconds = float(told[0]) if told else 0.0
    if seconds <= 0:
        raise SettingError(f"{where}={given!r}; a number of seconds above 0 is needed")
    return seconds


def check(asked: int, held: int, what: str, raising: type[WhatElseError]) -> None:
    """Refuse what would take more memory than is allowed, before it is made.

    Args:
        asked: Bytes that it would take.
        held: Bytes that its files have on disk.
        what: The subject of the message.
        raising: The error that is raised.
    """
    room = current().room(held)
    if asked > room:
        raise raising(f"{what} would take {size(asked)} of memory; allowed are {size(room)}; {RAISE}")


def size(count: int) -> str:
    """Return a number of bytes for a reader.

    Args:
        count: Bytes.
    """
    for unit, name in ((2**80, ""), (2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}" if name else "more than any machine has"
    return f"{count} bytes"


def regular(path: str | os.PathLike[str]) -> int:
    """Return the bytes of a regular file; whatever else stands there would hang its reader, or never end.

    Args:
        path: Of a file; links are followed.

    Raises:
        OSError: There is none, or it is a folder, a pipe, a socket or a device; ``strerror`` says so in words.
    """
    try:
        found = Path(path).stat()
    except ValueError as error:  # a name that no system allows
        raise OSError(errno.EINVAL, "no name of a file", str(path)) from error
    if stat.S_ISREG(found.st_mode):
        return found.st_size
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    kind = kinds.get(stat.S_IFMT(found.st_mode), "device")
    raise OSError(errno.EINVAL, f"a {kind}, where a file is needed", str(path))


def text(path: str | os.PathLike[str]) -> str:
    """Return what a file of text holds.

    Args:
        path: UTF-8 text.

    Raises:
        OSError: It is no regular file, or larger than what may be read.
        UnicodeDecodeError: It is not UTF-8 text.
    """
    held, room = regular(path), current().room(0)
    if GROWTH * held > room:
        raise OSError(errno.EFBIG, f"too large, {size(held)} where {size(room // GROWTH)} are allowed; {RAISE}")
    return Path(path).read_text("utf-8")
