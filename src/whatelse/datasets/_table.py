"""Tables of texts as numbers: scales and categories that train alone decides.

A column is a column of numbers where every value of train that is not missing reads as one, else of categories.
Numbers are standardized: less the mean of train, divided by its standard deviation (divisor N). Each category of train
has a column of zeros and ones, ``name=category``. A column that lacks values in train has one more, ``name=unknown``; a
missing number is the mean of train then. A value that train never has is unknown too where there is such a column, and
zero in all columns where there is none: a column that training has never seen at one has random weights.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whatelse import limits
from whatelse.errors import TaskError

MISSING = frozenset({"", "?", "na", "n/a", "nan", "null"})
_BANDS, _UNSEEN = 4, -2
_TEXT = 12  # Bytes of memory for one of text: every value is an object of Python's.

Columns = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Numbers:
    """A column of numbers: mean and standard deviation of train, and whether train lacks some."""

    mean: float
    deviation: float
    unknown: bool


@dataclass(frozen=True)
class Words:
    """A column of categories: those of train, sorted, and whether train lacks some."""

    known: tuple[str, ...]
    unknown: bool


Coding = Mapping[str, Numbers | Words]
Grouping = tuple[str, ...] | tuple[float, ...]  # names of groups, or the cuts between bands


def missing(value: str) -> bool:
    """Say whether a value stands for none: empty, ``?``, ``NA``, ``N/A``, ``NaN`` or ``null``, in any case of letters.

    Args:
        value: As it stands in the file.
    """
    return value.lower() in MISSING


def read(path: Path, where: str) -> dict[str, list[str]]:
    """Return the columns of a file with a header, tabs between values in a .tsv and commas in any other.

    Args:
        path: UTF-8 text.
        where: How messages call it.

    Raises:
        TaskError: The file cannot be read, has no rows, two columns of one name, or a row of another length.
    """
    try:
        held = limits.regular(path)
        limits.check(_TEXT * held, held, f"data {where}", TaskError)
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ",", skipinitialspace=True))
    except (OSError, ValueError, csv.Error) as error:  # no UTF-8; bytes that no text has
        raise TaskError(f"data {where}: {getattr(error, 'strerror', None) or error}") from error
    rows = [row for row in rows if row]
    if len(rows) < 2:
        raise TaskError(f"data {where}: a line with the names of the columns and rows below it are needed")
    return columns([name.strip() for name in rows[0]], rows[1:], where)


def columns(names: Sequence[str], rows: Iterable[Sequence[str]], where: str) -> dict[str, list[str]]:
    """Return rows as columns, without spaces around values.

    Args:
        names: Of the columns.
        rows: Their values.
        where: How messages call them.

    Raises:
        TaskError: Two columns have one name, or a row has another length.
    """
    if len(set(names)) < len(names):
        twice = next(n for n in names if list(names).count(n) > 1)
        raise TaskError(f"data {where}: the column {twice!r} stands twice")
    found: list[list[str]] = [[] for _ in names]
    kept: dict[str, str] = {}  # a value that stands often is kept once
    for number, row in enumerate(rows, 1):
        if len(row) != len(names):
            raise TaskError(f"data {where}: row {number} has {len(row)} values; the header has {len(names)}")
        for column, value in zip(found, row, strict=True):
            text = value.strip()
            column.append(kept.setdefault(text, text))
    return dict(zip(names, found, strict=True))


def take(table: Columns, rows: Tensor) -> dict[str, list[str]]:
    """Return some rows of a table.

    Args:
        table: Columns by name.
        rows: Which, ``(M,)``.
    """
    picks = rows.tolist()
    return {name: [column[i] for i in picks] for name, column in table.items()}


def check_numbers(table: Columns, names: Iterable[str], where: str) -> None:
    """Refuse a column of numbers with a slip in it: it would become a category for each of its numbers.

    Args:
        table: Columns by name.
        names: Columns that are not said to be categories.
        where: How messages call the table.

    Raises:
        TaskError: Nine in ten values of a column are numbers, and one is none; the first such row is named.
    """
    for name in names:
        number = {v: _number(v) is not None for v in set(table[name]) if not missing(v)}
        told = [number[value] for value in table[name] if value in number]
        if told and 0.9 <= sum(told) / len(told) < 1:
            row = next(i for i, value in enumerate(table[name], 1) if not number.get(value, True))
            raise TaskError(
                f"data {where}, column {name!r}: row {row} is no number, as most are; mend it, leave the column out "
                "or name it in categories"
            )


def learn(train: Columns, names: Sequence[str], categories: Iterable[str] = ()) -> dict[str, Numbers | Words]:
    """Return how to code columns, from train alone.

    Args:
        train: Columns by name.
        names: Which of them become inputs.
        categories: Columns that are categories although their values read as numbers.
    """
    found: dict[str, Numbers | Words] = {}
    for name in names:
        given = [value for value in train[name] if not missing(value)]
        unknown = len(given) < len(train[name])
        values = None if name in categories else _numbers(given)
        if values is not None:
            # A column of one value has no scale; it becomes zero.
            found[name] = Numbers(float(values.mean()), float(values.std()) if len(set(given)) > 1 else 1.0, unknown)
        else:
            found[name] = Words(tuple(sorted(set(given))), unknown)
    return found


def features(coding: Coding) -> tuple[str, ...]:
    """Return the names of the inputs that a coding makes.

    Args:
        coding: Of every column.
    """
    found: list[str] = []
    for name, code in coding.items():
        found += [name] if isinstance(code, Numbers) else [f"{name}={word}" for word in code.known]
        found += [f"{name}=unknown"] if code.unknown else []
    return tuple(found)


def encode(table: Columns, coding: Coding, where: str) -> tuple[Tensor, dict[str, int]]:
    """Return rows as inputs, ``(N, features)`` float32, and how many values of each column train never has.

    Args:
        table: Columns by name.
        coding: From `learn`.
        where: How messages call the table.

    Raises:
        TaskError: A value of a column of numbers is none.
    """
    count = len(next(iter(table.values())))
    inputs = np.zeros((count, len(features(coding))), dtype=np.float32)
    unseen: dict[str, int] = {}
    at = 0
    for name, code in coding.items():
        if isinstance(code, Numbers):
            inputs[:, at], absent = _standard(table[name], code, f"{where}, column {name!r}")
            at += 1
        else:
            index = _index(table[name], code)
            rows = np.flatnonzero(index >= 0)
            inputs[rows, at + index[rows]] = 1
            absent = index < 0
            if new := int((index == _UNSEEN).sum()):
                unseen[name] = new
            at += len(code.known)
        if code.unknown:
            inputs[:, at] = absent
            at += 1
    return torch.from_numpy(inputs), unseen


def labels(table: Columns, name: str, known: Sequence[str], where: str) -> Tensor:
    """Return the class of every row, ``(N,)``.

    Args:
        table: Columns by name.
        name: The column of labels.
        known: Names of the classes, from train.
        where: How messages call the table.

    Raises:
        TaskError: A label is missing or none of the classes; the first such row is named.
    """
    index = {word: i for i, word in enumerate(known)}
    for number, value in enumerate(table[name], 1):
        if missing(value):
            raise TaskError(f"data {where}, column {name!r}: row {number} has no label; leave such rows out")
        if value not in index:
            classes = ", ".join(known[:5]) + (", ..." if len(known) > 5 else "")
            raise TaskError(f"data {where}, column {name!r}: row {number} is {value!r}; train has {classes}")
    return torch.tensor([index[value] for value in table[name]])


def classes(train: Sequence[str], name: str, where: str) -> tuple[str, ...]:
    """Return the names of the classes: the labels of train, numbers in order of size, others of the alphabet.

    Args:
        train: The column of labels.
        name: Of the column.
        where: How messages call the table.

    Raises:
        TaskError: A label is missing, all are the same, or they are no classes but measured numbers.
    """
    for number, value in enumerate(train, 1):
        if missing(value):
            raise TaskError(f"data {where}, column {name!r}: row {number} has no label; leave such rows out")
        if _fraction(value):
            raise TaskError(f"data {where}, column {name!r}: row {number} is {value!r}; a class is needed, no measure")
    found = sorted(set(train), key=_sorting)
    if len(found) < 2:
        raise TaskError(f"data {where}, column {name!r}: every row is {found[0]!r}; a task needs two classes or more")
    if len(found) > max(2, len(train) // 2):
        raise TaskError(f"data {where}, column {name!r}: {len(found)} labels in {len(train)} rows; are they classes?")
    return tuple(found)


def grouping(train: Sequence[str], *, category: bool = False) -> Grouping:
    """Return how a column makes groups: by its values, or where it has many numbers by the quartiles of train.

    Args:
        train: The column.
        category: True where it is one although its values read as numbers.
    """
    given = [value for value in train if not missing(value)]
    numbers = None if category else _numbers(given)
    if numbers is None or len(set(given)) <= 2 * _BANDS:
        return tuple(sorted(set(given), key=_sorting))
    return tuple(float(cut) for cut in np.unique(np.quantile(numbers, np.arange(1, _BANDS) / _BANDS)))


def groups(column: Sequence[str], how: Grouping) -> tuple[Tensor, tuple[str, ...]]:
    """Return the group of every row, ``(N,)``, -1 where the value is missing or train never has it, and their names.

    Args:
        column: Values.
        how: From `grouping`.
    """
    if how and isinstance(how[0], float):
        return banded(column, [float(cut) for cut in how])
    index = {word: i for i, word in enumerate(how)}
    return torch.tensor([index.get(value, -1) for value in column]), tuple(str(word) for word in how)


def banded(column: Sequence[str], cuts: Sequence[float]) -> tuple[Tensor, tuple[str, ...]]:
    """Return the band of every number, ``(N,)``, -1 where it is missing, and the names of the bands.

    Args:
        column: Values.
        cuts: Largest value of every band but the last, rising.
    """
    edges = np.asarray(cuts)
    number = {value: _number(value) for value in set(column)}
    band = {v: -1 if n is None else int(np.searchsorted(edges, n, side="left")) for v, n in number.items()}
    ends = [f"{cut:g}" for cut in cuts]
    middle = [f"over {low} to {high}" for low, high in zip(ends[:-1], ends[1:], strict=True)]
    return torch.tensor([band[value] for value in column]), (f"to {ends[0]}", *middle, f"over {ends[-1]}")


def _numbers(values: Sequence[str]) -> NDArray[np.float64] | None:
    """Return values as numbers; None where one of them is none, or there are none at all."""
    parsed: dict[str, float] = {}
    for value in set(values):
        number = _number(value)
        if number is None:
            return None
        parsed[value] = number
    return np.array([parsed[value] for value in values]) if values else None


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _fraction(value: str) -> bool:
    number = _number(value)
    return number is not None and not number.is_integer()


def _sorting(value: str) -> tuple[bool, float, str]:
    number = _number(value)
    return (number is None, number or 0.0, value)


def _index(column: Sequence[str], code: Words) -> NDArray[np.int64]:
    """Return the place of every category: -1 where the value is missing, -2 where train never has it."""
    place = {word: i for i, word in enumerate(code.known)}
    place |= {value: -1 if missing(value) else _UNSEEN for value in set(column) - set(place)}
    return np.array([place[value] for value in column], dtype=np.int64)


def _standard(column: Sequence[str], code: Numbers, where: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    parsed = {value: math.nan if missing(value) else _number(value) for value in set(column)}
    bad = {value for value, number in parsed.items() if number is None}
    if bad:
        row = next(i for i, value in enumerate(column, 1) if value in bad)
        raise TaskError(f"data {where}: row {row} is no number, as every value of train is")
    values = np.array([parsed[value] for value in column], dtype=np.float64)
    absent = np.isnan(values)
    return np.where(absent, 0.0, (values - code.mean) / code.deviation), absent
