"""This process itself: one job after the other, for models that live in it and for looking into a job."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from whatelse.engines import Resources

T = TypeVar("T")


def start(workers: int) -> Inline:
    """Return an engine that runs every job when it is handed over.

    Args:
        workers: Not used: there is one.
    """
    del workers
    return Inline()


class Inline:
    """Runs a job when it is handed over.

    Attributes:
        slots: One.
    """

    slots = 1

    def submit(self, call: Callable[..., T], /, *args: Any, needs: Resources) -> Future[T]:  # noqa: ANN401 - any call
        """Run a function now.

        Args:
            call: Any function.
            args: What it is called with.
            needs: Not used: whatever this process has.
        """
        del needs
        future: Future[T] = Future()
        try:
            future.set_result(call(*args))
        except Exception as error:  # as a worker process does
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Nothing is left to end."""

    def stop(self) -> None:
        """Nothing runs."""
