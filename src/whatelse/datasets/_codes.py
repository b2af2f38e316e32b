"""What stands in an array of groups, as codes with names: words, whole numbers, measured numbers, missing values.

Words, flags and whole numbers are groups as they are; their names are what stands there. Whole numbers from 0 that
leave few gaps keep their place, so that code 2 stays code 2; others, such as years or numbers of postal areas, are
counted through in order of size. Measured numbers are cut at the quartiles of train where there are more than eight of
them, as the columns of a table are. Missing are NaN, -1 among whole numbers, and among words what a table calls so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whatelse.datasets import _column, _table
from whatelse.errors import TaskError

_FEW = 8  # Groups that a handful of examples may have.
_WIDEST = 1_000  # Characters of a name; an array takes those of its longest for each of its names.
Array = NDArray[Any]


@dataclass(frozen=True)
class Column:
    """The values that occur in an array of groups, in all parts of the data: sorted, each once.

    Attributes:
        name: Of the array, for messages.
        values: As texts.
        codes: Of every value, where they are whole numbers that are codes already; else None.
        measured: Whether they are measured numbers.
    """

    name: str
    values: tuple[str, ...]
    codes: tuple[int, ...] | None
    measured: bool


def read(arrays: Mapping[str, Array], lengths: Mapping[str, int], name: str) -> tuple[Column, dict[str, Tensor]]:
    """Return the values of a grouping, and where each example has which: its index, ``(N,)``, -1 where it is missing.

    Args:
        arrays: The arrays of the grouping, one for each part of the data, by their names in the file.
        lengths: How many examples each part has, by the same names.
        name: Of the grouping.

    Raises:
        TaskError: The values are none that make groups; the array is named.
    """
    for called, array in arrays.items():
        if array.shape != (lengths[called],):
            raise TaskError(
                f"{called} is of shape {array.shape} for {lengths[called]} examples; one value each is needed"
            )
        if array.dtype.kind not in "biufUS":
            raise TaskError(f"{called} is of type {array.dtype}; numbers or names of groups are needed")
        wide = array.dtype.itemsize // {"U": 4, "S": 1}.get(array.dtype.kind, array.dtype.itemsize)
        if wide > _WIDEST:
            raise TaskError(
                f"{called} is of type {array.dtype}, names of up to {wide:,} characters; at most {_WIDEST:,} are "
                "allowed; give shorter names, or codes"
            )
    kinds = {"words" if a.dtype.kind in "bUS" else "numbers" for a in arrays.values()}
    if len(kinds) > 1:
        raise TaskError(f"{name}: names in one part of the data and numbers in another; one kind is needed")
    whole = np.concatenate([_plain(a, called) for called, a in arrays.items()])
    column, index = _words(whole, name) if kinds == {"words"} else _numbers(whole, name)
    told = int((index >= 0).sum())
    if not told:
        raise TaskError(f"{name}: every value is missing; leave the array out")
    if not column.measured and len(column.values) > max(_FEW, told // 2):
        raise TaskError(
            f"{name}: {len(column.values)} different values in {told} examples make no groups; "
            "give codes of fewer groups, or leave the array out"
        )
    ends = np.cumsum([len(a) for a in arrays.values()])[:-1]
    return column, dict(zip(arrays, map(torch.from_numpy, np.split(index, ends)), strict=True))


def coded(column: Column, train: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    """Return the code of each value of a column, ``(values,)``, and the names of the codes.

    Args:
        column: From `read`.
        train: The indices of train, which alone decide where measured numbers are cut.
    """
    if column.codes is not None:
        names = tuple(str(code) for code in range(1 + max(column.codes)))
        return torch.tensor(column.codes), names
    if column.measured:
        seen = [column.values[i] for i in train[train >= 0].tolist()] or list(column.values)
        cuts = _table.grouping(seen)
        if isinstance(cuts[0], float):
            return _table.groups(column.values, cuts)
    return torch.arange(len(column.values)), column.values


def of(index: Tensor, codes: Tensor) -> Tensor:
    """Return the code of every example, ``(N,)``, -1 where it has none.

    Args:
        index: Of its value, ``(N,)``.
        codes: Of every value.
    """
    return torch.where(index < 0, -1, codes[index.clamp(min=0)])


def _plain(array: Array, name: str) -> Array:
    """Return names as texts that can be written anywhere, and numbers as they are.

    Raises:
        TaskError: What should be letters is none.
    """
    if array.dtype.kind == "S":
        return np.char.decode(array, "utf-8", "replace")
    if array.dtype.kind == "U":
        letters = np.ascontiguousarray(array, array.dtype.newbyteorder("=")).view(np.uint32)
        if bool(((letters > 0x10FFFF) | ((letters >= 0xD800) & (letters < 0xE000))).any()):
            raise TaskError(f"{name} holds names with letters that are none; the file is damaged")
    return array.astype(np.str_) if array.dtype.kind == "b" else array


def _words(values: Array, name: str) -> tuple[Column, NDArray[np.int64]]:
    known, index = np.unique(np.char.strip(values), return_inverse=True)
    kept = [i for i, word in enumerate(known.tolist()) if not _column.missing(word)]
    place = np.full(len(known), -1, dtype=np.int64)
    place[kept] = np.arange(len(kept))
    return Column(name, tuple(known[kept].tolist()), None, measured=False), place[index]


def _numbers(values: Array, name: str) -> tuple[Column, NDArray[np.int64]]:
    known, index = np.unique(values, return_inverse=True)  # all NaN are one, the last
    if bool(np.isinf(known).any()):
        raise TaskError(f"{name} holds an infinite value; give a number, or NaN where it is missing")
    given = known[~np.isnan(known)]
    whole = bool((given == np.trunc(given)).all()) and (known.dtype.kind != "f" or bool((given >= -1).all()))
    if whole and len(given) and int(given[0]) < -1:
        raise TaskError(
            f"{name} holds {int(given[0])}; whole numbers from 0 are needed, and -1 where a value is missing"
        )
    first = int(whole and len(given) > 0 and given[0] == -1)
    kept = given[first:].tolist()
    place = np.full(len(known), -1, dtype=np.int64)
    place[first : first + len(kept)] = np.arange(len(kept))
    if not whole:
        return Column(name, tuple(str(v) for v in given), None, measured=True), place[index]
    told = tuple(int(value) for value in kept)
    dense = bool(told) and told[-1] < 2 * len(told)
    return Column(name, tuple(map(str, told)), told if dense else None, measured=False), place[index]
