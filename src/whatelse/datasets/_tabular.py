"""Tables as tasks, whatever they were read from: which rows are train, select and test, and what they become."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whatelse import limits
from whatelse.datasets import _bounds, _column, _cut, _groups, _table, _texts
from whatelse.datasets._column import Column
from whatelse.errors import TaskError, nearest
from whatelse.tasks.task import Split, Task

WHOLE, MEMBERS = "", "members"  # names of files beside ``test`` and ``shifted``
SCALES = AUTO, STANDARD, RAW = ("auto", "standard", "none")
SCALE = "Numbers standardized (standard) or as they stand (none); auto: standardized where there are rows of train."
_MANY = 100  # Categories that few rows may have.
_NONE = torch.empty(0, dtype=torch.int64)
File = Mapping[str, Column]


@dataclass(frozen=True)
class Plan:
    """What the columns are, and what becomes of the rows: settings that loaders of tables share.

    Attributes:
        label: The column of classes.
        groups: As `_groups.parse` takes them.
        leave_out: Columns that the model does not see.
        categories: Columns of numbers that are codes.
        cluster: The column of who rows belong to.
        classes: Names of the classes in the order of the model's outputs.
        scale: ``standard``, ``none`` for numbers as they stand in the file, or ``auto`` for the first where rows of
            train decide it, and else the second: who trained elsewhere knows nothing of the rows that are judged.
        split: ``test`` where no row is train.
        test: Share of rows.
        select: Share of rows.
        calibration: Rows of train.
        limit: Rows of each split.
        bounds: Of the inputs.
        text: The column of texts that are the inputs; empty where columns are.
        named: Names of the classes as the data themselves have them, commas and all, where ``classes`` says none.
    """

    label: str
    groups: str
    cluster: str
    classes: str
    split: str
    test: float
    select: float
    calibration: int
    limit: int
    bounds: str = ""
    leave_out: str = ""
    categories: str = ""
    scale: str = AUTO
    text: str = ""
    named: tuple[str, ...] = ()

    @property
    def hidden(self) -> list[str]:
        """Columns that are no inputs."""
        return [self.label, *listed(self.leave_out), *listed(self.cluster)]

    def seen(self, name: str) -> bool:
        """Return whether a column is an input: beside texts none is.

        Args:
            name: Of the column.
        """
        return name == self.text.strip() if self.text else name not in self.hidden

    @classmethod
    def of(cls, config: Any) -> Plan:  # noqa: ANN401 - settings of any loader of such data
        """Return the settings of a loader that are meant here.

        Args:
            config: Has all that have no default here.
        """
        mine, theirs = fields(cls), {f.name for f in fields(config)}
        return cls(**{f.name: getattr(config, f.name) for f in mine if f.name in theirs})

    def skipped(self) -> set[str]:
        """Return columns that nothing asks for: they need not be read, and may hold anything."""
        return {name for name in listed(self.leave_out) if name not in f"{self.groups},{self.cluster},{self.label}"}

    def texts(self) -> set[str]:
        """Return columns that are texts although their values read as numbers."""
        return {self.label, *listed(self.categories), *listed(self.cluster), *listed(self.text)}


def listed(names: str) -> list[str]:
    """Return the names in a setting that lists some.

    Args:
        names: Joined by commas.
    """
    return [name.strip() for name in names.split(",") if name.strip()]


def task(name: str, files: Mapping[str, File], called: Mapping[str, str], plan: Plan) -> Task:
    """Return tables as a task.

    Args:
        name: Of the task.
        files: The first under the name `WHOLE`, others under `MEMBERS`, ``test`` and ``shifted``.
        called: How messages call each file.
        plan: What the columns are.

    Raises:
        TaskError: A column is not there, or a value makes no sense; its row is named.
    """
    check(files, called, plan)
    where = called[WHOLE]
    places = clusters(files, plan, called)
    picked = rows(plan, files, places.get(WHOLE), where)
    train = _train(files, picked, plan)
    how = _learnt(files, train, plan, called)
    _foresee(files, how, where)
    _check_texts(how.coding, train, where)
    raw = bool(plan.text) or plan.scale == RAW or (plan.scale == AUTO and not len(picked["train"][1]))
    coded = {each: _coded(file, how, (plan, called[each]), places.get(each), raw=raw) for each, file in files.items()}
    splits = {split: coded[source].take(picks) for split, (source, picks) in picked.items()}
    splits["calibration"] = splits["train"].take(torch.arange(min(plan.calibration, len(splits["train"]))))
    bounds = _bounds.read(plan.bounds, where)
    _bounds.check(bounds, splits, where)
    names = {name: _groups.codes(_table.take(train, _NONE), parts, how.parts)[1] for name, parts in how.groups.items()}
    columns, units = _table.features(how.coding), () if raw else _table.units(how.coding)
    size, words = (_texts.SIZE, _texts.words(how.words, _texts.SIZE)) if plan.text else (0, ())
    made = Task(name, len(how.known), bounds, splits, names, columns, class_names=how.known, units=units)
    return replace(made, vocabulary=size, words=words)


@dataclass(frozen=True)
class _How:
    """What columns become.

    Attributes:
        coding: Of inputs.
        groups: What was asked for.
        parts: How each column of them makes groups.
        known: The classes.
        words: The id of every known word, where inputs are texts.
    """

    coding: _table.Coding
    groups: Mapping[str, _groups.Grouping]
    parts: Mapping[_groups.Part, _table.Grouping]
    known: tuple[str, ...]
    words: Mapping[str, int]


def check(files: Mapping[str, File], called: Mapping[str, str], plan: Plan) -> None:
    """Refuse settings that name no column, and files that lack one.

    Args:
        files: As `task` takes them.
        called: Likewise.
        plan: What the columns are.

    Raises:
        TaskError: A column is not there; the nearest names are offered.
    """
    whole = files[WHOLE]
    asked = [("label", "target", [plan.label]), ("cluster", "cluster", listed(plan.cluster))]
    asked += [("text", "text", [plan.text.strip()])] if plan.text else []
    asked += [(s, s, listed(getattr(plan, s))) for s in ("leave_out", "categories")]
    for setting, option, names in asked:
        for name in names:
            if name not in whole:
                say = f" (--{option})" if option != setting else ""
                raise TaskError(f"data {called[WHOLE]}: {setting}: no column {name!r}; {nearest(name, whole)}{say}")
    for each, file in files.items():
        for name in whole:
            if name not in file:
                raise TaskError(f"data {called[each]}: no column {name!r}, which the first file has")


def _learnt(files: Mapping[str, File], train: File, plan: Plan, called: Mapping[str, str]) -> _How:
    """Return how columns are coded, as train decides; classes come in the order that is asked for.

    Raises:
        TaskError: No column is left, or a value makes no sense.
    """
    whole, where, categories = files[WHOLE], called[WHOLE], listed(plan.categories)
    seen = [column for column in whole if plan.seen(column)]
    if not seen:
        raise TaskError(f"data {where}: no column is left for the model to see")
    first = MEMBERS if MEMBERS in files else WHOLE
    known = (
        tuple(listed(plan.classes)) or plan.named or _table.classes(files[first][plan.label], plan.label, called[first])
    )
    check_classes(known, plan, where)
    given = whole[plan.label].given()
    if len(given) == 1:
        raise TaskError(f"data {where}, column {plan.label!r}: every row is {given[0]!r}; a task needs two classes")
    for each in (WHOLE, *([MEMBERS] if MEMBERS in files else [])):
        measured = [] if plan.text else [column for column in seen if column not in categories]
        _table.check_numbers(files[each], measured, called[each])
    coding = {} if plan.text else _table.learn(train, seen, categories)
    words = _texts.vocabulary([_texts.parted(line) for line in _lines(train, plan)], _texts.SIZE)
    asked = _groups.parse(plan.groups, list(whole), where)
    return _How(coding, asked, _groups.learn(asked, train, list(files.values()), categories, where), known, words)


def check_classes(known: Sequence[str], plan: Plan, where: str) -> None:
    """Refuse classes that are none.

    Args:
        known: Their names.
        plan: Says what was asked for.
        where: How messages call the data.

    Raises:
        TaskError: There are fewer than two, or one stands twice.
    """
    if len(known) < 2 or len(set(known)) < len(known):  # noqa: PLR2004 - two classes
        got = plan.classes or ", ".join(known)
        raise TaskError(f"data {where}: classes={got!r}; two names or more are needed, each once (--classes)")


def _train(files: Mapping[str, File], rows: Mapping[str, tuple[str, Tensor]], plan: Plan) -> File:
    """Return the rows that decide scales and categories: train, or all rows where there are none of it.

    Of members it is all of them, however few are asked: a model was trained on columns that no limit moves.
    """
    source, picks = rows["train"]
    return files[source] if plan.split or source == MEMBERS else _table.take(files[source], picks)


def _foresee(files: Mapping[str, File], how: _How, where: str) -> None:
    """Refuse, before they are made, inputs of more memory than is allowed: a category a row is a column a row."""
    rows, coding = sum(len(next(iter(file.values()))) for file in files.values()), how.coding
    if not coding:
        limits.check(2 * 4 * rows * _texts.LENGTH, 0, f"data {where}: {rows} texts of {_texts.LENGTH} ids", TaskError)
        return
    width = len(_table.features(coding))
    widest = max((name for name in coding), key=lambda name: len(_table.features({name: coding[name]})), default="")
    many = len(_table.features({widest: coding[widest]}))
    most = f", column {widest!r} with {many} categories" if many > 1 else ""
    limits.check(2 * 4 * rows * width, 0, f"data {where}{most}: {rows} rows of {width} inputs", TaskError)


def _check_texts(coding: _table.Coding, train: File, where: str) -> None:
    """Refuse a column of names or sentences: a column for each of them says nothing of other rows.

    Raises:
        TaskError: There is one.
    """
    for name, code in coding.items():
        if isinstance(code, _table.Words) and len(code.known) > max(_MANY, len(train[name]) // 2):
            raise TaskError(
                f"data {where}, column {name!r}: {len(code.known)} different texts in {len(train[name])} rows are no "
                f"categories; numbers or categories are needed; leave it out (leave_out={name!r})"
            )


def _coded(file: File, how: _How, asked: tuple[Plan, str], places: Tensor | None, *, raw: bool) -> Split:
    """Return all rows of a file, in its order, so that messages name the right row."""
    plan, where = asked
    lines, unseen = _lines(file, plan), dict[str, int]()
    if plan.text:
        _check_lines(lines, plan, where)
        inputs = _texts.ids([_texts.parted(line) for line in lines], how.words, _texts.LENGTH)
    else:
        inputs, unseen = _table.encode(file, how.coding, where, raw=raw)
    for column, count in unseen.items():
        total = len(inputs)
        warnings.warn(f"data {where}: {count} of {total} rows have a {column!r} that train has not", stacklevel=4)
    targets = _table.labels(file, plan.label, how.known, where, given=bool(plan.classes or plan.named))
    groups = {name: _groups.codes(file, parts, how.parts)[0] for name, parts in how.groups.items()}
    return Split(inputs, targets, targets, groups, clusters=places, texts=tuple(lines) if plan.text else None)


def _check_lines(lines: Sequence[str], plan: Plan, where: str) -> None:
    """Refuse a row without words.

    Raises:
        TaskError: There is one.
    """
    row = next((i for i, line in enumerate(lines, 1) if not line.strip()), 0)
    if row:
        raise TaskError(f"data {where}, column {plan.text!r}: row {row} has no text; leave such rows out")


def _lines(file: File, plan: Plan) -> list[str]:
    """Return the texts of the rows; none where columns are the inputs."""
    return list(_column.of(file[plan.text.strip()]).each(str, object)) if plan.text else []


def clusters(files: Mapping[str, File], plan: Plan, called: Mapping[str, str]) -> dict[str, Tensor]:
    """Return to whom the rows of every file belong, the same number for the same name in all of them.

    Args:
        files: As `task` takes them.
        plan: Names the column.
        called: How messages call each file.

    Raises:
        TaskError: Several columns are named, or a row belongs to nobody.
    """
    if not listed(plan.cluster):
        return {}
    if len(listed(plan.cluster)) > 1:
        raise TaskError(f"data {called[WHOLE]}: cluster={plan.cluster!r}; one column is needed")
    found, known = {}, dict[str, int]()
    for each, file in files.items():
        column = file[listed(plan.cluster)[0]]
        if row := column.first(_column.missing):
            raise TaskError(f"data {called[each]}, column {plan.cluster!r}: row {row} is empty; say who it belongs to")
        found[each] = torch.from_numpy(column.each(lambda value: known.setdefault(value, len(known)), np.int64))
    return found


def rows(plan: Plan, files: Mapping[str, File], places: Tensor | None, where: str) -> dict[str, tuple[str, Tensor]]:
    """Return of every split the file that it is in, and its rows.

    Args:
        plan: Which shares.
        files: As `task` takes them, and ``select`` where it is given.
        places: To whom the rows of the first belong, or None.
        where: How messages call the data.

    Raises:
        TaskError: There are too few.
    """
    order, found = _ordered(len(files[WHOLE][plan.label]), places), {}
    alone = MEMBERS not in files and plan.split == ""
    if "test" not in files and alone:
        held, order = _held(order, plan.test, places)
        found["test"] = (WHOLE, _cut.first(held, plan.limit))
    select, rest = (_NONE, order) if "select" in files else _held(order, plan.select, places)
    found["select"] = (WHOLE, _cut.first(select, plan.limit))
    if alone:
        found["train"] = (WHOLE, _cut.first(rest, plan.limit))
    else:
        found["test"] = (WHOLE, _cut.first(rest, plan.limit))
        found["train"] = (WHOLE, _NONE)
    if not len(rest):
        parts = "train, select and test" if alone else "select and test"
        owners = "" if places is None else f" in {len(torch.unique(places))} clusters"
        raise TaskError(f"data {where}: {len(files[WHOLE][plan.label])} rows{owners} are too few for {parts}")
    for each, split in ((MEMBERS, "train"), ("select", "select"), ("test", "test"), ("shifted", "shifted")):
        if each in files:
            every = _cut.shuffled(len(files[each][plan.label]))
            found[split] = (each, _cut.first(every, plan.limit))
    return found


def _ordered(count: int, places: Tensor | None) -> Tensor:
    """Return the fixed order of rows; those of one person stand together, where the first of them stands."""
    order = _cut.shuffled(count)
    if places is None:
        return order
    first = torch.full((int(places.max()) + 1,), count)
    first.scatter_reduce_(0, places[order], torch.arange(count), "amin")
    return order[torch.argsort(first[places[order]], stable=True)]


def _held(order: Tensor, share: float, places: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return a share of an order, and the rest; nobody's rows are on both sides."""
    held, _ = _cut.held_back(order, share, 0)
    if places is None or not len(held):
        return held, order[len(held) :]
    owners = places[order]
    count = int((owners[: len(held)] != owners[len(held) - 1]).sum()) + int((owners == owners[len(held) - 1]).sum())
    return order[:count], order[count:]
