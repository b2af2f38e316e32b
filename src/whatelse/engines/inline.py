"""This process itself: one job after the other, for models that live in it and for looking into a job."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import torch

from whatelse.engines import Resources, check, memory
from whatelse.engines.processes import cores

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
            needs: What it needs while it runs.

        Raises:
            StudyError: This machine has not as much.
        """
        check(needs, Resources(cores(), torch.accelerator.device_count(), memory()), "--on inline")
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
