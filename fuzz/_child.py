"""One input opened in a process of its own, with what came of it, how long it took and how much memory."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from whatelse.errors import WhatElseError

SECONDS, MEMORY = 20.0, 3 * 2**30  # A little above what is allowed to open a file: 10 s of answering, 2 GiB.
_CAP = 12 * 2**30  # Keeps the machine alive whatever happens.


class Case(NamedTuple):
    """An input: what it is called, what opens it, and a line that makes it again."""

    name: str
    open: Callable[[], object]


class Outcome(NamedTuple):
    """What became of an input: clean, refused, traceback, slow or large."""

    kind: str
    seconds: float
    memory: int
    said: str


def tried(case: Case) -> Outcome:
    """Open an input in a forked process.

    Args:
        case: The input.
    """
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        os.close(receive)
        _run(case, send)
    os.close(send)
    ready, _, _ = select.select([receive], [], [], SECONDS + 5)
    told = os.read(receive, 2**16) if ready else b""
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(receive)
    if not told:
        return Outcome(
            "slow" if not ready else "traceback", SECONDS, 0, "no answer" if not ready else "the process died"
        )
    kind, seconds, memory, said = json.loads(told)
    if kind != "traceback":
        kind = "slow" if seconds > SECONDS else "large" if memory > MEMORY else kind
    return Outcome(kind, seconds, memory, said)


def _run(case: Case, send: int) -> None:
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # the peak begins anew
    before = _status("VmRSS")
    resource.setrlimit(resource.RLIMIT_DATA, (_status("VmData") + _CAP, resource.RLIM_INFINITY))
    started, kind, said = time.monotonic(), "clean", ""
    with open(os.devnull, "w", encoding="ascii") as nothing, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
            try:
                case.open()
            except WhatElseError as error:
                kind, said = "refused", str(error)
            except BaseException as error:  # noqa: BLE001 - whatever gets through is the finding
                place = traceback.extract_tb(error.__traceback__)[-1]
                kind, said = (
                    "traceback",
                    f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})",
                )
    seconds, memory = time.monotonic() - started, _status("VmHWM") - before
    os.write(send, json.dumps([kind, seconds, memory, said[:500]]).encode())
    os._exit(0)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
