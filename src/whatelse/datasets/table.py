"""A table of one's own: a CSV file with a header, one column of which is the class.

The rows are shuffled once and for all and cut into the shares ``test`` and ``select`` and the rest, train; or ``test``
is a file of its own (``test_path``). Numbers are standardized and categories have a column each, as train alone
decides. Empty, ``?``, ``NA``, ``N/A``, ``NaN`` and ``null`` are missing: such values are a column ``unknown`` where
train lacks some. A category that train never has is unknown too, or zero in all columns; a warning counts them.

``groups`` names columns whose values are groups of people or things: as they are, or, where a column has more than
eight numbers, the quarters of train. Where the value is missing, or train never has it, the group is -1: in no group.
Columns of groups are inputs too, unless ``leave_out`` names them. ``shifted`` is a second file of the same columns, of
another year or place: the split ``shifted``, never seen by any choice. Rows are counted from 1, below the header.
Inputs have no bounds.

Source:
    Shafranovich, Common format and MIME type for CSV files, RFC 4180, 2005.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from whatelse import limits
from whatelse.datasets import _cut, _table
from whatelse.errors import TaskError, nearest
from whatelse.settings import param
from whatelse.tasks.task import Split, Task

VERSION = 1
_LIST = ", joined by commas."
_FEW = 8  # Groups that a handful of rows may have.


@dataclass(frozen=True)
class Config:
    """Settings of a table."""

    path: str = param("", "The file: .csv, or .tsv with tabs; UTF-8, names of columns on the first line.")
    label: str = param("", "The column that holds the class.")
    groups: str = param("", "Columns that make groups" + _LIST)
    leave_out: str = param("", "Columns that the model does not see, such as numbers of rows" + _LIST)
    categories: str = param("", "Columns of numbers that are codes of categories" + _LIST)
    test_path: str = param("", "A file with the rows of test; empty to cut them from the first.")
    shifted: str = param("", "A file with rows of another year or place, for the split shifted.")
    test: float = param(0.3, "Share of rows held back for verdicts; not with test_path.", low=0.01, high=0.9)
    select: float = param(0.1, "Share of the other rows held back for choices.", low=0.01, high=0.9)
    calibration: int = param(256, "Rows of train that set the scales of quantization.", low=2)
    limit: int = param(0, "Largest number of rows of each split; 0 for all.", low=0)


def load(config: Config) -> Task:
    """Return a table as a task.

    Args:
        config: Which files, and what their columns are.

    Raises:
        TaskError: A file cannot be read, a column is not there, or a value makes no sense; its row is named.
    """
    files = _files(config)
    whole = files[""]
    where = _where(config.path)
    rows = _rows(config, len(whole[config.label]), where)
    known = _table.classes(whole[config.label], config.label, where)
    hidden, categories = [config.label, *_listed(config.leave_out)], _listed(config.categories)
    seen = [name for name in whole if name not in hidden]
    if not seen:
        raise TaskError(f"data {where}: no column is left for the model to see")
    _table.check_numbers(whole, [name for name in seen if name not in categories], where)
    train = _table.take(whole, rows["train"])
    coding = _table.learn(train, seen, categories)
    _foresee(files, coding, where)
    groupings = {n: _grouping(train[n], n, where, category=n in categories) for n in _listed(config.groups)}
    how = (coding, groupings, known)
    coded = {name: _coded(file, config, how, name or config.path) for name, file in files.items()}
    splits = {name: coded[""].take(picks) for name, picks in rows.items()}
    for name in set(files) - {""}:
        splits[name] = coded[name].take(_cut.first(_cut.shuffled(len(coded[name])), config.limit))
    splits["calibration"] = splits["train"].take(torch.arange(min(config.calibration, len(rows["train"]))))
    group_names = {n: _table.groups([], how)[1] for n, how in groupings.items()}
    return Task(Path(config.path).stem, len(known), None, splits, group_names, _table.features(coding))


def _foresee(files: dict[str, dict[str, list[str]]], coding: _table.Coding, where: str) -> None:
    """Refuse, before they are made, inputs of more memory than is allowed: a category a row is a column a row."""
    rows = sum(len(next(iter(file.values()))) for file in files.values())
    width = len(_table.features(coding))
    limits.check(2 * 4 * rows * width, 0, f"data {where}: {rows} rows of {width} inputs", TaskError)


def _grouping(values: list[str], name: str, where: str, *, category: bool) -> _table.Grouping:
    """Return how a column makes groups.

    Raises:
        TaskError: Nearly every row would be a group of its own.
    """
    found = _table.grouping(values, category=category)
    if len(found) > max(_FEW, len(values) // 2):
        raise TaskError(
            f"data {where}: groups: column {name!r} has {len(found)} different values in {len(values)} rows of train; "
            "they make no groups"
        )
    return found


def _coded(
    file: _table.Columns,
    config: Config,
    how: tuple[_table.Coding, dict[str, _table.Grouping], tuple[str, ...]],
    name: str,
) -> Split:
    """Return all rows of a file, in its order, so that messages name the right row."""
    coding, groupings, known = how
    where = _where({"test": config.test_path, "shifted": config.shifted}.get(name, name))
    inputs, unseen = _table.encode(file, coding, where)
    for column, count in unseen.items():
        total = len(inputs)
        warnings.warn(f"data {where}: {count} of {total} rows have a {column!r} that train has not", stacklevel=3)
    targets = _table.labels(file, config.label, known, where)
    return Split(inputs, targets, targets, {n: _table.groups(file[n], g)[0] for n, g in groupings.items()})


def _rows(config: Config, count: int, where: str) -> dict[str, Tensor]:
    order, found = _cut.shuffled(count), {}
    if not config.test_path:
        held, order = _cut.held_back(order, config.test, 0)
        found["test"] = _cut.first(held, config.limit)
    select, train = _cut.held_back(order, config.select, config.limit)
    if not len(train):
        raise TaskError(f"data {where}: {count} rows are too few for train, select and test")
    return {"train": train, "select": select, **found}


def _files(config: Config) -> dict[str, dict[str, list[str]]]:
    # The first file has no name here: it has several splits.
    where = _where(config.path)
    whole = _table.read(Path(config.path), where)
    asked = [("label", config.label)]
    asked += [(s, n) for s in ("groups", "leave_out", "categories") for n in _listed(getattr(config, s))]
    for setting, name in asked:
        if name not in whole:
            raise TaskError(f"data {where}: {setting}: no column {name!r}; {nearest(name, whole)}")
    files = {"": whole}
    for split, path in (("test", config.test_path), ("shifted", config.shifted)):
        if path:
            files[split] = found = _table.read(Path(path), _where(path))
            for name in whole:
                if name not in found:
                    raise TaskError(f"data {_where(path)}: no column {name!r}, which the first file has")
    return files


def _where(path: str) -> str:
    return f"table, {Path(path).name}"


def _listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]
