"""A Ray cluster: the jobs of a study run wherever Ray has a free core. Needs a results folder that all nodes share."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

import torch

from whatelse.engines.engine import Engine
from whatelse.errors import MissingExtraError

T = TypeVar("T")


def engine(workers: int) -> Engine:
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
    slots = int(ray.cluster_resources().get("CPU", 1))
    return Engine(_Cluster(ray), slots, ray.shutdown)


class _Cluster(Executor):
    def __init__(self, ray: Any) -> None:  # noqa: ANN401 - the module
        self._ray = ray
        self._call = ray.remote(num_cpus=1)(_one_thread)

    def submit(self, call: Callable[..., T], /, *args: Any, **_: Any) -> Future[T]:  # noqa: ANN401 - as in Executor
        future: Future[T] = self._call.remote(call, *args).future()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        del wait, cancel_futures
        self._ray.shutdown()


def _one_thread(call: Callable[..., T], *args: Any) -> T:  # noqa: ANN401 - any job
    torch.set_num_threads(1)
    return call(*args)
