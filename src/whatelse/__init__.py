"""Compress a PyTorch model and measure what else changed.

The public names are imported on first use, so that ``import whatelse`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from whatelse.artifact import load, save
    from whatelse.compression import compress
    from whatelse.doors import load_task
    from whatelse.errors import WhatElseError
    from whatelse.evidence import Evidence
    from whatelse.study.audit import audit
    from whatelse.study.conduct import conduct
    from whatelse.study.spec import read as read_study
    from whatelse.subject import Subject
    from whatelse.task import Split, Task

__version__ = "0.1.0"
__all__ = [
    "Evidence",
    "Split",
    "Subject",
    "Task",
    "WhatElseError",
    "audit",
    "compress",
    "conduct",
    "load",
    "load_task",
    "read_study",
    "save",
]

# Public name: module and name there.
_HOMES = {
    "Evidence": ("evidence", "Evidence"),
    "Split": ("task", "Split"),
    "Subject": ("subject", "Subject"),
    "Task": ("task", "Task"),
    "WhatElseError": ("errors", "WhatElseError"),
    "audit": ("study.audit", "audit"),
    "compress": ("compression", "compress"),
    "load": ("artifact", "load"),
    "load_task": ("doors", "load_task"),
    "conduct": ("study.conduct", "conduct"),
    "read_study": ("study.spec", "read"),
    "save": ("artifact", "save"),
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'whatelse' has no attribute {name!r}")
    module, there = _HOMES[name]
    return getattr(import_module(f"whatelse.{module}"), there)
