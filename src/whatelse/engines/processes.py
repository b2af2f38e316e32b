"""Worker processes on this machine, one thread each, as many as cores."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import weakref
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection

from whatelse.engines.engine import Engine


def engine(workers: int) -> Engine:
    """Return an engine of worker processes, which end with this one, however it ends.

    Args:
        workers: How many; 0 takes as many as this process may use cores.
    """
    count = workers or cores()
    context = multiprocessing.get_context("spawn")
    # Nothing is ever sent. This process alone holds the end for writing, and when it is closed, by `stop` or because
    # the process was killed, every worker reads the end of the pipe.
    alive, stop = context.Pipe(duplex=False)
    executor = ProcessPoolExecutor(count, mp_context=context, initializer=_settle, initargs=(alive,))
    return Engine(executor, count, weakref.finalize(executor, stop.close))


def cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # only Linux says which cores this process may use
        return os.cpu_count() or 1


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
