"""Which groups a user asks for, ``sex,race,age:25,40,60,sex*race``, and which each row of a table is in.

A column stands for its values; ``age:25,40,60`` for bands of numbers, each up to and with its cut; ``age:q4`` for four
bands that are equally large in train. Names joined by ``*`` intersect. A value is a group wherever it occurs, in train
or not: whoever training never saw may be the one who is harmed. -1 is a missing value, a part of its own in reports.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from whatelse.datasets import _column, _table
from whatelse.datasets._column import Column
from whatelse.errors import TaskError, nearest

AND = " x "  # as the fairness items name an intersection's groups
_FEW = 8  # Groups that a handful of rows may have.
_QUANTILES = re.compile(r"q([1-9]\d?)")
HELP = "such as sex,race,age:25,40,60,age:q4,sex*race"


@dataclass(frozen=True)
class Part:
    """One column of a grouping: its values, bands between cuts, or bands of equal size.

    Attributes:
        column: Its name.
        cuts: Where its numbers are cut, rising; empty where they are not given.
        bands: Number of bands of equal size; 0 where they are not asked for.
    """

    column: str
    cuts: tuple[float, ...] = ()
    bands: int = 0


Grouping = tuple[Part, ...]


def parse(text: str, names: Sequence[str], where: str) -> dict[str, Grouping]:
    """Return the groupings of a text, by their names.

    Args:
        text: As the user gives it.
        names: Of the columns that there are.
        where: How messages call the data.

    Raises:
        TaskError: A column is not there, cuts do not rise, or a grouping stands twice.
    """
    found: dict[str, Grouping] = {}
    for word in _words(text, names):
        parts = tuple(_part(one.strip(), names, where) for one in ([word] if word in names else word.split("*")))
        name = "*".join(part.column for part in parts)
        if name in found:
            raise TaskError(f"data {where}: groups: {name!r} stands twice; name each grouping once")
        found[name] = parts
    return found


def _words(text: str, names: Sequence[str]) -> list[str]:
    """Return the groupings of a text: a number after a comma is one more cut of what stands before it."""
    found: list[str] = []
    for word in (one.strip() for one in text.split(",")):
        if found and ":" in found[-1] and _column.number(word) is not None and word not in names:
            found[-1] += f",{word}"
        elif word:
            found.append(word)
    return found


def _part(word: str, names: Sequence[str], where: str) -> Part:
    name, _, told = (word, "", "") if word in names else word.partition(":")
    name = name.strip()
    if name not in names:
        raise TaskError(f"data {where}: groups: no column {name!r}; {nearest(name, names)}")
    if not told:
        return Part(name)
    if quantiles := _QUANTILES.fullmatch(told.strip()):
        return Part(name, bands=int(quantiles[1]))
    cuts = [_column.number(one) for one in told.split(",")]
    given = tuple(cut for cut in cuts if cut is not None)
    if len(given) < len(cuts) or list(given) != sorted(set(given)):
        raise TaskError(
            f"data {where}: groups: {word!r}; rising numbers such as {name}:25,40,60 or quantiles such as {name}:q4 "
            "are needed"
        )
    return Part(name, given)


def learn(
    asked: Mapping[str, Grouping],
    train: Mapping[str, Column],
    files: Sequence[Mapping[str, Column]],
    categories: Sequence[str],
    where: str,
) -> dict[Part, _table.Grouping]:
    """Return how every column that is asked for makes groups.

    Args:
        asked: From `parse`.
        train: Its rows alone decide where quantiles lie.
        files: All rows of the data: what occurs in one of them is a group.
        categories: Columns that are categories although their values read as numbers.
        where: How messages call the data.

    Raises:
        TaskError: Bands are asked for of what is no numbers, a band is empty, or nearly every row is a group.
    """
    parts = dict.fromkeys(part for grouping in asked.values() for part in grouping)
    return {part: _learnt(part, train, files, part.column in categories, where) for part in parts}


def _learnt(
    part: Part,
    train: Mapping[str, Column],
    files: Sequence[Mapping[str, Column]],
    category: bool,
    where: str,  # noqa: FBT001
) -> _table.Grouping:
    name = part.column
    columns = [file[name] for file in files]
    if (part.cuts or part.bands) and any(c.numbers() is None for c in columns if len(c)):
        raise TaskError(f"data {where}: groups: {name!r} holds values that are no numbers; leave its cuts out")
    if part.cuts:
        _check_bands(part, columns, where)
        return part.cuts
    how = _table.grouping(train[name], category=category, bands=part.bands)
    if how and isinstance(how[0], float):
        return how
    rows = sum(map(len, columns))
    found = sorted({value for column in columns for value in column.given()}, key=_table.sorting)
    if len(found) > max(_FEW, len(train[name]) // 2):
        raise TaskError(
            f"data {where}: groups: column {name!r} has {len(found)} different values in {rows} rows; "
            f"they make no groups; of numbers say bands, such as {name}:q4"
        )
    if not found:
        raise TaskError(f"data {where}: groups: every value of column {name!r} is missing; leave it out")
    return tuple(found)


def _check_bands(part: Part, columns: Sequence[Column], where: str) -> None:
    """Refuse a band that no row is in: nothing can be said about it.

    Raises:
        TaskError: There is one.
    """
    names = _table.banded([], part.cuts)[1]
    seen = {code for column in columns for code in torch.unique(_table.banded(column, part.cuts)[0]).tolist()}
    empty = next((name for code, name in enumerate(names) if code not in seen), None)
    if empty is not None:
        raise TaskError(f"data {where}: groups: no row has a {part.column!r} {empty}; leave that cut out")


def codes(
    file: Mapping[str, Column], asked: Grouping, how: Mapping[Part, _table.Grouping]
) -> tuple[Tensor, tuple[str, ...]]:
    """Return the group of every row, ``(N,)``, -1 where a value is missing, and the names of the groups.

    Args:
        file: Columns by name.
        asked: One grouping.
        how: From `learn`.
    """
    told = [_table.groups(file[part.column], how[part]) for part in asked]
    found, names = told[0]
    for more, others in told[1:]:
        found = torch.where((found < 0) | (more < 0), -1, found * len(others) + more)
        names = tuple(AND.join(pair) for pair in itertools.product(names, others))
    return found, names
