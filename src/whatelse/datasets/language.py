"""What language models are asked: documents, multiple-choice items or pairs of sentences; no row is taken for train.

*Documents*: a .txt file, whose paragraphs are joined into documents of at least ``document`` characters, or rows with a
``text`` (or what ``text`` names) and nothing that could be a class. *Items*: rows with a ``question``, ``choices`` and
an ``answer``: its number from 0, its letter, its label or its text; a choice follows its question after ``delimiter``.
*Pairs*: rows with ``stereotype`` and ``anti_stereotype`` (or ``sent_more`` and ``sent_less``); minimal pairs, with
``sentence_good`` and ``sentence_bad``, are items of two choices and no question, the first of them right. Files are
JSON lines, Parquet, or, of pairs, .csv.

What is drawn are whole examples, or all that ``cluster`` names together. All of them are of test, but for a share
``select`` that a search may look at. ``context`` is how many tokens a model reads at once at most; by default as many
as it takes.

Source:
    Gao et al., A framework for few-shot language model evaluation (lm-evaluation-harness), Zenodo 2023,
    doi:10.5281/zenodo.10256836: questions, delimiters and lengths; Nangia et al., CrowS-Pairs, EMNLP 2020,
    arXiv:2010.00133, and Warstadt et al., BLiMP, TACL 2020, arXiv:1912.00582: the columns of pairs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from whatelse.datasets import _column, _cut, _groups, _passages, _read, _tabular
from whatelse.datasets._column import Column
from whatelse.errors import TaskError, WhatElseError
from whatelse.settings import param
from whatelse.tasks.columns import ColumnSeen
from whatelse.tasks.language import PAIRS, Language, Passage
from whatelse.tasks.task import Split, Task

VERSION = 1
SUFFIXES = (".txt",)


@dataclass(frozen=True)
class Config:
    """Settings of what language models are asked."""

    path: str = param("", "The file: .txt, .jsonl, .parquet, or .csv of pairs; text is UTF-8.")
    text: str = param("", "The column of documents or questions; empty for text, question, ...")
    label: str = param("", "The column of answers; empty for answer, answerKey, label, ...", option="target")
    groups: str = param("", f"Columns that make groups, {_groups.HELP}.")
    cluster: str = param("", "The column that says which examples belong together; empty for each alone.")
    split: str = param("", "test, as nothing is taken for train anyway.", choices=("", "test"))
    delimiter: str = param(" ", "What parts a question from a choice.")
    document: int = param(2000, "Characters of a document of plain text, at least; 0 for the whole file.", low=0)
    context: int = param(0, "Tokens that a model reads at once at most; 0 for as many as it takes.", low=0)
    select: float = param(0.0, "Share of examples held back for choices, such as those of a search.", low=0, high=0.9)
    limit: int = param(0, "Largest number of examples of each split; 0 for all.", low=0)


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


def load(config: Config) -> Task:
    """Return passages as a task.

    Args:
        config: Which file, and what its columns are.

    Raises:
        TaskError: The file cannot be read, a column is not there, or a value makes no sense; its row is named.
        MissingExtraError: It is Parquet, and pyarrow is not installed.
    """
    rows, columns, where = _read_all(config)
    return task(Path(config.path).stem, _passages.passages(rows, columns, where), rows, config, where)


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
    called = ("stereotype", "anti-stereotype") if form == PAIRS else ()
    held = Language(form, tuple(known), config.context)
    return Task(name, count, None, splits, names, class_names=called, language=held)


def takes(text: str) -> bool:
    """Return whether a text names a file whose first row is a passage.

    Args:
        text: What a user types.
    """
    if not text.lower().endswith(_passages.ENDINGS) or not os.path.isfile(text):
        return False
    try:
        return bool(_passages.form_of(_passages.rows(Path(text), text, _passages.Columns(), most=1)[0]))
    except WhatElseError:  # whoever opens it says what is wrong with it
        return False


def describe(config: Config) -> tuple[ColumnSeen, ...]:
    """Return what the columns hold.

    Args:
        config: Which file, and what its columns are.

    Raises:
        TaskError: As `load`.
        MissingExtraError: Likewise.
    """
    rows, columns, where = _read_all(config)
    _passages.passages(rows, columns, where)
    asked = _groups.parse(config.groups, list(rows[0]), where)
    roles = {**_passages.roles(rows[0], columns), **{name: "cluster" for name in _tabular.listed(config.cluster)}}
    roles |= {part.column: "group" for parts in asked.values() for part in parts}
    found = []
    for name in dict.fromkeys(name for row in rows for name in row):
        held = [row.get(name) for row in rows]
        missing = sum(one is None or one == "" for one in held)
        distinct = len({repr(one) for one in held if one is not None and one != ""})
        kind = "a list" if any(isinstance(one, list | dict) for one in held) else "one each"
        found.append(ColumnSeen(str(name), kind, roles.get(name, "not read"), distinct, missing))
    return tuple(found)


def _read_all(config: Config) -> tuple[list[dict[str, object]], _passages.Columns, str]:
    where = f"language, {Path(config.path).name}"
    if not config.path.lower().endswith((*_passages.ENDINGS, _passages.TEXT)):
        allowed = ", ".join((_passages.TEXT, *_passages.ENDINGS))
        raise TaskError(f"data language: path={config.path!r}; a file that ends in {allowed} is needed")
    columns = _passages.Columns(config.text.strip(), config.label.strip(), config.delimiter, config.document)
    return _passages.rows(Path(config.path), where, columns), columns, where


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
