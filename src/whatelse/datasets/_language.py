"""Passages as a task: groups, clusters and the cut, whichever loader read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from whatelse.datasets import _column, _cut, _groups, _read, _tabular
from whatelse.datasets._column import Column
from whatelse.errors import TaskError
from whatelse.tasks.evals import GRADES
from whatelse.tasks.language import GRADED, PAIRS, Language, Passage
from whatelse.tasks.task import Split, Task


class Cut(Protocol):
    """Settings of how passages are grouped and cut, of whichever loader."""

    @property
    def groups(self) -> str:
        """Columns that make groups."""

    @property
    def cluster(self) -> str:
        """The column of what belongs together."""

    @property
    def select(self) -> float:
        """Share held back for choices."""

    @property
    def limit(self) -> int:
        """Largest number of examples of each split."""

    @property
    def context(self) -> int:
        """Tokens that a model reads at once at most."""


def task(
    name: str, told: tuple[str, list[Passage], list[int]], rows: Sequence[dict[str, object]], config: Cut, where: str
) -> Task:
    """Return passages as a task.

    Args:
        name: Of the task.
        told: The form of all passages, the passages, and which continuation of each is right.
        rows: What each was made of: columns of groups and clusters.
        config: How they are grouped and cut.
        where: How messages call the data.

    Raises:
        TaskError: A column is not there, or a value makes no sense; its row is named.
    """
    form, passages, right = told
    groups, names = _grouped(rows, config.groups, where)
    owners = _owners(rows, config.cluster, where)
    count = max(len(one.continuations) for one in passages)
    known = dict[Passage, int]()  # equal passages have one number, so that they are seen to be equal
    inputs = torch.tensor([known.setdefault(one, len(known)) for one in passages]).float()[:, None]
    targets = torch.tensor(right)
    whole = Split(inputs, targets, targets, groups, clusters=owners)
    splits = {split: whole.take(picks) for split, picks in _cut_up(owners, config).items()}
    called = {PAIRS: ("stereotype", "anti-stereotype"), GRADED: GRADES}.get(form, ())
    held = Language(form, tuple(known), config.context)
    return Task(name, count, None, splits, names, class_names=called, language=held)


def _grouped(
    rows: Sequence[dict[str, object]], groups: str, where: str
) -> tuple[dict[str, Tensor], dict[str, tuple[str, ...]]]:
    """Return group codes of every row, and the names of the groups."""
    asked = _groups.parse(groups, list(rows[0]), where)
    held = {part.column: _column_of(rows, part.column, where) for parts in asked.values() for part in parts}
    how = _groups.learn(asked, held, [held], (), where)
    coded = {name: _groups.codes(held, parts, how) for name, parts in asked.items()}
    return {name: codes for name, (codes, _) in coded.items()}, {name: names for name, (_, names) in coded.items()}


def _owners(rows: Sequence[dict[str, object]], cluster: str, where: str) -> Tensor:
    """Return to which cluster every row belongs: where none is named, each to its own.

    Raises:
        TaskError: There is no such column, or a row names none.
    """
    if not cluster.strip():
        return torch.arange(len(rows))
    listed = _tabular.listed(cluster)
    if len(listed) > 1 or listed[0] not in rows[0]:
        raise TaskError(f"data {where}: cluster={cluster!r}; one column of {', '.join(map(str, rows[0]))} is needed")
    known = dict[str, int]()
    column = _column_of(rows, listed[0], where)
    if row := column.first(_column.missing):
        raise TaskError(f"data {where}, column {cluster!r}: row {row} is empty; say what it belongs to")
    return torch.tensor([known.setdefault(column.at(i), len(known)) for i in range(len(rows))])


def _column_of(rows: Sequence[dict[str, object]], name: str, where: str) -> Column:
    builder, told = _column.Builder(texts=False), f"data {where}, column {name!r}"
    builder.add([_read.plain(row.get(name), told, at) for at, row in enumerate(rows, 1)], told)
    return builder.finish()


def _cut_up(owners: Tensor, config: Cut) -> dict[str, Tensor]:
    """Return the rows of every split: all of them are of test, but for the share of select, cut by whole clusters.

    Raises:
        TaskError: Nothing would be left.
    """
    kinds = torch.unique(owners)
    held = torch.zeros(len(kinds), dtype=torch.bool)
    held[_cut.shuffled(len(kinds))[: round(config.select * len(kinds))]] = True
    mine = held[torch.searchsorted(kinds, owners)]
    select, test = mine.nonzero().flatten(), (~mine).nonzero().flatten()
    if not len(test):
        raise TaskError(f"data language: select={config.select} of {len(kinds)} examples leaves none for test")
    if config.limit:  # the first of a fixed order, in the order of the file
        select, test = (
            part[_cut.first(_cut.shuffled(len(part)), config.limit).sort().values] for part in (select, test)
        )
    none = torch.empty(0, dtype=torch.int64)
    return {"train": none, "calibration": none, "select": select, "test": test}
