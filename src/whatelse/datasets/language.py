"""What language models are asked: documents, multiple-choice items or pairs of sentences; no row is taken for train.

*Documents*: a .txt file, whose paragraphs are joined into documents of at least ``document`` characters, or rows with a
``text`` (or what ``text`` names) and nothing that could be a class. *Items*: rows with a ``question``, ``choices`` and
an ``answer``: its number from 0, its letter, its label or its text; a choice follows its question after ``delimiter``.
*Pairs*: rows with ``stereotype`` and ``anti_stereotype`` (or ``sent_more`` and ``sent_less``); minimal pairs, with
``sentence_good`` and ``sentence_bad``, are items of two choices and no question, the first of them right. Files are
JSON lines, Parquet, or, of pairs, .csv.

What is drawn are whole examples, or all that ``cluster`` names together. All of them are of test, but for a share
``select`` that a search may look at. Methods that look at data see windows of the text in ``calibration``, and nothing
that is measured. ``context`` is how many tokens a model reads at once at most; by default as many
as it takes.

Source:
    Gao et al., A framework for few-shot language model evaluation (lm-evaluation-harness), Zenodo 2023,
    doi:10.5281/zenodo.10256836: questions, delimiters and lengths; Nangia et al., CrowS-Pairs, EMNLP 2020,
    arXiv:2010.00133, and Warstadt et al., BLiMP, TACL 2020, arXiv:1912.00582: the columns of pairs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from whatelse.datasets import _groups, _language, _passages, _place, _tabular
from whatelse.errors import TaskError, WhatElseError
from whatelse.settings import param
from whatelse.tasks.columns import ColumnSeen
from whatelse.tasks.language import DOCUMENTS, Calibration
from whatelse.tasks.task import Task

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
    calibration: str = param("", "A file of documents that methods look at: .txt, .jsonl, .parquet; none is measured.")
    windows: int = param(128, "Windows of that text that a method sees, drawn at random.", low=2)
    window: int = param(0, "Tokens of a window; 0 for as many as a model reads at once, at most 2,048.", low=0)
    select: float = param(0.0, "Share of examples held back for choices, such as those of a search.", low=0, high=0.9)
    limit: int = param(0, "Largest number of examples of each split; 0 for all.", low=0)


def load(config: Config) -> Task:
    """Return passages as a task.

    Args:
        config: Which file, and what its columns are.

    Raises:
        TaskError: The file cannot be read, a column is not there, or a value makes no sense; its row is named.
        MissingExtraError: It is Parquet, and pyarrow is not installed.
    """
    rows, columns, where = _read_all(config)
    told = _passages.passages(rows, columns, where)
    made = _language.task(Path(config.path).stem, told, rows, config, where)
    assert made.language is not None
    looked_at = Calibration(_calibration(config), config.windows, config.window)
    return replace(made, language=replace(made.language, calibration=looked_at))


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


def _calibration(config: Config) -> tuple[str, ...]:
    """Return the documents that methods look at; none where no file is named.

    Raises:
        TaskError: The file holds something else.
    """
    if not config.calibration:
        return ()
    rows, columns, where = _read_all(replace(config, path=config.calibration, text="", label=""))
    form, passages, _ = _passages.passages(rows, columns, where)
    if form != DOCUMENTS:
        raise TaskError(f"data language: calibration={config.calibration!r} holds {form}; documents are needed")
    return tuple(passage.continuations[0] for passage in passages)


def _read_all(config: Config) -> tuple[list[dict[str, object]], _passages.Columns, str]:
    where = f"language, {Path(config.path).name}"
    if not config.path.lower().endswith((*_passages.ENDINGS, _passages.TEXT)):
        allowed = ", ".join((_passages.TEXT, *_passages.ENDINGS))
        raise TaskError(f"data language: path={config.path!r}; a file that ends in {allowed} is needed")
    columns = _passages.Columns(config.text.strip(), config.label.strip(), config.delimiter, config.document)
    return _passages.rows(_place.shipped(config.path), where, columns), columns, where
