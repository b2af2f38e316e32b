"""One file of arrays, .npz or .safetensors: what a user's own classifier was trained on.

Names: ``inputs`` (or ``x``), of shape ``(N, ...)``, and ``targets`` (or ``y``), whole numbers from 0, ``(N,)``; split
at random, the same for every seed, into the shares ``test`` and ``select`` and the rest, train. Or already split:
``train_inputs``, ``train_targets``, ``test_inputs``, ``test_targets`` (and ``select_...``; where they are absent, the
share ``select`` of test). In both cases ``shifted_inputs`` and ``shifted_targets`` may be given too: what the model
meets after its world has changed, the split ``shifted``. ``group_<name>`` (``train_group_<name>``, ...) are codes of
groups, -1 where the value is missing. Bytes (uint8) become numbers in [0, 1]; every other input is taken as it is.
Examples are shuffled, the same way for every seed. Nothing in the file is run: object arrays are refused.

Source:
    The NumPy format: NEP 1, 2007; safetensors: Hugging Face, 2022.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from whatelse.errors import TaskError
from whatelse.settings import param
from whatelse.task import SPLITS, Split, Task

VERSION = 1
_ORDER = 7  # one fixed seed for the split, so that it is the same everywhere
_FURTHER = ("shifted",)
_ALIASES = {"inputs": ("inputs", "x", "X"), "targets": ("targets", "y", "labels")}


@dataclass(frozen=True)
class Config:
    """Settings of a file of arrays."""

    path: str = param("", "The file, .npz or .safetensors.")
    test: float = param(
        0.3, "Share of examples held back for verdicts, where the file is not split.", low=0.0, high=0.9
    )
    select: float = param(0.1, "Share held back for choices; of test where the file is split.", low=0.0, high=0.9)
    calibration: int = param(256, "Examples of train that set the scales of quantization.", low=2)
    limit: int = param(0, "Largest number of examples of each split; 0 for all.", low=0)


def load(config: Config) -> Task:
    """Return the arrays as a task.

    Args:
        config: Which file, and how it is split.

    Raises:
        TaskError: The file cannot be read, lacks an array, or its arrays do not fit each other.
    """
    path = Path(config.path)
    arrays = _read(path)
    splits = _splits(arrays, config, path.name)
    if "test" not in splits:
        raise TaskError(f"data {path.name}: it has train_... and no test_...; give both, or neither")
    if config.limit:
        splits = {n: s.take(torch.arange(min(config.limit, len(s)))) for n, s in splits.items()}
    train = splits["train"]
    splits["calibration"] = train.take(torch.arange(min(config.calibration, len(train))))
    for name, split in splits.items():
        if not len(split):
            raise TaskError(f"data {path.name}: split {name} is empty; change the shares test and select")
    classes = 1 + max(int(s.targets.max()) for s in splits.values())
    low, high = (float(getattr(train.inputs, end)()) for end in ("min", "max"))
    bounds = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
    names = {g: tuple(str(c) for c in range(1 + _largest(splits.values(), g))) for g in train.groups}
    kept = {name: splits[name] for name in (*SPLITS, *_FURTHER) if name in splits}
    return Task(path.stem, classes, bounds, kept, names)


def _largest(splits: Iterable[Split], group: str) -> int:
    return max(int(split.groups[group].max()) for split in splits if group in split.groups)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file  # noqa: PLC0415 - only for such files

            return load_file(path)
        with np.load(path, allow_pickle=False) as file:
            return {name: torch.as_tensor(file[name]) for name in file.files}
    except FileNotFoundError as error:
        raise TaskError(f"data {path}: no such file") from error
    except Exception as error:  # damaged files raise errors of many kinds
        reason = "it holds Python objects; save plain numbers" if "allow_pickle" in str(error) else str(error)
        raise TaskError(f"data {path}: {reason}") from error


def _splits(arrays: dict[str, Tensor], config: Config, where: str) -> dict[str, Split]:
    further = {n: _shuffled(_split(arrays, f"{n}_", where)) for n in _FURTHER if _has(arrays, n)}
    return _official(arrays, config, where) | further


def _official(arrays: dict[str, Tensor], config: Config, where: str) -> dict[str, Split]:
    if not _has(arrays, "train"):
        whole = _shuffled(_split(arrays, "", where))
        test, select = round(config.test * len(whole)), round(config.select * len(whole))
        return _cut(whole, {"test": test, "select": select, "train": len(whole) - test - select})
    given = [n for n in ("train", "select", "test") if _has(arrays, n)]
    found = {name: _shuffled(_split(arrays, f"{name}_", where)) for name in given}
    if "select" in found or "test" not in found:
        return found
    held = round(config.select * len(found["test"]))
    return found | _cut(found["test"], {"select": held, "test": len(found["test"]) - held})


def _has(arrays: dict[str, Tensor], split: str) -> bool:
    return any(name.startswith(f"{split}_") for name in arrays)


def _shuffled(split: Split) -> Split:
    # Files are often sorted by class, and the first examples must stand for all.
    return split.take(torch.randperm(len(split), generator=torch.Generator().manual_seed(_ORDER)))


def _cut(split: Split, sizes: dict[str, int]) -> dict[str, Split]:
    rows = torch.split(torch.arange(len(split)), list(sizes.values()))
    return {name: split.take(part) for name, part in zip(sizes, rows, strict=True)}


def _split(arrays: dict[str, Tensor], prefix: str, where: str) -> Split:
    inputs, targets = (_named(arrays, prefix, kind, where) for kind in _ALIASES)
    if targets.dim() != 1 or targets.is_floating_point() or len(inputs) != len(targets):
        raise TaskError(
            f"data {where}: {prefix}targets of shape {tuple(targets.shape)} and type {targets.dtype} for "
            f"{len(inputs)} inputs; one whole number for each is needed"
        )
    start = f"{prefix}group_"
    groups = {n.removeprefix(start): codes.long() for n, codes in arrays.items() if n.startswith(start)}
    scaled = inputs.float() / 255 if inputs.dtype == torch.uint8 else inputs.float()
    return Split(scaled, targets.long(), targets.long(), groups)


def _named(arrays: dict[str, Tensor], prefix: str, kind: str, where: str) -> Tensor:
    for name in _ALIASES[kind]:
        if prefix + name in arrays:
            return arrays[prefix + name]
    raise TaskError(f"data {where}: no array {prefix}{kind}; it has {', '.join(sorted(arrays)) or 'none'}")
