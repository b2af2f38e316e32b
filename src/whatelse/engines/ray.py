"""A Ray cluster: jobs run wherever Ray has what they need. Needs a results folder that all nodes share."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import torch

from whatelse.engines import Resources
from whatelse.errors import MissingExtraError, StudyError

T = TypeVar("T")


def start(workers: int) -> Cluster:
    """Return an engine over the Ray cluster that ``RAY_ADDRESS`` names, or over this machine.

    Args:
        workers: Cores that Ray may use where it starts on this machine; 0 for all.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    try:
        import ray  # noqa: PLC0415 - an extra, imported where it is needed
    except ModuleNotFoundError as error:
        raise MissingExtraError("--on ray needs Ray: pip install 'whatelse[ray]'") from error
    if not ray.is_initialized():
        ray.init(num_cpus=workers or None, include_dashboard=False, log_to_driver=False, logging_level="error")
    return Cluster(ray)


class Cluster:
    """Everything that a Ray cluster has.

    Attributes:
        slots: Its cores.
    """

    def __init__(self, ray: Any) -> None:  # noqa: ANN401 - the module
        self._ray = ray
        self._has: dict[str, float] = ray.cluster_resources()
        self.slots = int(self._has.get("CPU", 1))

    def submit(self, call: Callable[..., T], /, *args: Any, needs: Resources) -> Future[T]:  # noqa: ANN401 - any call
        """Run a function on a node that has what it needs, as soon as that is free.

        Args:
            call: A function that can be imported by its name.
            args: What it is called with.
            needs: What it needs while it runs.

        Raises:
            StudyError: No node can ever have as much, so that it would wait for ever.
        """
        for name, asked in (("CPU", needs.cpus), ("GPU", needs.gpus), ("memory", needs.memory)):
            if asked > self._has.get(name, 0):
                raise StudyError(f"a job needs {asked:g} {name}; the Ray cluster has {self._has.get(name, 0):g}")
        task = self._ray.remote(num_cpus=needs.cpus, num_gpus=needs.gpus, memory=needs.memory or None)(_one_thread)
        future: Future[T] = task.remote(call, *args).future()
        return future

    def close(self) -> None:
        """Let the cluster go; nothing runs any more."""
        self._ray.shutdown()

    def stop(self) -> None:
        """Let the cluster go, which ends what runs."""
        self._ray.shutdown()


def _one_thread(call: Callable[..., T], *args: Any) -> T:  # noqa: ANN401 - any job
    torch.set_num_threads(1)
    return call(*args)
