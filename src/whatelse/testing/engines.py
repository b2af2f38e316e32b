"""The contract of engines."""

from __future__ import annotations

import inspect
import multiprocessing
import os
import platform
import signal
import tempfile
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path
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


def it_leaves_no_process_after_close(case: Case) -> None:
    """Demand that ``close`` ends the processes in which jobs ran.

    Args:
        case: The engine.
    """
    with _started(case) as engine:
        node, process = (_told(case, _handed(case, engine, call)) for call in (platform.node, os.getpid))
        engine.close()
        if node == platform.node():
            _demand_gone(case, process, "close")


def it_ends_at_once_with_stop(case: Case) -> None:
    """Demand that ``stop`` ends a job in its middle, with the process in which it runs.

    Args:
        case: The engine.
    """
    with _started(case) as engine, tempfile.TemporaryDirectory() as folder:
        if _told(case, _handed(case, engine, os.getpid)) == os.getpid():
            engine.stop()  # a job of this very process has ended when its future is there
            return
        note = Path(folder, "note")
        long = _handed(case, engine, _linger, str(note))
        case.demand(_until(lambda: note.is_file() or long.done()), "a job did not begin")
        case.demand(not long.done(), f"a job that waits came back before its time, with {_end(long)}")
        process = int(note.read_text("utf-8"))
        engine.stop()
        _demand_gone(case, process, "stop")
        case.demand(_end(long) != "a result", "a job that was stopped in its middle has a result")


CHECKS = (
    its_parts_are_in_order,
    it_gives_back_what_jobs_return_and_raise,
    it_refuses_what_nothing_here_has,
    it_leaves_no_process_after_close,
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
            child.join(_PATIENCE)


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


def _end(job: Future[Any]) -> str:
    if not job.done() or job.cancelled():
        return "nothing"
    return repr(job.exception()) if job.exception() else "a result"


def _linger(note: str) -> None:
    """Say in a file which process this is, once it is whole, and wait."""
    Path(f"{note} begun").write_text(str(os.getpid()), "utf-8")
    Path(f"{note} begun").rename(note)
    time.sleep(100 * _PATIENCE)


def _demand_gone(case: Case, process: int, how: str) -> None:
    if os.name != "posix" or process == os.getpid() or _until(lambda: not _lives(process)):
        return
    os.kill(process, signal.SIGKILL)
    case.fail(f"after {how} a process in which a job ran is left")


def _until(holds: Callable[[], bool]) -> bool:
    late = time.monotonic() + _PATIENCE
    while not holds() and time.monotonic() < late:
        time.sleep(0.02)
        multiprocessing.active_children()  # which lets go those that have ended
    return holds()


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
