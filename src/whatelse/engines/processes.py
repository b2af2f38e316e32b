"""Worker processes on this machine, one thread each, as many as cores."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, TypeVar
from weakref import finalize

from whatelse.engines import Resources, check, memory

T = TypeVar("T")

# What a process reads once, as it starts. One thread in numpy's products, too: on a busy machine several wait for each
# other (an analysis of 3 s took 22 s of two cores). Memory that is let go is kept for the next batch: giving it back
# and asking for it anew took a sixth of an audit's time. What the user has set stands.
_SETTLED = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
}


def start(workers: int) -> Processes:
    """Return an engine of worker processes, which end with this one, however it ends.

    Args:
        workers: How many; 0 takes as many as this process may use cores.
    """
    return Processes(workers or cores())


def cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # only Linux says which cores this process may use
        return os.cpu_count() or 1


class Processes:
    """Worker processes; each job has one, and one core.

    Attributes:
        slots: How many.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        context = multiprocessing.get_context("spawn")
        # Nothing is ever sent. This process alone holds the end for writing, and when it is closed, by `stop` or
        # because the process was killed, every worker reads the end of the pipe.
        alive, end = context.Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(slots, mp_context=context, initializer=_settle, initargs=(alive,))
        self._end = finalize(self._executor, end.close)

    def submit(self, call: Callable[..., T], /, *args: Any, needs: Resources) -> Future[T]:  # noqa: ANN401 - any call
        """Run a function in the next free process.

        Args:
            call: A function that can be imported by its name; not one of the script that runs.
            args: What it is called with; nothing of that script either.
            needs: What it needs while it runs.

        Raises:
            StudyError: It needs more cores than one, more accelerators than there are, or more memory.
        """
        check(needs, Resources(1, _accelerators() if needs.gpus else 0, memory()), "--on processes")
        with environment(_SETTLED), _script_unnamed():  # the first calls start the processes
            return self._executor.submit(call, *args)

    def close(self) -> None:
        """Let what runs end, and end."""
        self._executor.shutdown()

    def stop(self) -> None:
        """End at once, in the middle of what runs."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._end()


@contextmanager
def environment(more: Mapping[str, str]) -> Generator[None]:
    """Set what is not set, for what is started meanwhile.

    Args:
        more: Variables of the environment.
    """
    mine = {name: value for name, value in more.items() if name not in os.environ}
    os.environ.update(mine)
    try:
        yield
    finally:
        for name in mine:
            del os.environ[name]


@contextmanager
def _script_unnamed() -> Generator[None]:
    """Hide which script runs from processes that are started meanwhile.

    They would run it anew, to have what it defines. Jobs need nothing of it, and a script that asks for an audit
    without looking at its ``__name__`` first would ask again in every worker.
    """
    main = sys.modules["__main__"]
    told: dict[str, Any] = {name: vars(main)[name] for name in ("__file__", "__spec__") if name in vars(main)}
    vars(main).update(dict.fromkeys(told))
    try:
        yield
    finally:
        vars(main).update(told)


def _accelerators() -> int:
    import torch  # noqa: PLC0415 - takes seconds, for those alone who have one

    return torch.accelerator.device_count()


def _settle(alive: Connection) -> None:
    # Ctrl-C reaches every process of the terminal; the parent alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()
    import torch  # noqa: PLC0415 - takes seconds, in which the parent may end

    # Two threads in one process can be twenty times slower than one when a neighbor is busy, and results
    # depend on their number. The process is ours: nothing else lives in it.
    torch.set_num_threads(1)


def _end_with(alive: Connection) -> None:
    alive.poll(None)
    os._exit(1)  # the work is for nobody, and a write that is cut leaves nothing that counts
