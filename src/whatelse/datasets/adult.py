"""Adult: does a person earn over 50,000 dollars a year, by the census of 1994; 48,842 people, 14 columns.

The official test file is test (16,281 rows), the official train file (32,561) is shuffled once and for all; its first
tenth is select, the rest train. Numbers are standardized and categories have a column each, as train alone decides;
``?`` is a category of its own, ``unknown``. ``task.features`` names the columns. Groupings, whether or not the model
sees their columns: ``sex``, ``race`` and ``age`` in four bands; none is missing. Inputs have no bounds.

``fnlwgt``, the number of people that a row stands for, says nothing about the person and is left out; ``leave_out``
with ``sex,race,age`` gives a model that is blind to them.

The data lies in the folder ``adult`` inside the one that the environment variable WHATELSE_DATA names, as
``adult.data`` and ``adult.test`` of UCI; where it is not set, scikit-learn fetches it from OpenML (Adult, version 2).

Source:
    Becker & Kohavi, Adult, UCI 1996, doi:10.24432/C5XW20 (CC BY 4.0); Kohavi, Scaling up the accuracy of naive-Bayes
    classifiers: a decision-tree hybrid, KDD 1996. What it is good for in studies of fairness: Ding et al., Retiring
    Adult, NeurIPS 2021, arXiv:2108.04884.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from whatelse.datasets import _cut, _place, _table
from whatelse.errors import TaskError
from whatelse.settings import param
from whatelse.tasks.task import Split, Task

VERSION = 1
FILES = ("adult.data", "adult.test")
COLUMNS = (
    *("age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship"),
    *("race", "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income"),
)
_LABELS = ("<=50K", ">50K")
_AGES = (25.0, 40.0, 60.0)
# OpenML has both files one after the other. By these numbers of rows, and of rows over 50,000, we know which is which.
_TRAIN, _TEST = (32_561, 7_841), (16_281, 3_846)


@dataclass(frozen=True)
class Config:
    """Settings of Adult."""

    leave_out: str = param("fnlwgt", "Columns that the model does not see, joined by commas.")
    select: float = param(0.1, "Share of the official train file held back for choices.", low=0.01, high=0.9)
    calibration: int = param(256, "Rows of train that set the scales of quantization.", low=2)
    limit: int = param(0, "Largest number of rows of train and of select; 0 for all.", low=0)
    limit_test: int = param(0, "Largest number of rows of test; 0 for all.", low=0)


def load(config: Config) -> Task:
    """Return Adult as a task.

    Args:
        config: How many rows, and which columns.

    Raises:
        TaskError: The data is not where it should be, is not this data, or a column has no such name.
        MissingExtraError: It has to be fetched, and scikit-learn or pandas is not installed.
    """
    train, test = _files()
    hidden = [name.strip() for name in config.leave_out.split(",") if name.strip()]
    for name in hidden:
        if name not in COLUMNS[:-1]:
            raise TaskError(f"data adult: leave_out: no column {name!r}; there are {', '.join(COLUMNS[:-1])}")
    order = _cut.shuffled(len(train["income"]))
    select, members = _cut.held_back(order, config.select, config.limit)
    tables = {
        "train": _table.take(train, members),
        "select": _table.take(train, select),
        "test": _table.take(test, _cut.first(_cut.shuffled(len(test["income"])), config.limit_test)),
    }
    coding = _table.learn(tables["train"], [name for name in COLUMNS[:-1] if name not in hidden])
    names = {name: _table.grouping(train[name]) for name in ("sex", "race")}
    splits = {name: _split(table, coding, names) for name, table in tables.items()}
    found = splits["train"]
    splits["calibration"] = found.take(torch.arange(min(config.calibration, len(found))))
    group_names = {name: tuple(str(word) for word in how) for name, how in names.items()}
    group_names["age"] = _table.banded([], _AGES)[1]
    return Task("adult", 2, None, splits, group_names, _table.features(coding))


def _split(table: _table.Columns, coding: _table.Coding, names: dict[str, _table.Grouping]) -> Split:
    inputs, _ = _table.encode(table, coding, "adult")  # the few countries that train has not are unknown
    targets = _table.labels(table, "income", _LABELS, "adult")
    groups: dict[str, Tensor] = {name: _table.groups(table[name], how)[0] for name, how in names.items()}
    groups["age"] = _table.banded(table["age"], _AGES)[0]
    return Split(inputs, targets, targets, groups)


def _files() -> tuple[_table.Columns, _table.Columns]:
    place = _place.folder("adult", FILES)
    if place is None:
        return _fetched()
    train, test = (_read(place / file) for file in FILES)
    return train, test


def _read(path: Path) -> _table.Columns:
    # UCI's own files have no header, and one of them a remark on top.
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file, skipinitialspace=True) if row and not row[0].startswith("|")]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TaskError(f"data adult: {path}: {getattr(error, 'strerror', None) or error}") from error
    if rows and rows[0][0].strip() == COLUMNS[0]:
        rows = rows[1:]
    found = _table.columns(COLUMNS, rows, f"adult, {path.name}")
    # Labels of the test file end with a dot.
    return {**found, "income": [value.rstrip(".") for value in found["income"]]}


def _fetched() -> tuple[_table.Columns, _table.Columns]:
    frame = _place.openml("adult", "adult", 2, as_frame=True).frame
    names = [*COLUMNS[:-1], "class"]
    if set(frame.columns) != set(names):
        raise TaskError(f"data adult: OpenML gives the columns {', '.join(map(str, frame.columns))}; not this data")
    # Whole numbers may come as 39.0; categories that are missing come as NaN, which counts as missing.
    rows = zip(*(map(_text, frame[name].tolist()) for name in names), strict=True)
    whole = _table.columns(COLUMNS, rows, "adult, OpenML")
    rich = torch.tensor([value == _LABELS[1] for value in whole["income"]])
    every = torch.arange(len(rich))
    for first, last in ((_TEST, _TRAIN), (_TRAIN, _TEST)):
        sizes = (first[0], int(rich[: first[0]].sum()), len(rich) - first[0], int(rich[first[0] :].sum()))
        if sizes == (*first, *last):
            parts = (every[: first[0]], every[first[0] :])
            train, test = parts if first is _TRAIN else parts[::-1]
            return _table.take(whole, train), _table.take(whole, test)
    raise TaskError("data adult: OpenML gives other rows than UCI's two files; set WHATELSE_DATA to a folder with them")


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
