"""The contract of engines."""

from __future__ import annotations

import inspect
import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import Any

from whatelse.engines import Engine, Resources
from whatelse.errors import MissingExtraError, StudyError
from whatelse.testing.contract import Case

_PATIENCE = 60.0  # seconds after which a job is taken for lost, and a process for one that stays
_ONE = Resources()
_TOO_MUCH = (Resources(cpus=1e6), Resources(gpus=1e6), Resources(memory=2**62))


def its_parts_are_in_order(case: Case) -> None:
    """Demand ``start(workers)``, and a docstring with a first sentence, which listings print.

    Args:
        case: The engine.
    """
    start = getattr(case.module, "start", None)
    case.demand(callable(start), "it has no start(workers)")
    takes = tuple(inspect.signature(case.module.start).parameters)
    case.demand(takes == ("workers",), f"start takes {takes}; it must take ('workers',)")
    case.demand((start.__doc__ or "").strip(), "start has no docstring")
    first = (case.module.__doc__ or "").strip().partition("\n\n")[0]
    case.demand(first.endswith("."), "its docstring begins with no sentence, which listings print")


def it_gives_back_what_jobs_return_and_raise(case: Case) -> None:
    """Demand a future of every job, with its result or its exception, of more jobs than run at once.

    Args:
        case: The engine.
    """
    with _started(case) as engine:
        whole = isinstance(engine.slots, int) and not isinstance(engine.slots, bool) and engine.slots >= 1
        case.demand(whole, f"slots is {engine.slots!r}; a whole number of jobs at once, 1 or more, is needed")
        jobs = [_handed(case, engine, abs, -at) for at in range(2 * min(engine.slots, 4) + 1)]
        broken = _handed(case, engine, int, "no number")
        after = _handed(case, engine, max, 3, 4)
        found = [_told(case, job) for job in jobs]
        case.demand(found == list(range(len(jobs))), f"abs of 0, -1, -2 and so on came back as {found}")
        _told(case, broken, raises=True)
        raised = broken.exception()
        case.demand(isinstance(raised, ValueError), f"int('no number') came back with {raised!r}; ValueError is needed")
        case.demand(_told(case, after) == 4, "after a job that raised, the next one did not come back")  # noqa: PLR2004


def it_refuses_what_nothing_here_has(case: Case) -> None:
    """Demand one line of refusal for a job that needs more cores, accelerators or memory than there are.

    Args:
        case: The engine.
    """
    with _started(case) as engine:
        for needs in _TOO_MUCH:
            try:
                engine.submit(abs, -1, needs=needs)
            except StudyError as error:
                case.demand("\n" not in str(error), "its refusal has more than one line")
            except Exception as error:  # noqa: BLE001 - whatever it raises
                case.fail(f"a job with {needs} raised {type(error).__name__}: {error}; a StudyError is needed")
            else:
                case.fail(f"it took a job with {needs}, which no machine here has; refuse it with a StudyError")


def it_ends_with_close(case: Case) -> None:
    """Demand that what was handed over before ``close`` is done after it, and that no process of the engine is left.

    Args:
        case: The engine.
    """
    with _started(case) as engine:
        node, process = _place(case, engine)
        last = _handed(case, engine, abs, -5)
        wait([last], _PATIENCE)
        engine.close()
        case.demand(last.done() and last.result() == 5, "a job handed over before close was not done")  # noqa: PLR2004
        _demand_gone(case, node, process, "close")


def it_ends_at_once_with_stop(case: Case) -> None:
    """Demand that ``stop`` ends a job in its middle, and that no process of the engine is left.

    Args:
        case: The engine.
    """
    with _started(case) as engine:
        node, process = _place(case, engine)
        if process == os.getpid():
            engine.stop()  # a job of this very process has ended when its future is there
            return
        long = _handed(case, engine, time.sleep, 100 * _PATIENCE)
        time.sleep(0.2)  # until it runs
        engine.stop()
        _demand_gone(case, node, process, "stop")
        case.demand(not long.done() or long.cancelled() or long.exception(), "a job that was stopped has a result")


CHECKS = (
    its_parts_are_in_order,
    it_gives_back_what_jobs_return_and_raise,
    it_refuses_what_nothing_here_has,
    it_ends_with_close,
    it_ends_at_once_with_stop,
)


@contextmanager
def _started(case: Case) -> Generator[Engine, None, None]:
    before = set(multiprocessing.active_children())
    try:
        engine: Engine = case.module.start(1)
    except MissingExtraError as error:
        case.skip(str(error))
    try:
        yield engine
    finally:
        engine.stop()
        for child in set(multiprocessing.active_children()) - before:
            child.kill()


def _handed(case: Case, engine: Engine, call: Callable[..., Any], *args: object) -> Future[Any]:
    future = engine.submit(call, *args, needs=_ONE)
    kind = type(future).__name__
    case.demand(isinstance(future, Future), f"submit returned {kind}; a concurrent.futures.Future is needed")
    return future


def _told(case: Case, job: Future[Any], *, raises: bool = False) -> Any:  # noqa: ANN401 - of any job
    done, _ = wait([job], _PATIENCE)
    case.demand(done, f"a job of no time was not done after {_PATIENCE:g} seconds")
    error = job.exception()
    case.demand(raises or error is None, f"a job that raises nothing came back with {error!r}")
    return None if error else job.result()


def _place(case: Case, engine: Engine) -> tuple[str, int]:
    """Return on which machine a job runs, and in which process."""
    node, process = (_told(case, _handed(case, engine, call)) for call in (platform.node, os.getpid))
    return node, process


def _demand_gone(case: Case, node: str, process: int, how: str) -> None:
    if os.name != "posix" or node != platform.node() or process == os.getpid():
        return
    late = time.monotonic() + _PATIENCE
    while _lives(process) and time.monotonic() < late:
        time.sleep(0.05)
        multiprocessing.active_children()  # which lets go those that have ended
    case.demand(not _lives(process), f"after {how} a process in which jobs ran is left")


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
