"""What `whatelse.study.run` needs of any place where jobs run."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import NamedTuple


class Engine(NamedTuple):
    """An executor, how many jobs it runs at once, and how to end it in the middle of them."""

    executor: Executor
    slots: int
    stop: Callable[[], None]
