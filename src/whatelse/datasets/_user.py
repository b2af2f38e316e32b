"""Functions in Python of the user's own, which is run because it was named."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from whatelse.errors import TaskError, in_short


def called(text: str, where: str) -> object:
    """Return what a function returns.

    Args:
        text: ``file.py:function`` or ``package.module:function``.
        where: How messages call the data.

    Raises:
        TaskError: There is no such function, or it raises something.
    """
    place, _, name = text.rpartition(":")
    try:
        with _beside(place):
            found = getattr(_module(place, where), name, None)
            if not callable(found):
                raise TaskError(f"data {where}: no function {name!r} in {place}")
            return found()
    except TaskError:
        raise
    except Exception as error:  # whatever the user's own code raises
        raise TaskError(f"data {where}: {type(error).__name__}: {in_short(error)}") from error


@contextmanager
def _beside(place: str) -> Generator[None, None, None]:
    """Let the user's Python import what stands beside it, as it does when run: a file's folder, or the current one."""
    folder = str(Path(place).resolve().parent if place.endswith(".py") else Path.cwd())
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(folder)


def _module(place: str, where: str) -> ModuleType:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    path = Path(place)
    if not path.is_file():
        raise TaskError(f"data {where}: no such file {place}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses in the file look their module up
    spec.loader.exec_module(module)
    return module
