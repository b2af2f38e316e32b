"""Tables of texts as numbers: scales and categories that train alone decides.

A column is a column of numbers where every value of train that is not missing reads as one, else of categories.
Numbers are standardized: less the mean of train, divided by its standard deviation (divisor N). Each category of train
has a column of zeros and ones, ``name=category``. A column that lacks values in train has one more, ``name=unknown``; a
missing number is the mean of train then. A value that train never has is unknown too where there is such a column, and
zero in all columns where there is none: a column that training has never seen at one has random weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whatelse.datasets import _column
from whatelse.datasets._column import Column, missing, number
from whatelse.errors import TaskError

_BANDS, _UNSEEN = 4, -2
_MOSTLY = 0.9  # Numbers among values from which on the others are slips.

Values = Sequence[str] | Column
Columns = Mapping[str, Values]


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


def columns(names: Sequence[str], rows: Iterable[Sequence[str]], where: str) -> dict[str, list[str]]:
    """Return rows as columns, without spaces around values.

    Args:
        names: Of the columns.
        rows: Their values.
        where: How messages call them.

    Raises:
        TaskError: Two columns have one name, or a row has another length.
    """
    _column.check_names(names, where)
    found: list[list[str]] = [[] for _ in names]
    kept: dict[str, str] = {}  # a value that stands often is kept once
    for count, row in enumerate(rows, 1):
        _column.check_width(row, names, count, where)
        for column, value in zip(found, row, strict=True):
            text = value.strip()
            column.append(kept.setdefault(text, text))
    return dict(zip(names, found, strict=True))


def take(table: Columns, rows: Tensor) -> dict[str, Column]:
    """Return some rows of a table.

    Args:
        table: Columns by name.
        rows: Which, ``(M,)``.
    """
    picks = rows.numpy()
    return {name: _column.of(column).take(picks) for name, column in table.items()}


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
        column = _column.of(table[name])
        if column.measured is not None:
            continue
        told = {value: number(value) is not None for value in column.given()}
        if all(told.values()) or not any(told.values()):
            continue
        right = float(column.each(lambda v, told=told: told.get(v, True), np.bool_)[~column.absent()].mean())  # type: ignore[misc] # mypy cannot infer it
        if right >= _MOSTLY:
            row = column.first(lambda v, told=told: not told.get(v, True))  # type: ignore[misc] # mypy cannot infer it
            raise TaskError(f"data {where}, column {name!r}: row {row} is no number, as most are; {_column.MEND}")


def learn(train: Columns, names: Sequence[str], categories: Iterable[str] = ()) -> dict[str, Numbers | Words]:
    """Return how to code columns, from train alone.

    Args:
        train: Columns by name.
        names: Which of them become inputs.
        categories: Columns that are categories although their values read as numbers.
    """
    found: dict[str, Numbers | Words] = {}
    for name in names:
        column = _column.of(train[name])
        absent = column.absent()
        values = None if name in categories else column.numbers()
        if values is not None and not absent.all():
            told = values[~absent]
            # A column of one value has no scale; it becomes zero.
            scale = float(told.std()) if bool((told != told[0]).any()) else 1.0
            found[name] = Numbers(float(told.mean()), scale, bool(absent.any()))
        else:
            found[name] = Words(tuple(sorted(column.given())), bool(absent.any()))
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


def units(coding: Coding) -> tuple[tuple[float, float], ...]:
    """Return offset and scale of every input that a coding makes: those of categories are as they stand.

    Args:
        coding: Of every column.
    """
    found: list[tuple[float, float]] = []
    for code in coding.values():
        found += [(code.mean, code.deviation)] if isinstance(code, Numbers) else [(0.0, 1.0)] * len(code.known)
        found += [(0.0, 1.0)] if code.unknown else []
    return tuple(found)


def encode(table: Columns, coding: Coding, where: str, *, raw: bool = False) -> tuple[Tensor, dict[str, int]]:
    """Return rows as inputs, ``(N, features)`` float32, and how many values of each column train never has.

    Args:
        table: Columns by name.
        coding: From `learn`.
        where: How messages call the table.
        raw: True leaves numbers as they stand in the file, a missing one as the mean of train.

    Raises:
        TaskError: A value of a column of numbers is none.
    """
    count = len(next(iter(table.values())))
    inputs = np.zeros((count, len(features(coding))), dtype=np.float32)
    unseen: dict[str, int] = {}
    at = 0
    for name, code in coding.items():
        column = _column.of(table[name])
        if isinstance(code, Numbers):
            inputs[:, at], absent = _scaled(column, code, f"{where}, column {name!r}", raw=raw)
            at += 1
        else:
            index = _index(column, code)
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


def labels(table: Columns, name: str, known: Sequence[str], where: str, *, given: bool = False) -> Tensor:
    """Return the class of every row, ``(N,)``.

    Args:
        table: Columns by name.
        name: The column of labels.
        known: Names of the classes.
        where: How messages call the table.
        given: Whether the user named the classes, rather than train.

    Raises:
        TaskError: A label is missing or none of the classes; the first such row is named.
    """
    index = {word: i for i, word in enumerate(known)}
    column = _column.of(table[name])
    _check_labelled(column, name, where)
    if row := column.first(lambda value: value not in index):
        classes = ", ".join(known[:5]) + (", ..." if len(known) > 5 else "")
        said = f"classes are {classes}; name all of them (--classes)" if given else f"train has {classes}"
        raise TaskError(f"data {where}, column {name!r}: row {row} is {column.at(row - 1)!r}; {said}")
    return torch.from_numpy(column.each(lambda value: index.get(value, 0), np.int64))


def _check_labelled(column: Column, name: str, where: str) -> None:
    if row := column.first(missing):
        raise TaskError(f"data {where}, column {name!r}: row {row} has no label; leave such rows out")


def classes(train: Values, name: str, where: str) -> tuple[str, ...]:
    """Return the names of the classes: the labels of train, numbers in order of size, others of the alphabet.

    Args:
        train: The column of labels.
        name: Of the column.
        where: How messages call the table.

    Raises:
        TaskError: A label is missing, all are the same, or they are no classes but measured numbers.
    """
    column = _column.of(train)
    _check_labelled(column, name, where)
    if row := column.first(_fraction):
        value = column.at(row - 1)
        raise TaskError(f"data {where}, column {name!r}: row {row} is {value!r}; a class is needed, no measure")
    found = sorted(column.given(), key=sorting)
    if len(found) < 2:
        raise TaskError(f"data {where}, column {name!r}: every row is {found[0]!r}; a task needs two classes or more")
    if len(found) > max(2, len(column) // 2):
        raise TaskError(f"data {where}, column {name!r}: {len(found)} labels in {len(column)} rows; are they classes?")
    return tuple(found)


def grouping(train: Values, *, category: bool = False, bands: int = 0) -> Grouping:
    """Return how a column makes groups: by its values, or where it has many numbers by the quartiles of train.

    Args:
        train: The column.
        category: True where it is one although its values read as numbers.
        bands: How many bands of equal size numbers are cut into, however few there are; 0 for quarters of many.
    """
    column = _column.of(train)
    numbers = None if category else column.numbers()
    if numbers is None or (not bands and len(column.given()) <= 2 * _BANDS):
        return tuple(sorted(column.given(), key=sorting))
    told, parts = numbers[~np.isnan(numbers)], bands or _BANDS
    return tuple(float(cut) for cut in np.unique(np.quantile(told, np.arange(1, parts) / parts)))


def groups(column: Values, how: Grouping) -> tuple[Tensor, tuple[str, ...]]:
    """Return the group of every row, ``(N,)``, -1 where the value is missing or train never has it, and their names.

    Args:
        column: Values.
        how: From `grouping`.
    """
    if how and isinstance(how[0], float):
        return banded(column, [float(cut) for cut in how])
    index = {word: i for i, word in enumerate(how)}
    codes = _column.of(column).each(lambda value: index.get(value, -1), np.int64)
    return torch.from_numpy(codes), tuple(str(word) for word in how)


def banded(column: Values, cuts: Sequence[float]) -> tuple[Tensor, tuple[str, ...]]:
    """Return the band of every number, ``(N,)``, -1 where it is missing, and the names of the bands.

    Args:
        column: Values.
        cuts: Largest value of every band but the last, rising.
    """
    found = _column.of(column)
    values = found.measured if found.measured is not None else found.each(number, np.float64)  # NaN where it is none
    codes = np.where(np.isnan(values), -1, np.searchsorted(np.asarray(cuts), values, side="left"))
    ends = [f"{cut:g}" for cut in cuts]
    middle = [f"over {low} to {high}" for low, high in zip(ends[:-1], ends[1:], strict=True)]
    return torch.from_numpy(codes), (f"to {ends[0]}", *middle, f"over {ends[-1]}")


def _fraction(value: str) -> bool:
    found = number(value)
    return found is not None and not found.is_integer()


def sorting(value: str) -> tuple[bool, float, str]:
    """Return what values are sorted by: numbers in order of size, then others of the alphabet.

    Args:
        value: A text.
    """
    found = number(value)
    return (found is None, found or 0.0, value)


def _index(column: Column, code: Words) -> NDArray[np.int64]:
    """Return the place of every category: -1 where the value is missing, -2 where train never has it."""
    place = {word: i for i, word in enumerate(code.known)}
    return column.each(lambda value: place.get(value, -1 if missing(value) else _UNSEEN), np.int64)


def _scaled(column: Column, code: Numbers, where: str, *, raw: bool) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    absent, values = column.absent(), column.numbers()
    if values is None and not absent.all():
        row = column.first(lambda value: not missing(value) and number(value) is None)
        raise TaskError(f"data {where}: row {row} is no number, as every value of train is")
    told = np.zeros(len(column)) if values is None else values
    return np.where(absent, code.mean if raw else 0.0, told if raw else (told - code.mean) / code.deviation), absent
