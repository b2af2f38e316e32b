"""Compress a PyTorch model and measure what else changed.

The public names are imported on first use, so that ``import whatelse`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from whatelse.artifacts.compress import compress
    from whatelse.artifacts.folder import load, save
    from whatelse.errors import WhatElseError
    from whatelse.evidence.cache import Evidence
    from whatelse.models.subject import Subject
    from whatelse.opening import load_task
    from whatelse.registry import add as add_items
    from whatelse.searching.driver import search
    from whatelse.study.audit import audit
    from whatelse.study.run_study import run_study
    from whatelse.study.spec import read as read_study
    from whatelse.tasks.task import Split, Task

__version__ = "0.1.0"
__all__ = [
    "Evidence",
    "Split",
    "Subject",
    "Task",
    "WhatElseError",
    "add_items",
    "audit",
    "compress",
    "load",
    "load_task",
    "read_study",
    "run_study",
    "save",
    "search",
]

# Public name: module and name there.
_HOMES = {
    "Evidence": ("evidence.cache", "Evidence"),
    "Split": ("tasks.task", "Split"),
    "Subject": ("models.subject", "Subject"),
    "Task": ("tasks.task", "Task"),
    "WhatElseError": ("errors", "WhatElseError"),
    "add_items": ("registry", "add"),
    "audit": ("study.audit", "audit"),
    "compress": ("artifacts.compress", "compress"),
    "load": ("artifacts.folder", "load"),
    "load_task": ("opening", "load_task"),
    "run_study": ("study.run_study", "run_study"),
    "read_study": ("study.spec", "read"),
    "save": ("artifacts.folder", "save"),
    "search": ("searching.driver", "search"),
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'whatelse' has no attribute {name!r}")
    module, there = _HOMES[name]
    return getattr(import_module(f"whatelse.{module}"), there)
