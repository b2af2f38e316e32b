"""What makes a kept file believable: its kind and key, where it was made, and a checksum over every byte of it.

A file of tensors is safetensors, its envelope in the header; a record is the envelope alone, as JSON. The checksum
stands first in the envelope, and is taken with itself as zeros.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

import whatelse

FORMAT = 2
Pieces = tuple[bytes | memoryview, ...]
EARLIER = "no checksum, as in files of earlier releases"
_ZEROS = b"0" * 64
# Inside the header of safetensors the envelope is a text in a text, its quotes escaped.
_SUM = re.compile(rb'checksum\\?": \\?"([0-9a-f]{64})\\?"')
_FIRST = 200  # bytes of a record within which its checksum stands
_HEADER = 100_000_000  # bytes, the longest that safetensors allows


class DamagedError(Exception):
    """A kept file is not what was kept; the message is the reason."""


@dataclass(frozen=True)
class Origin:
    """With what, and on which kind of machine, a result was made: digits behind the point depend on all of it."""

    whatelse: str
    torch: str
    numpy: str
    machine: str


@cache
def here() -> Origin:
    """Return the origin of what this process makes."""
    kernels = torch.backends.cpu.get_cpu_capability()
    machine = f"{platform.system()} {platform.machine()}, {_processor()}, {kernels}"
    return Origin(whatelse.__version__, torch.__version__, np.__version__, machine)


def _processor() -> str:
    try:
        told = Path("/proc/cpuinfo").read_text("utf-8")  # only Linux has it, and there the module knows no name
    except (OSError, UnicodeDecodeError):
        return platform.processor()
    named = re.search(r"^model name\s*:\s*(.+)$", told, re.MULTILINE)
    return named[1].strip() if named else platform.processor()


def of_tensors(kind: str, key: str, held: Mapping[str, Tensor], record: Mapping[str, Any]) -> Pieces:
    """Return the file of some tensors and their record, in pieces.

    Args:
        kind: What sort of result it is.
        key: Its key.
        held: What to keep.
        record: JSON-ready data beside it.
    """
    whole, known = dict[str, Tensor](), set[int]()
    for name, tensor in held.items():  # of two tensors in one memory, such as a model beside itself, each is written
        place = tensor.untyped_storage().data_ptr()
        whole[name] = tensor.clone(memory_format=torch.contiguous_format) if place in known else tensor.contiguous()
        known.add(place)
    return _summed(save_tensors(whole, metadata={"whatelse": _envelope(kind, key, record)}), packed=True)


def of_record(kind: str, key: str, held: Mapping[str, Any]) -> Pieces:
    """Return the file of a record, in pieces.

    Args:
        kind: What sort of result it is.
        key: Its key.
        held: JSON-ready data.
    """
    return _summed(_envelope(kind, key, held).encode(), packed=False)


def check(raw: bytes, kind: str, key: str, *, packed: bool) -> Mapping[str, Any]:
    """Return the record of a file that is whole.

    Args:
        raw: The file.
        kind: What sort of result it should be.
        key: The key that it should have.
        packed: Whether it is a file of tensors.

    Raises:
        DamagedError: It is not whole, or another result.
    """
    place = _place(raw, packed=packed)
    if place is None:
        raise DamagedError(EARLIER if _earlier(raw, packed=packed) else "not a whole file")
    if _digest(raw, place) != raw[place : place + 64]:
        raise DamagedError("the checksum does not fit")
    try:
        told = _opened(_header(raw) if packed else raw, packed=packed)
        named, form = f"{told['kind']}/{told['key']}", told["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedError("no envelope") from error
    if form != FORMAT:
        raise DamagedError(f"format {form}, not {FORMAT}")
    if named != f"{kind}/{key}":
        raise DamagedError("another result under its name")
    return dict(told["record"])


def unpacked(raw: bytes) -> dict[str, Tensor]:
    """Return the tensors of a file that was checked.

    Args:
        raw: The file.

    Raises:
        DamagedError: It cannot be read.
    """
    try:
        return load_tensors(raw)
    except (SafetensorError, ValueError) as error:
        raise DamagedError(str(error)) from error


def origin(file: BinaryIO, *, packed: bool) -> Origin | None:
    """Return where a file was made, from its beginning alone; None where it does not say.

    Args:
        file: Open at its start.
        packed: Whether it is a file of tensors.
    """
    try:
        head = file.read(min(_HEADER, int.from_bytes(file.read(8), "little"))) if packed else file.read()
        return Origin(**_opened(head, packed=packed)["made"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _envelope(kind: str, key: str, held: Mapping[str, Any]) -> str:
    made = {"format": FORMAT, "kind": kind, "key": key, "made": asdict(here())}
    return json.dumps({"checksum": _ZEROS.decode(), **made, "record": dict(held)})


def _opened(head: bytes, *, packed: bool) -> Any:  # noqa: ANN401 - whatever JSON holds
    return json.loads(json.loads(head)["__metadata__"]["whatelse"] if packed else head)


def _header(raw: bytes) -> bytes:
    return raw[8 : 8 + int.from_bytes(raw[:8], "little")]


def _place(raw: bytes, *, packed: bool) -> int | None:
    """Return where the checksum stands; None where there is none."""
    end = 8 + int.from_bytes(raw[:8], "little") if packed else _FIRST
    found = _SUM.search(raw, 0, min(end, len(raw)))
    return found.start(1) if found else None


def _digest(raw: bytes, place: int) -> bytes:
    """Return the checksum of a file in hexadecimal digits, those of its own taken as zeros."""
    view = memoryview(raw)
    digest = hashlib.sha256(view[:place])
    digest.update(_ZEROS)
    digest.update(view[place + 64 :])
    return digest.hexdigest().encode()


def _summed(raw: bytes, *, packed: bool) -> Pieces:
    place, view = _place(raw, packed=packed), memoryview(raw)  # which copies nothing
    assert place is not None
    return view[:place], _digest(raw, place), view[place + 64 :]


def _earlier(raw: bytes, *, packed: bool) -> bool:
    """Say whether a file without a checksum is whole as far as can be told: one that an earlier release wrote."""
    try:
        return bool(load_tensors(raw) is not None and _opened(_header(raw), packed=True)) if packed else _record(raw)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _record(raw: bytes) -> bool:
    return isinstance(json.loads(raw), dict)
