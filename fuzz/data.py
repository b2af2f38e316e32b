"""Files of data: arrays and tables, changed by chance, and those crafted to swell or to mislead."""

from __future__ import annotations

import io
import json
import os
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _child import Case
from _mutate import raw, text
from safetensors.torch import save as to_bytes

from whatelse import opening

_TABLE = "age,sex,city,y\n" + "\n".join(f"{20 + i % 50},{'FM'[i % 2]},c{i % 5},{i % 3 % 2}" for i in range(120))


def whole(**changed: Any) -> dict[str, np.ndarray]:
    """Return arrays that make a task, some of them changed or added.

    Args:
        **changed: By name; None leaves an array out.
    """
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "x": rng.random((60, 4)).astype("float32"),
        "y": np.arange(60) % 2,
        "group_sex": np.arange(60) % 3,
        **changed,
    }
    return {name: array for name, array in arrays.items() if array is not None}


def archive(arrays: dict[str, np.ndarray]) -> bytes:
    """Return arrays as a packed .npz file.

    Args:
        arrays: By name.
    """
    held = io.BytesIO()
    np.savez_compressed(held, **arrays)
    return held.getvalue()


def opened(path: Path) -> object:
    """Open a file of data.

    Args:
        path: Of a known ending.
    """
    if path.suffix in {".csv", ".tsv"}:
        return opening.load_task(f'table(path="{path}", label="y", groups="sex,age")')
    return opening.load_task(str(path))


def mutated(count: int, rng: random.Random, place: Path) -> Iterator[Case]:
    """Yield files of data, each changed at some places.

    Args:
        count: How many.
        rng: Source of the changes.
        place: Where they are written.
    """
    tensors = {n: torch.as_tensor(a) for n, a in whole().items()}
    split = {f"{s}_{n}": t.clone() for s in ("train", "test") for n, t in tensors.items()}
    names = whole(group_sex=np.array(["F", "M", ""])[np.arange(60) % 3], group_age=np.linspace(0, 1, 60))
    files = {"a.npz": archive(whole()), "b.npz": archive(names), "c.safetensors": to_bytes(tensors)}
    files |= {"d.safetensors": to_bytes(split)}
    for number in range(count):
        name = rng.choice([*files, "t.csv"])
        path = place / f"{number}-{name}"
        if name == "t.csv":
            path.write_text(text(_TABLE, rng), "utf-8")
        elif name.endswith("npz") and rng.random() < 0.6:
            path.write_bytes(_inside(files[name], rng))
        else:
            path.write_bytes(raw(files[name], rng))
        yield Case(path.name, lambda path=path: opened(path))


def _inside(data: bytes, rng: random.Random) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w") as new:
        chosen = rng.choice(old.namelist())
        for name in old.namelist():
            inner = old.read(name)
            changed = raw(inner[:128], rng) + inner[128:] if rng.random() < 0.7 else raw(inner, rng)
            new.writestr(name, changed if name == chosen else inner)
    return made.getvalue()


def crafted(place: Path) -> Iterator[Case]:
    """Yield files that ask for much, or hold what is not expected.

    Args:
        place: Where they are written.
    """
    n = np.arange(60)
    groups: dict[str, Any] = {
        "code-of-a-thousand-million": np.where(n == 3, 10**9, n % 2),
        "code-beyond-any": np.where(n == 3, 2**64 - 1, 1).astype(np.uint64),
        "codes-below": n % 2 - 5,
        "years": 1990 + n % 7,
        "ids": n * 1000,
        "fractions": n / 7,
        "infinite": np.where(n == 3, np.inf, 0.5),
        "missing": np.full(60, np.nan),
        "names": np.array(["a", "b"])[n % 2],
        "bytes": np.array([b"a", b"\xff"])[n % 2],
        "objects": np.array([None] * 60),
        "dates": np.array(["2020-01-01"] * 60, dtype="M8[D]"),
        "complex": np.full(60, 1j),
        "too-few": n[:5] % 2,
        "two-columns": np.zeros((60, 2), int),
        "one-number": np.array(3),
        "nothing-each": np.zeros(60, dtype="U0"),
    }
    files = {f"group-{name}.npz": archive(whole(group_sex=array)) for name, array in groups.items()}
    labels: dict[str, Any] = {
        "far": np.where(n == 3, 10**9, n % 2),
        "beyond": np.where(n == 3, 2**63, 1).astype(np.uint64),
        "fractions": n / 7,
        "names": np.array(["a", "b"])[n % 2],
        "one-number": np.array(1),
        "below": n % 2 - 1,
    }
    files |= {f"labels-{name}.npz": archive(whole(y=array)) for name, array in labels.items()}
    inputs: dict[str, Any] = {
        "flat": np.ones(60),
        "one-number": np.array(1.0),
        "complex": np.ones((60, 2)) * 1j,
        "names": np.full((60, 2), "a"),
        "too-large": np.full((60, 2), 1e300),
        "none": np.ones((60, 0)),
        "no-rows": np.ones((0, 4)),
    }
    files |= {f"inputs-{name}.npz": archive(whole(x=array)) for name, array in inputs.items()}
    files["zeros.npz"] = _swollen(4 * 2**30)
    files["zeros-beyond.npz"] = _swollen(2**62)
    files["zeros-unread.npz"] = archive(whole(other=np.zeros(2**26, dtype=np.uint8)))
    files["shape-that-lies.npz"] = _lying()
    files["no-archive.npz"] = b"PK\x03\x04" + b"\0" * 100
    files["array.npz"] = _array(np.ones(3))
    files["empty.npz"] = b""
    files["empty.safetensors"] = b""
    files["head.safetensors"] = (2**40).to_bytes(8, "little") + b"{}"
    files["shape.safetensors"] = _tensors({"x": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4]}})
    rows = range(20_000)
    files["category-a-row.csv"] = ("age,sex,y\n" + "\n".join(f"{i % 9},n{i}x,{i % 2}" for i in rows)).encode()
    files["zero-byte.csv"] = b"age,sex,y\n1,\0,1\n" * 20
    files["long-number.csv"] = b"age,sex,y\n" + b"\n".join(b"%s,a,%d" % (b"9" * 5000, i % 2) for i in range(40))
    files["one-long-line.csv"] = b"age,sex,y\n" + b"a" * 200_000
    files["quote-without-end.csv"] = b'age,sex,y\n"1,2,3\n4,5,6\n' * 50
    for name, data in files.items():
        (place / name).write_bytes(data)
        yield Case(name, lambda name=name: opened(place / name))
    yield from _no_files(place)
    yield Case("images", lambda: _images(place / "images"))


def _no_files(place: Path) -> Iterator[Case]:
    for name in ("pipe.npz", "pipe.safetensors", "pipe.csv"):
        os.mkfifo(place / name)
    (place / "folder.npz").mkdir()
    (place / "device.csv").symlink_to("/dev/zero")
    for name in ("pipe.npz", "pipe.safetensors", "pipe.csv", "folder.npz", "device.csv", "absent.npz"):
        yield Case(name, lambda name=name: opened(place / name))


def _images(place: Path) -> object:
    from PIL import Image  # noqa: PLC0415 - an extra

    for name in "ab":
        (place / name).mkdir(parents=True)
        for number in range(40):  # a third of a gigabyte once they are large: into a file
            Image.new("L", (1, 1)).save(place / name / f"{number}.png")
        os.mkfifo(place / name / "pipe.png")
    return opening.load_task(f'images(path="{place}", size=1024)')


def _array(values: np.ndarray) -> bytes:
    held = io.BytesIO()
    np.lib.format.write_array(held, values)
    return held.getvalue()


def _swollen(size: int) -> bytes:
    """Return an archive of a few hundred bytes whose head and list of contents say that it holds zeros without end."""
    held, head = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (size // 64, 64)})
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as file:
        for name, array in whole(x=None).items():
            file.writestr(f"{name}.npy", _array(array))
        file.writestr("x.npy", head.getvalue() + bytes(1000))
        file.filelist[-1].file_size = size + len(head.getvalue())  # read from here when the list is written
    return held.getvalue()


def _lying() -> bytes:
    held, head = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|V0", "fortran_order": False, "shape": (10**12,)})
    with zipfile.ZipFile(held, "w") as file:
        for name, array in whole(group_sex=None).items():
            file.writestr(f"{name}.npy", _array(array))
        file.writestr("group_sex.npy", head.getvalue())
    return held.getvalue()


def _tensors(head: dict[str, Any]) -> bytes:
    said = json.dumps(head).encode()
    return len(said).to_bytes(8, "little") + said + b"\0" * 4
