"""A Ray cluster: jobs run on whichever of its machines has what they need, and results go where all of them reach."""

from __future__ import annotations

import logging
import os
import platform
import re
import socket
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, TypeVar

import torch

import whatelse
from whatelse.engines import Resources
from whatelse.engines.processes import environment
from whatelse.errors import MissingExtraError, StudyError, WhatElseError, in_short

ELSEWHERE = True
T = TypeVar("T")
_PORT = re.compile(r":\d+$")
_LOCAL = "local"  # what Ray calls a cluster of its own on this machine
_BETWEEN = 2.0  # seconds between two looks at the cluster
# Seconds without an answer after which it is taken for gone. Ray itself ends the whole process after 60.
_PATIENCE = 20.0
_ENDING = 10.0  # seconds that taking leave may take
_KINDS = ("CPU", "GPU", "memory")


def start(workers: int) -> Cluster:
    """Return an engine over the Ray cluster that ``RAY_ADDRESS`` names, or over this machine.

    Args:
        workers: Jobs at once; 0 for as many as there are cores. On this machine, the cores that Ray may use.

    Raises:
        MissingExtraError: Ray is not installed.
        StudyError: No cluster answers at that address, or one of other releases.
    """
    ray = _ray()
    address = os.environ.get("RAY_ADDRESS") or _LOCAL
    if address.startswith("ray://"):
        raise StudyError(
            f"RAY_ADDRESS={address!r}: results cannot be followed through a Ray client; start the study on a machine "
            "of the cluster (RAY_ADDRESS=auto), or with ray job submit"
        )
    if not ray.is_initialized():
        if _PORT.search(address) and not _answers(address):  # Ray would try for minutes
            raise StudyError(f"RAY_ADDRESS={address!r}: nothing answers there; is the cluster up?")
        mine = {"num_cpus": workers or None, "include_dashboard": False} if address == _LOCAL else {}
        quiet = {} if mine else {"RAY_BACKEND_LOG_LEVEL": "fatal"}  # how far away machines fare is told by us
        try:
            with environment(quiet), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Ray's own, about its next release
                ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **mine)
        except Exception as error:  # of many kinds: nobody there, another release, a full disk
            raise StudyError(f"RAY_ADDRESS={address!r}: no Ray cluster to work on ({in_short(error)})") from error
    return Cluster(ray, workers)


def _ray() -> Any:  # noqa: ANN401 - the module
    """Return Ray, which reads once, as it is imported, that what its machines say is no output of ours.

    Raises:
        MissingExtraError: It is not installed.
    """
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    try:
        import ray  # noqa: PLC0415 - an extra, imported where it is needed
    except ModuleNotFoundError as error:
        raise MissingExtraError("--on ray needs Ray: pip install 'whatelse[ray]'") from error
    return ray


class Cluster:
    """Everything that a Ray cluster has, machines that come and go included.

    What ran on a machine that goes away runs again on another one; cells that it had finished are found there.

    Attributes:
        slots: Its cores, or fewer where fewer jobs at once are asked for.
    """

    def __init__(self, ray: Any, workers: int) -> None:  # noqa: ANN401 - the module
        self._ray, self._workers = ray, workers
        self._task = ray.remote(_run)
        self._address = str(ray.get_runtime_context().gcs_address)
        self._node = ray.get_runtime_context().get_node_id()
        self._waiting: set[Future[Any]] = set()
        self._machines: list[dict[str, float]] = []
        self._look()
        self._ended = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    @property
    def slots(self) -> int:
        """How many jobs run at once, on the machines that are there now."""
        cores = int(sum(has.get("CPU", 0) for has in self._machines))
        return max(1, min(cores, self._workers or cores))

    def submit(self, call: Callable[..., T], /, *args: Any, needs: Resources) -> Future[T]:  # noqa: ANN401 - any call
        """Run a function on a machine that has what it needs, as soon as that is free.

        Args:
            call: A function that can be imported by its name.
            args: What it is called with.
            needs: What it needs while it runs.

        Raises:
            StudyError: No machine has as much, so that it would wait for ever.
        """
        asked = dict(zip(_KINDS, (needs.cpus, needs.gpus, needs.memory), strict=True))
        if not any(all(has.get(kind, 0) >= least for kind, least in asked.items()) for has in self._machines):
            most = {kind: max((has.get(kind, 0) for has in self._machines), default=0) for kind in _KINDS}
            kind = next((kind for kind in _KINDS if asked[kind] > most[kind]), "CPU")
            raise StudyError(
                f"a job needs {', '.join(f'{n:g} {k}' for k, n in asked.items() if n)}; no machine of the Ray cluster "
                f"has it (at most {most[kind]:g} {kind})"
            )
        with_ = {"num_cpus": needs.cpus, "num_gpus": needs.gpus, "memory": needs.memory or None}
        future: Future[T] = Future()
        self._waiting.add(future)
        running = self._task.options(**with_).remote(whatelse.__version__, call, *args)
        running.future().add_done_callback(lambda done: self._take(done, future))
        return future

    def close(self) -> None:
        """Let the cluster go; nothing runs any more."""
        self._leave()

    def stop(self) -> None:
        """Let the cluster go, which ends what runs."""
        self._leave()

    def _leave(self) -> None:
        self._ended.set()
        # A cluster that is gone does not answer this either.
        leaving = threading.Thread(target=self._ray.shutdown, daemon=True)
        leaving.start()
        leaving.join(_ENDING)
        self._give_up("it was left")

    def _take(self, done: Future[T], future: Future[T]) -> None:
        self._waiting.discard(future)
        error = done.exception()
        with suppress(InvalidStateError):  # it was given up meanwhile
            if error is None:
                future.set_result(done.result())
            else:
                future.set_exception(self._told(error))

    def _told(self, error: BaseException) -> BaseException:
        """Return what a job raised, without what Ray wraps around it; its own errors in one line."""
        cause = getattr(error, "cause", None)  # of a job's own error, what it raised
        if isinstance(cause, WhatElseError):
            return cause
        if "No module named 'whatelse'" in str(error):
            version = whatelse.__version__
            return StudyError(f"machines of the Ray cluster lack whatelse: pip install whatelse=={version} on each")
        if isinstance(cause, Exception):
            return cause
        return RuntimeError(in_short(error))

    def _watch(self) -> None:
        """Look at the cluster now and then, and give up what runs there when it does not answer any more."""
        silent = 0.0
        while not self._ended.wait(_BETWEEN):
            silent = 0.0 if self._look() else silent + _BETWEEN
            if silent >= _PATIENCE:
                self._give_up("it does not answer any more; what is finished is kept: run the same command again")
                return

    def _look(self) -> bool:
        """Take down what machines there are, and return whether the cluster answers and has this one still."""
        if not _answers(self._address):
            return False
        try:
            alive = [node for node in self._ray.nodes() if node["Alive"]]
        except Exception:  # noqa: BLE001 - whatever it raises, it is no answer
            return False
        self._machines = [node["Resources"] for node in alive]
        return any(node["NodeID"] == self._node for node in alive)

    def _give_up(self, why: str) -> None:
        for future in list(self._waiting):
            with suppress(InvalidStateError):  # it has just ended
                future.set_exception(StudyError(f"the Ray cluster at {self._address}: {why}"))


def _answers(address: str) -> bool:
    """Say whether anybody listens at an address."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _BETWEEN).close()
    except (OSError, ValueError):
        return False
    return True


def _run(version: str, call: Callable[..., T], *args: Any) -> T:  # noqa: ANN401 - any job
    """Run a job where the same release is installed that planned it, in one thread.

    Raises:
        StudyError: Another release is.
        WhatElseError: What the job raises, and where.
    """
    if whatelse.__version__ != version:
        raise StudyError(
            f"{platform.node()} has whatelse {whatelse.__version__}, and the work was planned by {version}: install "
            "the same release on every machine of the Ray cluster"
        )
    torch.set_num_threads(1)
    try:
        return call(*args)
    except WhatElseError as error:  # such as data that are on other machines only
        raise type(error)(f"{error} (on {platform.node()}, a machine of the Ray cluster)") from error
