"""Rows of a file as passages: documents, items with choices, or pairs of sentences, in the columns that people have."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from whatelse import limits
from whatelse.datasets import _read
from whatelse.errors import TaskError, in_short, nearest, shown
from whatelse.tasks.language import CHOICES, DOCUMENTS, PAIRS, Passage

TEXT = ".txt"
ENDINGS = (*_read.LINES, *_read.PARQUET, ".csv")
QUESTIONS = ("question", "query", "context", "ctx", "stem", "prompt", "goal")
ANSWERS = ("answer", "answerKey", "answer_key", "gold", "label", "target", "correct")
OPTIONS = ("choices", "options", "endings")
# The sentence that counts, and the one that it is held against.
_STEREOTYPES = (("stereotype", "anti_stereotype"), ("sent_more", "sent_less"), ("pro_stereotype", "anti_stereotype"))
_MINIMAL = (("sentence_good", "sentence_bad"), ("good", "bad"), ("grammatical", "ungrammatical"))
# Columns that may stand beside the text of a document: with any other, the file is a table with a class.
_BESIDE = {
    *("id", "_id", "url", "title", "source", "meta", "metadata", "timestamp", "date", "author", "doc", "document"),
    *("cluster", "lang", "language", "group", "split", "topic", "domain", "position", "member", "harmful"),
}
_BLANK = re.compile(r"\n[ \t]*\n\s*")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Columns:
    """Which columns hold what; empty for those of the usual names.

    Attributes:
        text: The document, or the question.
        label: The answer.
        delimiter: What parts a question from a choice.
        document: Characters of a document of plain text at least; 0 for the whole file as one.
    """

    text: str = ""
    label: str = ""
    delimiter: str = " "
    document: int = 2000


def form_of(row: Row, text: str = "") -> str:
    """Return the form of a row's passage; empty where it is none.

    Args:
        row: As it stands in its file.
        text: The column of documents or questions, where it is said.
    """
    if _pair(row) is not None:
        return PAIRS if _pair(row) in _STEREOTYPES else CHOICES
    if _options(row) and any(name in row for name in (text, *QUESTIONS)):
        return CHOICES
    name = text or "text"
    if isinstance(row.get(name), str) and (text or set(row) - {name} <= _BESIDE):
        return DOCUMENTS
    return ""


def rows(path: Path, where: str, columns: Columns, *, most: int = 0) -> list[dict[str, Any]]:
    """Return the rows of a file, of plain text one with a ``text`` each.

    Args:
        path: It ends in one of `ENDINGS` or `TEXT`.
        where: How messages call it.
        columns: How plain text becomes documents.
        most: Largest number of rows; 0 for all.

    Raises:
        TaskError: The file cannot be read, or has no rows.
        MissingExtraError: It is Parquet, and pyarrow is not installed.
    """
    if path.suffix.lower() == TEXT:
        return [{"text": text} for text in documents(_written(path, where), columns.document, where)]
    if path.suffix.lower() != ".csv":
        return _read.rows(path, where, most=most)
    try:
        limits.regular(path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            found: list[dict[str, Any]] = list(islice(csv.DictReader(file), most or None))
    except (OSError, ValueError, csv.Error) as error:
        raise TaskError(f"data {where}: {getattr(error, 'strerror', None) or in_short(error)}") from error
    if not found:
        raise TaskError(f"data {where}: it has no rows; a passage a row is needed")
    return found


def documents(text: str, least: int, where: str) -> list[str]:
    """Return the documents of a plain text: paragraphs, parted by blank lines, joined until they are long enough.

    Args:
        text: All of it.
        least: Characters of a document; 0 for the whole text as one.
        where: How messages call it.

    Raises:
        TaskError: It is empty.
    """
    if not text.strip():
        raise TaskError(f"data {where}: it is empty; text is needed")
    if not least:
        return [text]
    found, start = [], 0
    for blank in _BLANK.finditer(text):
        if blank.end() - start >= least and text[blank.end() :].strip():
            found.append(text[start : blank.end()])
            start = blank.end()
    return [*found, text[start:]]


def roles(row: Row, columns: Columns) -> dict[str, str]:
    """Return what the columns of a row are taken for, by name.

    Args:
        row: As it stands in its file.
        columns: Which columns hold what.
    """
    if (pair := _pair(row)) is not None:
        return dict.fromkeys(pair, "input")
    if not _options(row):
        return {columns.text or "text": "input"}
    question = columns.text or next((name for name in QUESTIONS if name in row), "")
    answer = columns.label or next((name for name in ANSWERS if name in row), "")
    return {question: "input", _options(row): "input", answer: "target"}


def passages(rows: Sequence[Row], columns: Columns, where: str) -> tuple[str, list[Passage], list[int]]:
    """Return the form of all rows, their passages, and which continuation of each is right.

    Args:
        rows: As `rows` returns them.
        columns: Which columns hold what.
        where: How messages call the data.

    Raises:
        TaskError: A row is not as the first, or lacks something; it is named.
    """
    form = form_of(rows[0], columns.text)
    if not form:
        need = (
            "text alone (or --text NAME), question with choices and answer, stereotype and anti_stereotype, or "
            "sentence_good and sentence_bad are needed"
        )
        raise TaskError(f"data {where}: its columns are {', '.join(map(str, rows[0]))}; {need}")
    pair = _pair(rows[0])
    found, right = [], []
    for at, row in enumerate(rows, 1):
        told = f"data {where}: row {at}"
        if form == DOCUMENTS:
            passage, answer = Passage("", (_text(row, columns.text or "text", told),)), 0
        elif pair is not None:
            passage, answer = Passage("", (_text(row, pair[0], told), _text(row, pair[1], told))), 0
        else:
            passage, answer = _item(row, columns, told)
        found.append(passage)
        right.append(answer)
    return form, found, right


def _written(path: Path, where: str) -> str:
    try:
        held = limits.regular(path)
        limits.check(4 * held, held, f"data {where}", TaskError)
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise TaskError(f"data {where}: byte {byte:#04x} is no UTF-8 text; write the file as UTF-8") from error
    except OSError as error:
        raise TaskError(f"data {where}: {error.strerror or in_short(error)}") from error


def _pair(row: Row) -> tuple[str, str] | None:
    """Return the columns of a pair of sentences; None where there is none."""
    return next((pair for pair in (*_STEREOTYPES, *_MINIMAL) if all(isinstance(row.get(n), str) for n in pair)), None)


def _options(row: Row) -> str:
    """Return the column of choices; empty where there is none."""
    for name in OPTIONS:
        value = row.get(name)
        if isinstance(value, list) or (isinstance(value, dict) and isinstance(value.get("text"), list)):
            return name
    return ""


def _text(row: Row, name: str, told: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise TaskError(f"{told}: {name!r} is {shown(value, 60)}; a text is needed")
    return value


def _item(row: Row, columns: Columns, told: str) -> tuple[Passage, int]:
    """Return an item with its choices, and which one is right.

    Raises:
        TaskError: It has no question, fewer than two choices, or no answer among them.
    """
    name = columns.text or next((known for known in QUESTIONS if known in row), "")
    question = row.get(name)
    if not isinstance(question, str):
        raise TaskError(f"{told}: {name or 'question'!r} is {shown(question, 60)}; a text is needed")
    listed: Any = row.get(_options(row))
    labels = listed.get("label", []) if isinstance(listed, dict) else []
    choices = listed["text"] if isinstance(listed, dict) else listed
    wrong = not isinstance(choices, list) or not all(isinstance(one, str) and one for one in choices)
    if wrong or len(choices) < 2:  # noqa: PLR2004 - of one nothing is chosen
        raise TaskError(f"{told}: choices are {shown(choices, 60)}; a list of two or more texts is needed")
    said = columns.label or next((known for known in ANSWERS if known in row), "")
    if said not in row:
        raise TaskError(f"{told}: no column {said or 'answer'!r}; {nearest(said or 'answer', map(str, row))}")
    parted = columns.delimiter if question and not question[-1].isspace() else ""
    held = Passage(question, tuple(f"{parted}{one}" for one in choices), tuple(map(len, choices)))
    return held, _answer(row[said], choices, labels, f"{told}: {said!r}")


def _answer(said: object, choices: Sequence[str], labels: Sequence[object], told: str) -> int:
    """Return which choice is the answer: its number from 0, its label, its text, or its letter.

    Raises:
        TaskError: It is none of them.
    """
    if isinstance(said, int) and not isinstance(said, bool) and not labels and 0 <= said < len(choices):
        return said
    text = str(said).strip()
    for known in (list(map(str, labels)), list(choices)):
        if known.count(text) == 1:
            return known.index(text)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(choices)]
    if not labels and len(text) == 1 and text.upper() in letters:
        return letters.index(text.upper())
    if not labels and text.isdigit() and int(text) < len(choices):
        return int(text)
    allowed = f"a number from 0 to {len(choices) - 1}, a letter up to {letters[-1]}, or one of the choices is needed"
    raise TaskError(f"{told} is {shown(said, 60)}; {allowed}")
