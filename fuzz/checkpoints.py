"""Files of weights: those that training scripts save, changed by chance, and those crafted to mislead or to swell."""

from __future__ import annotations

import io
import os
import pickle
import random
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from _child import Case
from _mutate import raw
from safetensors.torch import save as to_bytes
from torch import nn

from whatelse.artifacts import checkpoint


def net() -> nn.Module:
    """Return the model that is filled."""
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


def saved() -> dict[str, bytes]:
    """Return what training scripts save of such a model, by the name of a file."""
    model = net()
    state = model.state_dict()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.rand(4, 6)).sum().backward()
    optimizer.step()
    around: dict[str, Any] = {
        "plain.pth": state,
        "half.pth": {n: t.half() if t.is_floating_point() else t for n, t in state.items()},
        "tutorial.pt": {"epoch": 3, "model_state_dict": state, "optimizer": optimizer.state_dict(), "loss": 0.5},
        "lightning.ckpt": {
            "pytorch-lightning_version": "2.5",
            "state_dict": {f"model.{n}": t for n, t in state.items()},
        },
        "ema.pth": {"model": state, "ema": {n: t + 1 for n, t in state.items()}, "args": ["--x"], "best": 0.9},
        "wrapped.bin": OrderedDict((f"module._orig_mod.{n}", t) for n, t in state.items()),
    }
    found = {}
    for name, what in around.items():
        held = io.BytesIO()
        torch.save(what, held)
        found[name] = held.getvalue()
    held = io.BytesIO()
    torch.save(state, held, _use_new_zipfile_serialization=False)
    return {**found, "old.pth": held.getvalue(), "plain.safetensors": to_bytes(dict(state))}


def mutated(count: int, rng: random.Random, place: Path) -> Iterator[Case]:
    """Yield files of weights, each changed at some places.

    Args:
        count: How many.
        rng: Source of the changes.
        place: Where they are written.
    """
    whole = saved()
    for number in range(count):
        name = rng.choice(list(whole))
        data = whole[name]
        inside = zipfile.is_zipfile(io.BytesIO(data)) and rng.random() < 0.6
        path = place / f"{number}-{name}"
        path.write_bytes(_inside(data, rng) if inside else raw(data, rng))
        yield Case(path.name, lambda path=path: checkpoint.fill(net(), str(path)))


def _inside(data: bytes, rng: random.Random) -> bytes:
    """Return an archive with one of its parts changed: what a damaged archive never shows the reader inside it."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w") as new:
        names = old.namelist()
        pickled = next(n for n in names if n.endswith("data.pkl"))
        chosen = pickled if rng.random() < 0.7 else rng.choice(names)
        for name in names:
            new.writestr(name, raw(old.read(name), rng) if name == chosen else old.read(name))
    return made.getvalue()


class _Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("ran",))


def crafted(place: Path) -> Iterator[Case]:
    """Yield files that hold, or are, something other than the weights of the model.

    Args:
        place: Where they are written.
    """
    state = net().state_dict()
    deep: Any = state
    for _ in range(100):
        deep = {"x": deep}
    wide: Any = {}
    for _ in range(30):
        wide = {"a": wide, "b": wide}
    kinds: dict[str, Any] = {
        "empty": {},
        "number": 7,
        "text": "weights",
        "list": [state],
        "tensor": torch.ones(3),
        "numbers": {"a": 1},
        "keys-of-numbers": {1: torch.ones(2), (2, 3): torch.ones(2)},
        "deep": deep,
        "wide": wide,
        "view-of-much": {**state, "0.weight": torch.zeros(1).expand(10**6, 10**6)},
        "none": {**state, "0.weight": None},
        "codes": {n: (t * 10).to(torch.int8) for n, t in state.items()},
        "complex": {n: t.to(torch.complex64) for n, t in state.items()},
        "sparse": {n: t.to_sparse() if t.dim() == 2 else t for n, t in state.items()},
        "meta": {n: t.to("meta") for n, t in state.items()},
        "names-that-collide": {**state, **{f"module.{n}": t + 1 for n, t in state.items()}},
        "two": {"a": state, "b": {n: t + 1 for n, t in state.items()}},
        "program": _Runs(),
        "module": net(),
    }
    files = {}
    for name, what in kinds.items():
        held = io.BytesIO()
        torch.save(what, held)
        files[f"{name}.pth"] = held.getvalue()
    files["pickle.pkl"] = pickle.dumps(_Runs())
    files["nothing.pth"] = b""
    files["nothing.safetensors"] = b""
    files["text.pth"] = b"not a checkpoint\n" * 100
    files["head.safetensors"] = (10**18).to_bytes(8, "little") + b"{}"
    files["zeros.pth"] = _zeros(files["tensor.pth"])
    for name, data in files.items():
        (place / name).write_bytes(data)
        yield Case(name, lambda name=name: checkpoint.fill(net(), str(place / name)))
    os.mkfifo(place / "pipe.pth")
    os.mkfifo(place / "pipe.safetensors")
    (place / "folder.pth").mkdir()
    (place / "device.pth").symlink_to("/dev/zero")
    for name in ("pipe.pth", "pipe.safetensors", "folder.pth", "device.pth", "absent.pth", "a\0b.pth", "x" * 5000):
        yield Case(name[:40], lambda name=name: checkpoint.fill(net(), str(place / name)))


def _zeros(data: bytes) -> bytes:
    """Return an archive with 16 GiB of zeros packed into it, which no reader needs to unpack to know."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        with new.open("archive/data/9", "w") as part:
            for _ in range(256):
                part.write(bytes(2**20))
    # The size that the list of contents declares is what counts: 256 MiB are written, 16 GiB are said.
    return made.getvalue().replace((256 * 2**20).to_bytes(4, "little"), (2**32 - 2).to_bytes(4, "little"))
