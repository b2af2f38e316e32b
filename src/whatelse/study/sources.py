"""What decides a module's answers besides its tensors: code that it runs, plain values that it holds, programs in it.

A key made of tensors alone would find the results of another model again: two functions of one file that fill the same
class with the same weights and tell it other settings, or a helper beside the class that was changed since.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import re
import site
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import nn

_HERE = Path(__file__).resolve().parents[1]
_TWICE = re.compile(rb"\.?___torch_mangle_\d+")
_NOWHERE = "built in"
_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_ASIDE = frozenset({"training"})  # the mode, which whoever asks sets


def code_of(model: nn.Module, text: str) -> str:
    """Return the SHA-256 of what a module does, as far as it can be read.

    Of Python of the user's own every file counts that its classes, their bases, or the function that made it reach by
    the names that they know; of installed packages the classes alone.

    Args:
        model: Any module.
        text: What opened it, such as ``net.py:make``.
    """
    digest = hashlib.sha256(text.rpartition(":")[2].encode())
    files: set[str] = set()
    for name, part in model.named_modules():
        digest.update(f"{name} {_held(part)}".encode())
        for buffer, held in part.named_buffers(recurse=False):
            if buffer in part._non_persistent_buffers_set and held.layout is torch.strided:  # noqa: SLF001 - no other way
                raw = held.detach().cpu().flatten().contiguous().view(torch.uint8).numpy()
                digest.update(f"{buffer} {held.dtype}".encode() + raw.tobytes())
        if isinstance(part, torch.jit.ScriptModule):
            for one in _program(part) if not name else ():
                digest.update(one)
            continue
        _gather([type(part), vars(part)], files)
    files |= _beside(text)
    for one in sorted(_digest(path) for path in files):
        digest.update(one)
    for source in sorted(set(_installed(model))):
        digest.update(source.encode())
    return digest.hexdigest()[:16]


def _program(part: torch.jit.ScriptModule) -> Iterator[bytes]:
    """Yield the code and the constants of a program; names that tell apart what one process loaded twice left out."""
    with zipfile.ZipFile(io.BytesIO(part.save_to_buffer())) as parts:
        for one in sorted(parts.namelist()):
            if one.endswith(".py") or "/constants/" in one or "/data/" in one:
                yield _TWICE.sub(b"", parts.read(one))


def _held(part: nn.Module) -> str:
    """Return the plain values that a module holds under names that are not its own business."""
    named = {n: v for n, v in vars(part).items() if not n.startswith("_") and n not in _ASIDE and _is_plain(v)}
    # Digits that another number of threads may move, of what a forward wrote down, are left out.
    return repr(sorted((n, f"{v:.6g}" if isinstance(v, float) else v) for n, v in named.items()))


def _is_plain(value: object) -> bool:
    return all(map(_is_plain, value)) if isinstance(value, tuple | list) else isinstance(value, _PLAIN)


def _installed(model: nn.Module) -> Iterator[str]:
    for kind in {kind for part in model.modules() for kind in type(part).__mro__}:
        if not kind.__module__.startswith(("torch.", "builtins")):
            with suppress(OSError, TypeError):  # one made where no file is
                if not _is_own(inspect.getfile(kind)):
                    yield inspect.getsource(kind)


def _beside(text: str) -> set[str]:
    """Return the files that the Python which a text names reaches."""
    place = text.rpartition(":")[0]
    files: set[str] = set()
    if place.endswith(".py"):
        files.add(str(Path(place).resolve()))
        place = Path(place).stem
    _gather(sys.modules.get(place), files)
    return files


def _gather(start: Any, files: set[str]) -> None:  # noqa: ANN401 - whatever stands in Python
    """Add the files of the user's own that something reaches: by what its functions know, and its modules hold."""
    waiting, seen = [start], dict[int, Any]()  # held, so that no other object comes to have its number
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen[id(one)] = one
        path, further = _looked(one)
        if path and _is_own(path):
            files.add(str(Path(path).resolve()))
        if not path or _is_own(path):
            waiting += further


def _looked(one: Any) -> tuple[str, list[Any]]:  # noqa: ANN401 - as above
    """Return the file that something stands in, empty where it has none, and what can be reached from there."""
    if isinstance(one, MethodType | FunctionType):
        function = inspect.unwrap(one.__func__ if isinstance(one, MethodType) else one)
        if not isinstance(function, FunctionType):
            return "", [function]
        return function.__code__.co_filename, [function.__globals__]
    if isinstance(one, dict | list | tuple):  # a registry of functions, or the names that a module knows
        return "", [held for held in (one.values() if isinstance(one, dict) else one) if not _is_plain(held)]
    if isinstance(one, ModuleType):
        return getattr(one, "__file__", None) or _NOWHERE, [vars(one)]
    if isinstance(one, type):
        with suppress(OSError, TypeError):
            return inspect.getfile(one), [*one.__mro__[1:], *vars(one).values()]
        return _NOWHERE, []
    return "", [] if isinstance(one, _PLAIN) else [type(one)]


@cache
def _is_own(path: str) -> bool:
    """Return whether a file is the user's own: of no installed package, and none of this one."""
    found = Path(path).resolve()
    return found.suffix == ".py" and found.is_file() and not any(found.is_relative_to(place) for place in _places())


@cache
def _places() -> tuple[Path, ...]:
    known = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return (_HERE, *(Path(place).resolve() for place in [*known, *site.getsitepackages()]))


def _digest(path: str) -> bytes:
    with suppress(OSError):
        return hashlib.sha256(Path(path).read_bytes()).digest()
    return b""
