"""Where jobs run: one file an engine, found by path, each told what a job needs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from whatelse.errors import StudyError

T = TypeVar("T")


@dataclass(frozen=True)
class Resources:
    """What a job needs while it runs.

    Attributes:
        cpus: Cores.
        gpus: Accelerators, or a share of one.
        memory: Bytes that it may take; 0 where that is not known.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    memory: int = 0


class Engine(Protocol):
    """A place where jobs run.

    Attributes:
        slots: How many jobs run at once.
    """

    @property
    def slots(self) -> int:
        """How many jobs run at once."""

    def submit(self, call: Callable[..., T], /, *args: Any, needs: Resources) -> Future[T]:  # noqa: ANN401 - any call
        """Run a function somewhere, as soon as what it needs is free.

        Args:
            call: A function that can be imported by its name.
            args: What it is called with; everything is sent.
            needs: What it needs while it runs.

        Raises:
            StudyError: No machine here has as much.
        """

    def close(self) -> None:
        """Let what runs end, and end."""

    def stop(self) -> None:
        """End at once, in the middle of what runs."""


def check(needs: Resources, has: Resources, where: str) -> None:
    """Refuse a job that would wait for ever, or run without what it needs.

    Args:
        needs: What it needs.
        has: The most that a job can have here.
        where: How a message calls the engine.

    Raises:
        StudyError: It needs more.
    """
    kinds = ("cores", needs.cpus, has.cpus), ("accelerators", needs.gpus, has.gpus), ("bytes", needs.memory, has.memory)
    for what, asked, there in kinds:
        if asked > there:
            raise StudyError(f"a job needs {asked:g} {what}; {where} has {there:g} for each job; use another engine")


def memory() -> int:
    """Return how many bytes of memory this machine has; where it does not say, more than any has."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return sys.maxsize


def free() -> int:
    """Return how many bytes of memory processes may still take here; all there is where the system does not say.

    In a container, its limit counts too.
    """
    told = {line.split(":")[0]: line.split()[1] for line in _lines("/proc/meminfo")}
    left = int(told["MemAvailable"]) * 1024 if "MemAvailable" in told else memory()
    limit, taken = (_lines(f"/sys/fs/cgroup/memory.{what}") for what in ("max", "current"))
    if limit and taken and limit[0].isdigit():
        left = min(left, max(0, int(limit[0]) - int(taken[0])))
    return left


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:  # only Linux has such files, and not everywhere all of them
        return []
