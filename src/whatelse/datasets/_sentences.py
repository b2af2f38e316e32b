"""Sentences with a label for every word: words are the examples, and what they are drawn by is the sentence.

A row has a list of words and a list of as many tags, as data sets for named entities and parts of speech have them.
Rows are cut into splits, and limited, as sentences; a sentence that stands twice is one. What a row says once, such as
the source of its text, is said of all of its words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from whatelse import limits
from whatelse.datasets import _column, _groups, _read, _table, _tabular
from whatelse.datasets._column import Column
from whatelse.errors import TaskError, cut, in_short, shown
from whatelse.tasks.columns import ColumnSeen
from whatelse.tasks.task import Split, Task

WORDS = ("tokens", "words")
TAGS = ("ner_tags", "pos_tags", "chunk_tags", "upos", "tags", "labels", "label")
_CONFIG, _NAMES = "config.json", "id2label"
_PIECE = -100  # what libraries write where a piece of a word has no label
Row = Mapping[str, Any]
Files = Mapping[str, Sequence[Row]]
Tag = str | int


def looks(row: Row) -> bool:
    """Return whether a row is a sentence with a label a word: a list of a usual name, or two of one length.

    Args:
        row: As it stands in its file.
    """
    lists = {name: value for name, value in row.items() if isinstance(value, list)}
    texts = {name: v for name, v in lists.items() if v and all(isinstance(one, str) for one in v)}
    pairs = any(a != b and len(v) == len(lists[b]) for a, v in texts.items() for b in lists)
    return pairs or any(name in lists for name in (*WORDS, *TAGS))


def named(names: Sequence[str], plan: _tabular.Plan, where: str) -> _tabular.Plan:
    """Return which columns hold words and tags: those that were said, else those of the usual names.

    Args:
        names: Of all columns.
        plan: What was said.
        where: How messages call the data.

    Raises:
        TaskError: None has such a name, or several hold tags.
    """
    words = plan.text.strip() or next((name for name in WORDS if name in names), "")
    if not words:
        need = f"{' or '.join(WORDS)} with a list of words, or the name of such a column (--text), is needed"
        raise TaskError(f"data {where}: its columns are {', '.join(names)}; {need}")
    tags = [plan.label.strip()] if plan.label.strip() else [name for name in TAGS if name in names]
    if len(tags) != 1:
        found = f"has tags in {', '.join(tags)}; say which" if tags else f"has no column {', '.join(TAGS)}; say which"
        raise TaskError(f"data {where}: it {found} holds a list with a tag a word (--target)")
    return replace(plan, text=words, label=tags[0])


def task(name: str, files: Files, called: Mapping[str, str], plan: _tabular.Plan) -> Task:
    """Return sentences as a task of their words.

    Args:
        name: Of the task.
        files: As `_tabular.task` takes them, rows as they stand in their files.
        called: How messages call each file.
        plan: What the columns are.

    Raises:
        TaskError: A column is not there, or a value makes no sense; its row is named.
    """
    where = called[_tabular.WHOLE]
    plan, whole, read = _read_all(files, called, plan)
    known, targets = _classes(read, plan, called)
    owners = _tabular.clusters(whole, plan, called) or {each: file.numbers for each, file in read.items()}
    rows = _tabular.rows(plan, whole, owners[_tabular.WHOLE], where)
    rows["calibration"] = (rows["train"][0], rows["train"][1][: plan.calibration])
    picks = {split: (each, read[each].of(some)) for split, (each, some) in rows.items()}
    asked = _groups.parse(plan.groups, list(whole[_tabular.WHOLE]), where)
    source, words = picks["train"]
    alone = not plan.split and _tabular.MEMBERS not in files
    train = _table.take(read[source].columns, words) if alone else read[source].columns
    how = _groups.learn(asked, train, [file.columns for file in read.values()], (), where)
    coded = {each: _coded(file, targets[each], owners[each], asked, how) for each, file in read.items()}
    splits = {split: coded[each].take(some) for split, (each, some) in picks.items()}
    names = {g: _groups.codes(_table.take(train, words[:0]), parts, how)[1] for g, parts in asked.items()}
    sentences = list(dict.fromkeys(chain.from_iterable(file.sentences for file in read.values())))
    kept = torch.unique(torch.cat([split.inputs[:, 0] for split in splits.values()]).long())
    splits = {split: _renumbered(found, kept) for split, found in splits.items()}
    count = len(known) or 1 + max(int(found.max()) for found in targets.values())
    held = tuple(sentences[number] for number in kept.tolist())
    return Task(name, count, None, splits, names, class_names=known, sentences=held)


def columns(files: Files, called: Mapping[str, str], plan: _tabular.Plan) -> tuple[ColumnSeen, ...]:
    """Return what every column holds, over all rows of all files.

    Args:
        files: As `task` takes them.
        called: Likewise.
        plan: What the columns are.

    Raises:
        TaskError: As `task`.
    """
    plan, whole, _ = _read_all(files, called, plan)
    asked = _groups.parse(plan.groups, list(whole[_tabular.WHOLE]), called[_tabular.WHOLE])
    roles = {name: "cluster" for name in _tabular.listed(plan.cluster)} | {plan.text: "input", plan.label: "target"}
    roles |= {part.column: "group" for parts in asked.values() for part in parts}
    found = []
    for name in whole[_tabular.WHOLE]:
        held = [row.get(name) for rows in files.values() for row in rows]
        lists = any(isinstance(value, list) for value in held)
        values = [one for value in held for one in (value if isinstance(value, list) else [value])]
        missing = sum(one is None or one == "" for one in values)
        kind = f"a list of {len(values)}" if lists else "one a sentence"
        distinct = len({repr(one) for one in values if one is not None and one != ""})
        found.append(ColumnSeen(name, kind, roles.get(name, "not read"), distinct, missing))
    return tuple(found)


@dataclass(frozen=True, eq=False)
class _File:
    """Rows of one file.

    Attributes:
        sentences: The words of every row.
        numbers: The place of every row's sentence among the different ones of all files, ``(rows,)``.
        tags: Of every word, row after row.
        columns: What makes groups, a value for every word.
        lengths: Words of every row, ``(rows,)``.
    """

    sentences: list[tuple[str, ...]]
    numbers: Tensor
    tags: list[Tag]
    columns: dict[str, Column]
    lengths: Tensor

    def of(self, rows: Tensor) -> Tensor:
        """Return the places of all words of some rows, row after row, ``(words,)``."""
        lengths = self.lengths[rows]
        before = self.lengths.cumsum(0)[rows] - lengths
        return torch.repeat_interleave(before, lengths) + _within(lengths)

    def row_of(self, word: int) -> str:
        """Return how messages call a word."""
        row = int(torch.searchsorted(self.lengths.cumsum(0), word, right=True))
        return f"row {row + 1}, word {word - int(self.lengths[:row].sum()) + 1}"


def _within(lengths: Tensor) -> Tensor:
    """Return the place of every word in its sentence, from 0, ``(words,)``."""
    return torch.arange(int(lengths.sum())) - torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths)


def _read_all(
    files: Files, called: Mapping[str, str], plan: _tabular.Plan
) -> tuple[_tabular.Plan, dict[str, dict[str, Column]], dict[str, _File]]:
    """Return what the columns are, a column for each of every file, a value a row, and the sentences.

    Of these columns only that of clusters holds what stands in the file.
    """
    where = called[_tabular.WHOLE]
    plan = named(list(files[_tabular.WHOLE][0]), plan, where)
    whole = {}
    for each, rows in files.items():
        whole[each] = {name: _read.nothing(len(rows)) for name in dict.fromkeys(chain.from_iterable(rows))}
        for name in set(_tabular.listed(plan.cluster)) & set(whole[each]):
            whole[each][name] = _spread(rows, name, [1] * len(rows), called[each])
    _tabular.check(whole, called, plan)
    asked = _groups.parse(plan.groups, list(whole[_tabular.WHOLE]), where)
    grouped = {part.column for parts in asked.values() for part in parts}
    numbers = dict[tuple[str, ...], int]()
    return plan, whole, {each: _file(rows, plan, grouped, numbers, called[each]) for each, rows in files.items()}


def _file(
    rows: Sequence[Row], plan: _tabular.Plan, grouped: set[str], numbers: dict[tuple[str, ...], int], where: str
) -> _File:
    """Return the sentences of a file.

    Raises:
        TaskError: A row has no words, other things than words, or not as many tags.
    """
    kept: dict[str, str] = {}  # a word that stands often is kept once
    sentences, tags = [], list[Tag]()
    for at, row in enumerate(rows, 1):
        words, labels = row.get(plan.text), row.get(plan.label)
        told = f"data {where}, column {plan.text!r}: row {at}"
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise TaskError(f'{told} is {shown(words, 60)}; a list of words is needed, such as ["Ada", "Lovelace"]')
        empty = next((place for place, word in enumerate(words, 1) if not word.strip()), 0)
        if not words or empty:
            raise TaskError(f"{told} has {f'an empty word {empty}' if empty else 'no words'}; leave such rows out")
        told = f"data {where}, column {plan.label!r}: row {at}"
        if not isinstance(labels, list):
            raise TaskError(f"{told} is {shown(labels, 60)}; a list with a tag for each word is needed")
        if len(labels) != len(words):
            raise TaskError(f"{told} has {len(labels)} tags for {len(words)} words; one each is needed")
        sentences.append(tuple(kept.setdefault(word, word) for word in words))
        tags += labels
    lengths = [len(words) for words in sentences]
    found = {name: _spread(rows, name, lengths, where) for name in sorted(grouped)}
    places = torch.tensor([numbers.setdefault(words, len(numbers)) for words in sentences])
    return _File(sentences, places, tags, found, torch.tensor(lengths))


def _spread(rows: Sequence[Row], name: str, lengths: Sequence[int], where: str) -> Column:
    """Return a column with a value for every word: its own, or that of its row.

    Raises:
        TaskError: A row has values for another number of words.
    """
    builder, told = _column.Builder(), f"data {where}, column {name!r}"
    for at, (row, words) in enumerate(zip(rows, lengths, strict=True), 1):
        value = row.get(name)
        if isinstance(value, list) and len(value) != words:
            raise TaskError(f"{told}: row {at} has {len(value)} values for {words} words; one each, or one, is needed")
        values = value if isinstance(value, list) else [value] * words
        builder.add([_read.plain(one, told, at) for one in values], told)
    return builder.finish()


def _coded(
    file: _File,
    targets: Tensor,
    owners: Tensor,
    asked: Mapping[str, _groups.Grouping],
    how: Mapping[_groups.Part, _table.Grouping],
) -> Split:
    """Return all words of a file."""
    inputs = torch.stack([torch.repeat_interleave(file.numbers, file.lengths), _within(file.lengths)], 1).float()
    groups = {name: _groups.codes(file.columns, parts, how)[0] for name, parts in asked.items()}
    clusters = torch.repeat_interleave(owners, file.lengths)
    return Split(inputs, targets, targets, groups, clusters=clusters)


def _renumbered(split: Split, kept: Tensor) -> Split:
    """Return a split whose sentences have the numbers that they have among those that are kept."""
    sentence, place = split.inputs.unbind(1)
    return replace(split, inputs=torch.stack([torch.searchsorted(kept, sentence.long()).float(), place], 1))


def _classes(
    read: Mapping[str, _File], plan: _tabular.Plan, called: Mapping[str, str]
) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    """Return the names of the classes, none where tags are numbers without names, and the class of every word.

    Raises:
        TaskError: A tag is none of the classes.
    """
    for each, file in read.items():
        word = next((i for i, tag in enumerate(file.tags) if type(tag) not in {str, int} or tag in {"", _PIECE}), None)
        if word is not None:
            got = f"data {called[each]}, column {plan.label!r}: {file.row_of(word)} has the tag {file.tags[word]!r}"
            piece = f"{_PIECE} stands for pieces of words, of one tokenizer; give words with a tag each"
            raise TaskError(f"{got}; {piece if file.tags[word] == _PIECE else 'a name or a whole number is needed'}")
    given = _given(plan.classes) or plan.named
    kinds = {type(tag) for file in read.values() for tag in set(file.tags)}
    words = {tag for file in read.values() for tag in file.tags}
    known = given or (tuple(sorted(map(str, words))) if kinds == {str} else ())
    if known:
        _tabular.check_classes(known, plan, called[_tabular.WHOLE])
    place: dict[Tag, int] = {name: i for i, name in enumerate(known)}
    if int in kinds:
        place |= {i: i for i in range(len(known) or 1 + max(tag for tag in words if isinstance(tag, int)))}
    return known, {each: _targets(file, place, known, called[each], plan) for each, file in read.items()}


def _targets(file: _File, place: Mapping[Tag, int], known: Sequence[str], where: str, plan: _tabular.Plan) -> Tensor:
    word = next((i for i, tag in enumerate(file.tags) if tag not in place), None)
    if word is not None:
        wanted = (
            f"{len(known)} classes are known: {cut(', '.join(known), 120)}" if known else "names, or numbers from 0"
        )
        told = f"{file.row_of(word)} has the tag {file.tags[word]!r}; {wanted} (--classes)"
        raise TaskError(f"data {where}, column {plan.label!r}: {told}")
    return torch.tensor([place[tag] for tag in file.tags])


def _given(classes: str) -> tuple[str, ...]:
    """Return the names of classes that a user lists, or those of a model's folder, in the order of its outputs.

    Raises:
        TaskError: The folder's configuration names none.
    """
    place = Path(classes.strip())
    file = place / _CONFIG if classes.strip() and place.is_dir() else place
    if file.name != _CONFIG:
        return tuple(_tabular.listed(classes))
    try:
        names = json.loads(limits.text(file))[_NAMES]
        return tuple(str(names[str(i)]) for i in range(len(names)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        told = getattr(error, "strerror", None) or in_short(error)
        raise TaskError(f"classes={classes!r}: no {_NAMES} with names from 0 in {file} ({told})") from error
