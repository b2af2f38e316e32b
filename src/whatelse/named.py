"""What a user names in Python of his own, ``file.py:name`` or ``package.module:name``: it is run, as he named it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from whatelse.errors import WhatElseError, nearest


@contextmanager
def found(text: str, where: str, error: type[WhatElseError]) -> Generator[object]:
    """Find what a text names; meanwhile what stands beside it can be imported, as it can where it is run.

    Args:
        text: ``file.py:name`` or ``package.module:name``.
        where: How messages call it.
        error: What is raised, a line, where there is no such file or name, or the process would end.

    Yields:
        What stands under the name.

    Raises:
        WhatElseError: As ``error`` says.
    """
    place, _, name = text.rpartition(":")
    folder = str(Path(place).resolve().parent if place.endswith(".py") else Path.cwd())
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        module = _module(place, where, error)
        stands = getattr(module, name, None)
        if stands is None and name not in vars(module):
            known = [other for other, one in vars(module).items() if callable(one) and not other.startswith("_")]
            raise error(f"{where}: no {name!r} in {place}; {nearest(name, known)}")
        yield stands
    except SystemExit as ended:
        told = f'ends the process (exit {ended.code}); what a script runs belongs below if __name__ == "__main__"'
        raise error(f"{where}: {told}") from ended
    finally:
        sys.path.remove(folder)


def _module(place: str, where: str, error: type[WhatElseError]) -> ModuleType:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    path = Path(place)
    if not path.is_file():
        raise error(f"{where}: no such file {place}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses in the file look their module up
    spec.loader.exec_module(module)
    return module
