"""One file of arrays, .npz or .safetensors: what a user's own classifier was trained on.

Names: ``inputs`` (or ``x``), of shape ``(N, ...)``, and ``targets`` (or ``y``), whole numbers from 0, ``(N,)``; split
at random, the same for every seed, into the shares ``test`` and ``select`` and the rest, train. Or already split:
``train_inputs``, ``train_targets``, ``test_inputs``, ``test_targets`` (and ``select_...``; where they are absent, the
share ``select`` of test). In both cases ``shifted_inputs`` and ``shifted_targets`` may be given too: what the model
meets after its world has changed, the split ``shifted``. Bytes (uint8) become numbers in [0, 1]; every other input is
taken as it is. Examples are shuffled, the same way for every seed.

``group_<name>`` (``train_group_<name>``, ...) says of every example in which group it is: by a name, a flag or a whole
number from 0, -1, NaN or an empty name where that is missing; measured numbers, such as ages with fractions, make
groups by the quartiles of train where there are more than eight of them. Other arrays of the file are left alone.
That is for models that this toolkit trains. For others a file that has test and no train will do: ``split='test'`` says
so of one without splits, and ``members`` is a file of what the model was trained on.
Nothing in it is run: object arrays are refused. What its arrays will take is summed before any of them is read.

Source:
    The NumPy format: NEP 1, 2007; safetensors: Hugging Face, 2022.
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from whatelse import limits
from whatelse.datasets import _bounds, _codes, _rows, _tabular
from whatelse.errors import TaskError, nearest
from whatelse.settings import param
from whatelse.tasks.task import SPLITS, Split, Task

VERSION = 2
SUFFIXES = (".npz", ".safetensors")
_ORDER = 7  # one fixed seed for the split, so that it is the same everywhere
_FURTHER = ("shifted",)
_ALIASES = {"inputs": ("inputs", "x", "X"), "targets": ("targets", "y", "labels")}
_PARTS = ("", *(f"{name}_" for name in ("train", "select", "test", *_FURTHER)))
_WANTED = re.compile(rf"({'|'.join(_PARTS)})({'|'.join(n for known in _ALIASES.values() for n in known)}|group_.+)")
_IMAGES, _CHANNELS = 4, (1, 3, 4)
_CLASSES = 1_000_000  # More are a slip: numbers that are no classes.
_COPIES = 8  # Bytes of a number as float32, shuffled and in order, beside what was read.

Array = _codes.Array


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
    groups: str = param("", "Names of the group_... arrays that are taken, joined by commas; empty for all.")
    members: str = param("", "A file of arrays that the model was trained on; the first file then has none of them.")
    cluster: str = param("", "Name of the array that says whose each example is, such as patient_id.")
    split: str = param("", "What verdicts are given on: select, shifted, or test where no example is train.")
    classes: str = param("", "Names of the classes in the order of the model's outputs, joined by commas.")
    bounds: str = param("", f"{_bounds.HELP}; empty for 0,1 where they fit, else those of the inputs.")
    layout: str = param("", "Of images: NCHW, or NHWC to have channels put first.", choices=("", "NCHW", "NHWC"))


def load(config: Config) -> Task:
    """Return the arrays as a task.

    Args:
        config: Which file, and how it is split.

    Raises:
        TaskError: The file cannot be read, lacks an array, or its arrays do not fit each other.
    """
    path = Path(config.path)
    where = f"data {path.name}"
    try:
        arrays, names = _arranged(config, where)
        columns = _group(arrays, where)
        splits = _splits(arrays, names, config, where)
    except MemoryError as error:
        raise TaskError(f"{where}: more than the memory of this machine; {limits.RAISE}") from error
    if "test" not in splits:
        raise TaskError(f"{where}: it has train_... and no test_...; give both, or neither")
    nobody = "train" not in splits
    if nobody:
        splits["train"] = splits["test"].take(torch.arange(0))
    if config.limit:
        splits = {n: s.take(torch.arange(min(config.limit, len(s)))) for n, s in splits.items()}
    train = splits["train"]
    splits["calibration"] = train.take(torch.arange(min(config.calibration, len(train))))
    for name, split in splits.items():
        if not len(split) and not (nobody and name in {"train", "calibration"}):
            raise TaskError(f"{where}: split {name} is empty; change the shares test and select")
    told = tuple(_tabular.listed(config.classes))
    classes = _counted(told, 1 + max(int(s.targets.max()) for s in splits.values() if len(s)), where)
    kept = {name: splits[name] for name in (*SPLITS, *_FURTHER) if name in splits}
    return Task(
        path.stem,
        classes,
        _reach(config, splits, where),
        *_named_groups(kept, columns),
        class_names=told,
    )


def _counted(told: tuple[str, ...], found: int, where: str) -> int:
    """Return the number of classes.

    Raises:
        TaskError: Fewer are named than occur.
    """
    if len(set(told)) < len(told):
        raise TaskError(f"{where}: classes={','.join(told)!r} name one twice; name each once (--classes)")
    if told and len(told) < found:
        raise TaskError(f"{where}: targets hold {found - 1}; classes name {len(told)}: name all of them (--classes)")
    return max(found, len(told))


def _reach(config: Config, splits: Mapping[str, Split], where: str) -> tuple[float, float]:
    """Return the bounds of inputs: as declared, or as train has them, or test where there is no train."""
    declared = _bounds.read(config.bounds, where.removeprefix("data "))
    _bounds.check(declared, splits, where.removeprefix("data "))
    if declared is not None:
        return declared
    known = splits["train"] if len(splits["train"]) else splits["test"]
    low, high = (float(getattr(known.inputs, end)()) for end in ("min", "max"))
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)


def _arranged(config: Config, where: str) -> tuple[dict[str, Array], list[str]]:
    """Return the arrays under the names of their splits, and the names of all that the file has.

    Raises:
        TaskError: A file cannot be read, or lacks what is asked for.
    """
    also = config.cluster.strip()
    arrays, names = _read(Path(config.path), where, also)
    parted = any(_has(arrays, split) for split in ("train", "test"))
    if config.split and config.split not in ({"train", "select", "test", *_FURTHER} if parted else {"test"}):
        raise TaskError(f"{where}: split={config.split!r}; {'a prefix of its arrays' if parted else 'test'} is allowed")
    if not parted and (config.split or config.members):
        moved = {n: f"test_{n}" for n in arrays if _parted(n, also) == ("", n)}
        arrays = {moved.get(name, name): array for name, array in arrays.items()}
    elif config.split not in {"", "test"}:
        chosen = {n: a for n, a in arrays.items() if n.startswith(f"{config.split}_")}
        if not chosen:
            raise TaskError(f"{where}: split: no arrays {config.split}_...; it has {', '.join(sorted(names))}")
        arrays = {n: a for n, a in arrays.items() if n not in chosen and not n.startswith("test_")}
        arrays |= {n.replace(config.split, "test", 1): a for n, a in chosen.items()}
    if config.members:
        theirs, _ = _read(Path(config.members), f"data {Path(config.members).name}", also)
        own = {n: a for n, a in theirs.items() if n.startswith("train_")}
        own = own or {f"train_{n}": a for n, a in theirs.items() if _parted(n, also)[0] == ""}
        arrays = {n: a for n, a in arrays.items() if not n.startswith("train_")} | own
    if also:
        _number(arrays, also, where)
    return _chosen(arrays, config, where), names


def _number(arrays: dict[str, Array], name: str, where: str) -> None:
    """Put whole numbers in place of the names of persons, the same in all parts.

    Raises:
        TaskError: There is no such array, or it is not one value an example.
    """
    found = {n: a for n, a in arrays.items() if _parted(n, name)[1] == name}
    if not found:
        raise TaskError(f"{where}: cluster: no array {name!r}")
    for called, array in found.items():
        if array.ndim != 1 or array.dtype.kind not in "biufUS":
            raise TaskError(f"{where}: cluster: {called} is of shape {array.shape} and type {array.dtype}; one each")
    _, index = np.unique(np.concatenate([a.astype(np.str_) for a in found.values()]), return_inverse=True)
    ends = np.cumsum([len(a) for a in found.values()])[:-1]
    arrays |= dict(zip(found, np.split(index.astype(np.int64), ends), strict=True))


def _chosen(arrays: dict[str, Array], config: Config, where: str) -> dict[str, Array]:
    """Return the arrays without groups that nobody asks for.

    Raises:
        TaskError: A group is asked for that there is none of.
    """
    asked = _tabular.listed(config.groups)
    known = sorted({_parted(n)[1].removeprefix("group_") for n in arrays if _parted(n)[1].startswith("group_")})
    for name in asked:
        if name not in known:
            cut = "; arrays hold codes of groups: leave cuts and * out" if set(name) & set(":*") else ""
            raise TaskError(f"{where}: groups: no array group_{name}; {nearest(name, known)}{cut}")
    if not asked:
        return arrays
    left = {f"group_{name}" for name in known if name not in asked}
    return {n: a for n, a in arrays.items() if _parted(n)[1] not in left}


def _named_groups(
    splits: Mapping[str, Split], columns: Mapping[str, _codes.Column]
) -> tuple[dict[str, Split], dict[str, tuple[str, ...]]]:
    """Return the splits with codes in place of indices of values, and the names of the codes."""
    missing = torch.empty(0, dtype=torch.int64)
    codes = {n: _codes.coded(c, splits["train"].groups.get(n, missing)) for n, c in columns.items()}
    done = {}
    for name, split in splits.items():
        groups = {n: _codes.of(index, codes[n][0]) for n, index in split.groups.items()}
        done[name] = replace(split, groups=groups)
    return done, {n: names for n, (_, names) in codes.items() if n in splits["test"].groups}


def _group(arrays: dict[str, Array], where: str) -> dict[str, _codes.Column]:
    """Put indices of their values in place of all arrays of groups, and return the values.

    Raises:
        TaskError: The values of an array are none that make groups.
    """
    found: dict[str, list[str]] = {}
    for name in arrays:
        start, what = _parted(name)
        if what.startswith("group_"):
            found.setdefault(what, []).append(name)
    columns = {}
    for what, names in found.items():
        lengths = {n: len(_named(arrays, _parted(n)[0], "inputs", list(arrays), where)) for n in names}
        try:
            columns[what.removeprefix("group_")], index = _codes.read({n: arrays[n] for n in names}, lengths, what)
        except TaskError as error:
            raise TaskError(f"{where}: {error}") from error
        arrays |= {name: each.numpy() for name, each in index.items()}
    return columns


def _parted(name: str, also: str = "") -> tuple[str, str]:
    """Return the prefix of a split and the rest of a name; both are empty where it is not wanted."""
    if told := _WANTED.fullmatch(name):
        return told[1], told[2]
    start = next((part for part in _PARTS if also and name == part + also), None)
    return ("", "") if start is None else (start, also)


def _read(path: Path, where: str, also: str) -> tuple[dict[str, Array], list[str]]:
    """Return the arrays that a task is made of, and the names of all that the file has.

    Raises:
        TaskError: It cannot be read, or would take more memory than it may.
    """
    try:
        held = limits.regular(path)
        return (_tensors if path.suffix == ".safetensors" else _zipped)(path, held, where, also)
    except FileNotFoundError as error:
        raise TaskError(f"data {path}: no such file") from error
    except TaskError:
        raise
    except Exception as error:  # damaged files raise errors of many kinds
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200] or type(error).__name__
        raise TaskError(f"data {path}: {reason}") from error


def _tensors(path: Path, held: int, where: str, also: str) -> tuple[dict[str, Array], list[str]]:
    from safetensors import safe_open  # noqa: PLC0415 - only for such files

    with safe_open(path, "pt") as file:
        names = list(file.keys())
        wanted = [name for name in names if _parted(name, also)[1]]
        count = sum(math.prod(file.get_slice(name).get_shape()) for name in wanted)
        limits.check(held + _COPIES * count, held, where, TaskError)
        tensors = {name: file.get_tensor(name) for name in wanted}
    return {n: (t.float() if t.is_floating_point() else t).numpy() for n, t in tensors.items()}, names


def _zipped(path: Path, held: int, where: str, also: str) -> tuple[dict[str, Array], list[str]]:
    if not zipfile.is_zipfile(path):
        raise TaskError(f"{where}: no .npz file, as numpy.savez writes it")
    with zipfile.ZipFile(path) as file:
        members = {m.filename.removesuffix(".npy"): m for m in file.infolist()}
        wanted = [name for name in members if _parted(name, also)[1]]
        asked = sum(_asked(file, members[name], f"{where}: {name}") for name in wanted)
    limits.check(asked, held, where, TaskError)
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in wanted}, list(members)


def _asked(file: zipfile.ZipFile, member: zipfile.ZipInfo, where: str) -> int:
    """Return how many bytes an array will take, as its head and the archive say.

    Raises:
        TaskError: It is no array of plain values, or its head and the archive do not agree.
    """
    with file.open(member) as opened:
        version = np.lib.format.read_magic(opened)
        later = version != (1, 0)
        head = np.lib.format.read_array_header_2_0 if later else np.lib.format.read_array_header_1_0
        shape, _, kind = head(opened)
    if kind.hasobject:
        raise TaskError(f"{where} holds Python objects; save plain numbers or names")
    count = math.prod(shape)
    if count > member.file_size or count * kind.itemsize > member.file_size:
        raise TaskError(f"{where} says that it is of shape {shape}, and holds {limits.size(member.file_size)}")
    return member.file_size + _COPIES * count


def _splits(arrays: dict[str, Array], names: list[str], config: Config, where: str) -> dict[str, Split]:
    further = {n: _shuffled(_split(arrays, f"{n}_", names, config, where)) for n in _FURTHER if _has(arrays, n)}
    return _official(arrays, names, config, where) | further


def _official(arrays: dict[str, Array], names: list[str], config: Config, where: str) -> dict[str, Split]:
    if not _has(arrays, "train") and not _has(arrays, "test"):
        whole = _shuffled(_split(arrays, "", names, config, where))
        test, select = round(config.test * len(whole)), round(config.select * len(whole))
        return _cut(whole, {"test": test, "select": select, "train": len(whole) - test - select})
    given = [n for n in ("train", "select", "test") if _has(arrays, n)]
    found = {name: _shuffled(_split(arrays, f"{name}_", names, config, where)) for name in given}
    if "select" in found or "test" not in found:
        return found
    held = round(config.select * len(found["test"]))
    return found | _cut(found["test"], {"select": held, "test": len(found["test"]) - held})


def _has(arrays: dict[str, Array], split: str) -> bool:
    return any(name.startswith(f"{split}_") for name in arrays)


def _shuffled(split: Split) -> Split:
    # Files are often sorted by class, and the first examples must stand for all.
    return split.take(torch.randperm(len(split), generator=torch.Generator().manual_seed(_ORDER)))


def _cut(split: Split, sizes: dict[str, int]) -> dict[str, Split]:
    rows = torch.split(torch.arange(len(split)), list(sizes.values()))
    return {name: split.take(part) for name, part in zip(sizes, rows, strict=True)}


def _split(arrays: dict[str, Array], prefix: str, names: list[str], config: Config, where: str) -> Split:
    inputs, targets = (_named(arrays, prefix, kind, names, where) for kind in _ALIASES)
    if targets.ndim != 1 or targets.dtype.kind not in "biu" or len(inputs) != len(targets):
        kind = targets.dtype if targets.dtype.kind not in "bifu" else f"torch.{targets.dtype}"
        raise TaskError(
            f"{where}: {prefix}targets of shape {targets.shape} and type {kind} for {len(inputs)} inputs; one whole "
            "number for each is needed, from 0 in the order of the model's outputs"
        )
    if len(targets) and int(targets.max()) >= _CLASSES:
        raise TaskError(
            f"{where}: {prefix}targets hold {int(targets.max())}; classes are whole numbers from 0, in "
            f"the order of the model's outputs, fewer than {_CLASSES}"
        )
    start = f"{prefix}group_"
    groups = {n.removeprefix(start): torch.from_numpy(c) for n, c in arrays.items() if n.startswith(start)}
    labels = torch.from_numpy(targets.astype(np.int64))
    owners = arrays.get(prefix + config.cluster.strip()) if config.cluster else None
    if owners is not None and len(owners) != len(labels):
        raise TaskError(f"{where}: cluster: {len(owners)} values for {len(labels)} examples; one each is needed")
    clusters = None if owners is None else torch.from_numpy(owners)
    whole = _rows.checked(_scaled(_turned(inputs, config, where), prefix, where), labels, prefix, where)
    return Split(whole, labels, labels, groups, clusters=clusters)


def _turned(inputs: Array, config: Config, where: str) -> Array:
    """Return images with channels first.

    Raises:
        TaskError: They look as if channels came last, and nobody said so.
    """
    if inputs.ndim != _IMAGES:
        return inputs
    if config.layout == "NHWC":
        return np.ascontiguousarray(np.moveaxis(inputs, -1, 1))
    last = (
        inputs.shape[-1] in _CHANNELS and inputs.shape[1] not in _CHANNELS and min(inputs.shape[1:3]) > max(_CHANNELS)
    )
    if last and not config.layout:
        raise TaskError(
            f"{where}: inputs of shape {inputs.shape} look like images with channels last (NHWC); channels come first, "
            "(N, channels, height, width): say layout='NHWC' to have them turned, or layout='NCHW' where that is meant"
        )
    return inputs


def _scaled(inputs: Array, prefix: str, where: str) -> Tensor:
    if inputs.ndim < 2 or 0 in inputs.shape[1:] or inputs.dtype.kind not in "biuf":
        raise TaskError(
            f"{where}: {prefix}inputs of shape {inputs.shape} and type {inputs.dtype}; numbers of shape (N, ...) are "
            "needed"
        )
    whole = torch.from_numpy(np.ascontiguousarray(inputs, dtype=np.float32))
    return whole.div_(255) if inputs.dtype == np.uint8 else whole


def _named(arrays: dict[str, Array], prefix: str, kind: str, names: list[str], where: str) -> Array:
    for name in _ALIASES[kind]:
        if prefix + name in arrays:
            found = arrays[prefix + name]
            return found if found.ndim else found[None]  # one number is as wrong as a list of one
    raise TaskError(f"{where}: no array {prefix}{kind}; it has {', '.join(sorted(names)) or 'none'}")
