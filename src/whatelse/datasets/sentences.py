"""Sentences of one's own with a label for every word, for models that tag words: named entities, parts of speech.

The file is JSON lines or Parquet; a row has a list of words (``tokens`` or ``words``, or ``text`` names it) and a list
of as many tags (``ner_tags``, ``tags``, ``labels`` and the like, or ``label`` names it). Tags are names, or whole
numbers that ``classes`` or the file itself names. ``classes`` may be the folder of a Hugging Face model: its labels
then, in the order of its outputs. A file whose rows are so is opened by this loader, whatever its name.

Words are the examples; the sentence is what is drawn, cut into splits and counted by ``limit``, or what ``cluster``
names: all sentences of a document, say. A sentence that stands twice is one. ``groups`` are columns with a value for
the sentence, which all its words have, or with a list of one for each word. Numbers are cut as those of tables are.

Inputs are the number of a sentence and the place of a word in it. Only what reads sentences can answer them: a model
with a tokenizer of its own, which reads each sentence once; or scores that were recorded, a row a word in this order.

Source:
    Tjong Kim Sang and De Meulder, Introduction to the CoNLL-2003 shared task, CoNLL 2003, arXiv:cs/0306050, in the
    columns of Lhoest et al., Datasets: a community library for natural language processing, EMNLP 2021,
    arXiv:2109.02846.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from whatelse.datasets import _groups, _read, _sentences, _tabular
from whatelse.errors import TaskError, WhatElseError
from whatelse.settings import param
from whatelse.tasks.columns import ColumnSeen
from whatelse.tasks.task import Task

VERSION = 1
_ENDINGS = (*_read.LINES, *_read.PARQUET)


@dataclass(frozen=True)
class Config:
    """Settings of sentences."""

    path: str = param("", "The file: .jsonl or .parquet; text is UTF-8.")
    text: str = param("", "The column of lists of words; empty for tokens or words.")
    label: str = param("", "The column of lists of tags; empty for ner_tags, tags, labels, ...", option="target")
    groups: str = param("", f"Columns that make groups, {_groups.HELP}.")
    test_path: str = param("", "A file with the sentences of test; empty to cut them from the first.")
    shifted: str = param("", "A file with sentences of another source, for the split shifted.")
    members: str = param(
        "", "A file with sentences that the model was trained on; the first file then has none of them."
    )
    cluster: str = param("", "The column that says which sentences belong together; empty for each alone.")
    split: str = param("", "test where no sentence of the file is train; empty to cut train off.", choices=("", "test"))
    classes: str = param("", "Names of the classes in the order of the outputs, joined by commas; or a model's folder.")
    test: float = param(0.3, "Share of sentences held back for verdicts; not with test_path.", low=0.01, high=0.9)
    select: float = param(0.1, "Share of the other sentences held back for choices.", low=0.01, high=0.9)
    calibration: int = param(256, "Sentences of train that set the scales of quantization.", low=2)
    limit: int = param(0, "Largest number of sentences of each split; 0 for all.", low=0)


def load(config: Config) -> Task:
    """Return sentences as a task of their words.

    Args:
        config: Which files, and what their columns are.

    Raises:
        TaskError: A file cannot be read, a column is not there, or a value makes no sense; its row is named.
        MissingExtraError: It is Parquet, and pyarrow is not installed.
    """
    return _sentences.task(Path(config.path).stem, *_read_all(config))


def takes(text: str) -> bool:
    """Return whether a text names a file whose first row is a sentence with a label a word.

    Args:
        text: What a user types.
    """
    if not text.lower().endswith(_ENDINGS) or not os.path.isfile(text):
        return False
    try:
        return _sentences.looks(_read.rows(Path(text), text, most=1)[0])
    except WhatElseError:  # whoever opens it says what is wrong with it
        return False


def describe(config: Config) -> tuple[ColumnSeen, ...]:
    """Return what the columns hold, over all files.

    Args:
        config: Which files, and what their columns are.

    Raises:
        TaskError: As `load`.
        MissingExtraError: Likewise.
    """
    return _sentences.columns(*_read_all(config))


def _read_all(config: Config) -> tuple[dict[str, list[dict[str, object]]], dict[str, str], _tabular.Plan]:
    if config.test_path and (config.members or config.split):
        where = _where(config.path)
        raise TaskError(f"data {where}: test_path and members or split; the first file is train or test")
    paths = {
        _tabular.WHOLE: config.path,
        _tabular.MEMBERS: config.members,
        "test": config.test_path,
        "shifted": config.shifted,
    }
    files = {each: _rows(path) for each, path in paths.items() if path or each == _tabular.WHOLE}
    plan = _tabular.Plan.of(config)
    names = _read.classes(Path(config.path), _where(config.path))
    label = config.label.strip() or next((name for name in _sentences.TAGS if name in names), "")
    return files, {each: _where(path) for each, path in paths.items()}, replace(plan, named=names.get(label, ()))


def _rows(path: str) -> list[dict[str, object]]:
    if not path.lower().endswith(_ENDINGS):
        raise TaskError(f"data sentences: path={path!r}; a file that ends in {' or '.join(_ENDINGS)} is needed")
    return _read.rows(Path(path), _where(path))


def _where(path: str) -> str:
    return f"sentences, {Path(path).name}"
