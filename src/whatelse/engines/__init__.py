"""Where jobs run: one file an engine, found by path, each told what a job needs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

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
