"""SST-2: does a phrase of a film review praise or blame; English texts, two classes.

The parts of the data set are kept: its train file is train, its dev file select, its test file test (872 whole
sentences; the others are phrases of every length). A text is split at spaces, in lower case. Ids: 0 pads, 1 stands for
every unknown word, then the most frequent words of train, ties in order of the alphabet; words beyond ``vocabulary``
are unknown. Texts longer than ``length`` lose their end. Inputs are ids as numbers, ``(N, length)``, as
``nets.transformer`` takes them: give it the same ``vocabulary``. Grouping: ``length``, the number of words in four
bands. Inputs have no bounds.

The data lies in the folder ``sst2`` inside the one that the environment variable WHATELSE_DATA names: ``train.tsv``,
``dev.tsv`` and ``test.tsv`` with the columns ``sentence`` and ``label``.

Source:
    Socher et al., Recursive deep models for semantic compositionality over a sentiment treebank, EMNLP 2013; with two
    classes in Wang et al., GLUE, ICLR 2019, arXiv:1804.07461.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import torch

from whatelse.datasets import _cut, _place, _table, _texts
from whatelse.errors import TaskError
from whatelse.settings import param
from whatelse.tasks.task import Split, Task

VERSION = 1
FILES = {"train": "train.tsv", "select": "dev.tsv", "test": "test.tsv"}
_LENGTHS = (5.0, 12.0, 20.0)


@dataclass(frozen=True)
class Config:
    """Settings of SST-2."""

    vocabulary: int = param(1000, "Number of ids, padding and the unknown word included.", low=3)
    length: int = param(32, "Words of a text; longer ones lose their end.", low=1, high=1000)
    calibration: int = param(256, "Texts of train that set the scales of quantization.", low=2)
    limit: int = param(0, "Largest number of texts of train and of select; 0 for all.", low=0)
    limit_test: int = param(0, "Largest number of texts of test; 0 for all.", low=0)


def load(config: Config) -> Task:
    """Return SST-2 as a task.

    Args:
        config: How many texts, words and ids.

    Raises:
        TaskError: The data is not where it should be, or is not this data.
    """
    place = _place.folder("sst2", tuple(FILES.values()))
    if place is None:
        raise TaskError(
            f"data sst2: set {_place.VARIABLE} to a folder that holds sst2/{', sst2/'.join(FILES.values())}"
        )
    texts = {name: _read(place / file) for name, file in FILES.items()}
    limits = {"train": config.limit, "select": config.limit, "test": config.limit_test}
    kept = {name: _taken(*texts[name], limits[name]) for name in FILES}
    known = _texts.vocabulary(kept["train"][0], config.vocabulary)
    splits = {name: _split(*kept[name], known, config.length) for name in FILES}
    splits["calibration"] = splits["train"].take(torch.arange(min(config.calibration, len(splits["train"]))))
    names = {"length": tuple(f"{name} words" for name in _table.banded([], _LENGTHS)[1])}
    words = _texts.words(known, config.vocabulary)
    return Task("sst2", 2, None, splits, names, vocabulary=config.vocabulary, words=words)


def _taken(texts: list[list[str]], labels: list[int], limit: int) -> tuple[list[list[str]], list[int]]:
    rows = _cut.first(_cut.shuffled(len(texts)), limit).tolist()
    return [texts[i] for i in rows], [labels[i] for i in rows]


def _split(texts: list[list[str]], labels: list[int], known: dict[str, int], length: int) -> Split:
    inputs = _texts.ids(texts, known, length)
    targets = torch.tensor(labels)
    bands, _ = _table.banded([str(len(words)) for words in texts], _LENGTHS)
    return Split(inputs, targets, targets, {"length": bands})


def _read(path: Path) -> tuple[list[list[str]], list[int]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            # Quotation marks are words here, never quotes around a value.
            rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TaskError(f"data sst2: {path}: {getattr(error, 'strerror', None) or error}") from error
    if not rows or rows[0] != ["sentence", "label"]:
        raise TaskError(f"data sst2: {path} has no columns sentence and label")
    for number, row in enumerate(rows[1:], 1):
        if len(row) != 2 or row[1] not in {"0", "1"} or not row[0].split():
            raise TaskError(f"data sst2: {path}: row {number} is no text with a label 0 or 1")
    return [_texts.parted(row[0]) for row in rows[1:]], [int(row[1]) for row in rows[1:]]
