"""Scores of known examples, as any tool can write them: a model of which nothing else is known.

A file, .npz, .npy, .safetensors or .csv, or arrays by name: one number for each class of every example of a split, in
the order in which the task has them. An array is called after its split and what it holds, ``test_logits``,
``test_probabilities``, ``test_log_probabilities`` or ``test_scores``, where the last is read by its numbers; without a
split it is of test, which must be there. ``test_targets`` beside it are the labels that the writer knew: where they
are not those of the task, the scores are of other examples or of these in another order, and refused. So are they by
``test_inputs_key``, what `inputs_key` returns of the split. Where class 1 of two has a number alone, a column is
enough. A .npy file is the scores of test; a .csv file as well, a column for each class in the order of the classes
below a line of names, where a column ``target`` holds the labels.

Everything is kept as class scores in single precision, of probabilities their logarithms.
"""

from __future__ import annotations

import csv
import hashlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from whatelse import limits
from whatelse.errors import NotMeasurableError, TaskError, in_short, nearest
from whatelse.models.model import Stores
from whatelse.models.readings import READINGS, column, reading
from whatelse.tasks.task import Split, Task

SUFFIXES = (".npz", ".npy", ".safetensors", ".csv")
_KINDS = ("scores", "logits", "probabilities", "log_probabilities")
_BESIDE = ("targets", "inputs_key")
_TEST, _TARGET = "test", "target"
_SUMS = 1e-2  # how far probabilities are from 1 together, however few digits were written of them
_LEAST = float(np.log(np.finfo(np.float32).tiny))  # of what has no probability at all

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class RecordedScores:
    """Class scores of the examples of some splits.

    Attributes:
        held: By split, ``(N, classes)`` float32.
        remarks: How they were read.
        stores: Says how much the model stores that answered so; None where nothing is known of it.
        key: SHA-256 of them, and of how much is stored.
    """

    held: Mapping[str, Tensor]
    remarks: tuple[str, ...] = ()
    stores: Stores | None = None
    key: str = field(default="")

    def __post_init__(self) -> None:
        if not self.key:
            digest = hashlib.sha256(b"recorded scores")
            for split, scores in sorted(self.held.items()):
                digest.update(f"{split} {tuple(scores.shape)}".encode())
                digest.update(scores.contiguous().numpy().tobytes())
            if self.stores is not None:
                digest.update(repr(self.stores).encode())
            object.__setattr__(self, "key", digest.hexdigest()[:16])

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits of whose examples there are scores."""
        return tuple(self.held)

    def recorded(self, split: str) -> Tensor:
        """Return the class scores of a split, ``(N, classes)``.

        Args:
            split: Its name.

        Raises:
            NotMeasurableError: There are none.
        """
        if split not in self.held:
            raise NotMeasurableError(f"needs scores of {split}; recorded are those of {', '.join(self.held)}")
        return self.held[split]


def inputs_key(split: Split) -> str:
    """Return the SHA-256 of the inputs of a split, in their order, 16 digits: says of which examples scores are.

    Args:
        split: The examples.
    """
    inputs = split.inputs.contiguous()
    return hashlib.sha256(str(tuple(inputs.shape)).encode() + inputs.numpy().tobytes()).hexdigest()[:16]


def of_file(path: str | Path, task: Task) -> RecordedScores:
    """Return the scores that a file holds, checked against the examples that they are of.

    Args:
        path: Its ending is one of `SUFFIXES`.
        task: The examples.

    Raises:
        TaskError: The file cannot be read, or holds no scores of these examples.
    """
    path = Path(path)
    try:
        held = limits.regular(path)
        limits.check(8 * held, held, path.name, TaskError)
        arrays = _READERS[path.suffix](path)
    except TaskError:
        raise
    except FileNotFoundError as error:
        raise TaskError(f"{path}: no such file") from error
    except Exception as error:  # damaged files raise errors of many kinds
        raise TaskError(f"{path}: {in_short(error)}") from error
    return of_arrays(arrays, task, path.name)


def of_arrays(arrays: Mapping[str, Array | Tensor], task: Task, name: str) -> RecordedScores:
    """Return scores by split, checked against the examples that they are of.

    Args:
        arrays: By name, as this file's head says.
        task: The examples.
        name: How messages call what they are of.

    Raises:
        TaskError: There are none of test, or they are not of these examples.
    """
    found: dict[str, Tensor] = {}
    remarks: list[str] = []
    for called, array in arrays.items():
        split, what = _parted(called, task)
        if what in _BESIDE:
            _check_beside(array, what, split, task, name)
        elif what in _KINDS:
            if split in found:
                raise TaskError(f"{name}: it has several arrays of scores of {split}; one is needed")
            found[split], told = _scores(_numbers(array, called, name), what, split, task, name)
            remarks += told
    if _TEST not in found:
        allowed = f"an array {_TEST}_scores, {_TEST}_logits or {_TEST}_probabilities is needed"
        raise TaskError(f"{name}: it has {', '.join(arrays) or 'nothing'} and no scores of test; {allowed}")
    return RecordedScores(found, tuple(remarks))


def _parted(called: str, task: Task) -> tuple[str, str]:
    """Return of which split an array is and what it holds; empty where it is neither."""
    for what in sorted((*_KINDS, *_BESIDE), key=len, reverse=True):
        if called == what:
            return _TEST, what
        split = called.removesuffix(f"_{what}")
        if split != called and split in task.splits:
            return split, what
    return (called, "scores") if called in task.splits else ("", "")


def _numbers(array: Array | Tensor, called: str, name: str) -> Tensor:
    found = array.detach().cpu() if isinstance(array, Tensor) else None
    if found is None and np.asarray(array).dtype.kind in "biuf":
        found = torch.from_numpy(np.ascontiguousarray(array))
    if found is None or found.is_complex():
        raise TaskError(f"{name}: {called} holds {np.asarray(array).dtype}; numbers are needed")
    return found if found.is_floating_point() else found.float()


def _scores(found: Tensor, what: str, split: str, task: Task, name: str) -> tuple[Tensor, tuple[str, ...]]:
    """Return class scores ``(N, classes)`` and how they were read.

    Raises:
        TaskError: They are not of these examples or classes, or what they are cannot be told.
    """
    count, classes = len(task.split(split)), task.classes
    single = classes == 2 and column(found, len(found))
    if len(found) != count:
        raise TaskError(
            f"{name}: scores of {len(found)} examples of {split}; task {task.name} has {count}, and one row for each "
            "is needed, in their order"
        )
    if not single and found.shape != (count, classes):
        raise TaskError(
            f"{name}: scores of {split} are of shape {tuple(found.shape)}; (N, {classes}) is needed, a column for each "
            f"class of task {task.name} in its order"
        )
    broken = found.isnan() | (found.isinf() if what != "log_probabilities" else found.isposinf())
    if bool(broken.any()):
        row = int(broken.reshape(count, -1).any(1).nonzero()[0])
        raise TaskError(f"{name}: scores of row {row} of {split} hold NaN or infinity; numbers are needed")
    read, told = _read(found, what, split, name, single=single)
    scores = READINGS[read](found).float()
    return (scores.clamp(min=_LEAST) if what == "log_probabilities" else scores), told


def _read(found: Tensor, what: str, split: str, name: str, *, single: bool) -> tuple[str, tuple[str, ...]]:
    """Return how numbers become class scores, of `READINGS`, and how that is told.

    Raises:
        TaskError: They are not what they are called, or it cannot be told what they are.
    """
    if what == "scores":
        try:
            return reading(found, f"{name} ({split})", lambda: None)
        except TaskError as error:
            raise TaskError(
                f"{name}: all scores of {split} lie between 0 and 1 and those of an example do not sum to 1; call them "
                f"{split}_logits or {split}_probabilities"
            ) from error
    if what == "logits":
        told = (f"{name} has one score an example of {split}: taken as the log-odds of class 1",) if single else ()
        return ("one score" if single else ""), told
    if single and what == "log_probabilities":
        raise TaskError(f"{name}: {split}_log_probabilities have one column; a column for each class is needed")
    p = found.double() if what == "probabilities" else found.double().exp()
    off = (p.sum(1) - 1).abs() if not single else torch.zeros(len(p))
    wrong = ((p < 0) | (p > 1 + _SUMS)).reshape(len(p), -1).any(1) | (off > _SUMS)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise TaskError(f"{name}: {what} of row {row} of {split} are none: {found[row].tolist()}")
    if what == "log_probabilities":
        return "", (f"{name} has log-probabilities of {split}: taken as class scores",)
    if single:
        return "one probability", (f"{name} has one probability an example of {split}: taken as that of class 1",)
    return "probabilities", (f"{name} has probabilities of {split}: their logarithms were taken as class scores",)


def _check_beside(array: Array | Tensor, what: str, split: str, task: Task, name: str) -> None:
    """Refuse scores of other examples, or of these in another order.

    Raises:
        TaskError: Labels or inputs are not those of the task.
    """
    known = task.split(split)
    if what == "inputs_key":
        theirs, mine = str(array), inputs_key(known)
        if theirs != mine:
            raise TaskError(
                f"{name}: {split}_inputs_key is {theirs}, that of task {task.name} is {mine}; the scores are of other "
                "examples, or of these in another order"
            )
        return
    targets = torch.as_tensor(np.asarray(array)).flatten()
    if len(targets) != len(known):
        raise TaskError(f"{name}: {len(targets)} targets of {split}; task {task.name} has {len(known)} examples there")
    differ = targets != known.targets
    if bool(differ.any()):
        row = int(differ.nonzero()[0])
        raise TaskError(
            f"{name}: the target of row {row} of {split} is {targets[row].item():g}, that of task {task.name} is "
            f"{int(known.targets[row])}; the scores are of other examples, or of these in another order"
        )


def _zipped(path: Path) -> dict[str, Array | Tensor]:
    with zipfile.ZipFile(path) as file:  # zeros are packed a thousandfold
        limits.check(2 * sum(part.file_size for part in file.infolist()), path.stat().st_size, path.name, TaskError)
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _single(path: Path) -> dict[str, Array | Tensor]:
    return {f"{_TEST}_scores": np.load(path, allow_pickle=False)}


def _tensors(path: Path) -> dict[str, Array | Tensor]:
    from safetensors import safe_open  # noqa: PLC0415 - only for such files

    with safe_open(path, "pt") as file:
        beside = {k: np.asarray(v) for k, v in (file.metadata() or {}).items() if k.endswith("inputs_key")}
        return {name: file.get_tensor(name) for name in file.keys()} | beside  # noqa: SIM118 - no mapping


def _table(path: Path) -> dict[str, Array | Tensor]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        names, *rows = [row for row in csv.reader(file) if row]
    _check_table(names, rows, path.name)
    values = np.array(rows, dtype=np.float64).reshape(len(rows), len(names))
    at = [i for i, name in enumerate(names) if name.strip() != _TARGET]
    beside = {f"{_TEST}_targets": values[:, names.index(_TARGET)]} if _TARGET in names else {}
    return {f"{_TEST}_scores": values[:, at], **beside}


def _check_table(names: Sequence[str], rows: Sequence[Sequence[str]], where: str) -> None:
    for at, row in enumerate(rows):
        if len(row) != len(names):
            raise TaskError(f"{where}: row {at} has {len(row)} fields below {len(names)} names; as many are needed")
    numbered = [int(name.split("_")[-1]) for name in names if name.split("_")[-1].isdigit()]
    if numbered != sorted(numbered):
        raise TaskError(f"{where}: its columns are {', '.join(names)}; the order of the classes is needed")
    close = [name for name in names if name != _TARGET and name.strip().lower() in {"targets", "label", "y"}]
    if close:
        raise TaskError(f"{where}: no scores in a column named {close[0]!r}; {nearest(close[0], [_TARGET])}")


_READERS: Mapping[str, Callable[[Path], dict[str, Array | Tensor]]] = {
    ".npz": _zipped,
    ".npy": _single,
    ".safetensors": _tensors,
    ".csv": _table,
}
