"""Worker processes on this machine, one thread each, as many as cores."""

from __future__ import annotations

import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor

import torch

from whatelse.study.engines._engine import Engine


def engine(workers: int) -> Engine:
    """Return an engine of worker processes.

    Args:
        workers: How many; 0 takes as many as this process may use cores.
    """
    count = workers or cores()
    context = multiprocessing.get_context("spawn")
    return Engine(ProcessPoolExecutor(count, mp_context=context, initializer=_settle), count, _stop)


def cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # only Linux says which cores this process may use
        return os.cpu_count() or 1


def _settle() -> None:
    # Two threads in one process can be twenty times slower than one when a neighbor is busy, and results
    # depend on their number. The process is ours: nothing else lives in it.
    torch.set_num_threads(1)
    # Ctrl-C reaches every process of the terminal; the parent alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _stop() -> None:
    for child in multiprocessing.active_children():
        child.terminate()
