"""A table of one's own: a CSV file with a header, JSON lines or Parquet, one column of which is the class.

The rows are shuffled once and for all and cut into the shares ``test`` and ``select`` and the rest, train; or ``test``
is a file of its own (``test_path``). That is for models that this toolkit trains. For others ``split='test'`` says that
none of the rows is train, and ``members`` is a file of rows that the model was trained on, for questions that need
them. With ``cluster`` all rows of one person are on the same side, and intervals resample persons.

Numbers are standardized (or left as they are: ``scale='none'``) and categories have a column each, as train alone
decides; all rows do where there is no train. Empty, ``?``, ``NA``, ``N/A``, ``NaN`` and ``null`` are missing: such
values are a column ``unknown`` where train lacks some. A category that train never has is unknown too, or zero in all
columns; a warning counts them.

``groups`` names columns whose values are groups of people or things: as they are; or, where a column has more than
eight numbers, the quarters of train; or bands, ``age:25,40,60`` cut where one says, up to and with each cut, and
``age:q4`` of equal size; ``sex*race`` intersects. A missing value is -1: reports show such rows as a part of their own.
Columns of groups are inputs too, unless ``leave_out`` names them. ``shifted`` is a second file of the same columns, of
another year or place: the split ``shifted``, never seen by any choice. Rows are counted from 1, below the header.
Inputs have no bounds, unless ``bounds`` says them.

Files are read part by part: a million rows of twenty numbers take less than a gigabyte.

Source:
    Shafranovich, Common format and MIME type for CSV files, RFC 4180, 2005; Apache Parquet; JSON lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from whatelse.datasets import _bounds, _groups, _read, _seen, _tabular
from whatelse.datasets._column import Column
from whatelse.errors import TaskError
from whatelse.settings import param
from whatelse.tasks.columns import ColumnSeen
from whatelse.tasks.task import Task

VERSION = 2
SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
_LIST = ", joined by commas."


@dataclass(frozen=True)
class Config:
    """Settings of a table."""

    path: str = param("", "The file: .csv, .tsv, .jsonl or .parquet; text is UTF-8.")
    label: str = param("", "The column that holds the class.", option="target")
    groups: str = param("", f"Columns that make groups, {_groups.HELP}.")
    leave_out: str = param("", "Columns that the model does not see, such as numbers of rows" + _LIST)
    categories: str = param("", "Columns of numbers that are codes of categories" + _LIST)
    test_path: str = param("", "A file with the rows of test; empty to cut them from the first.")
    shifted: str = param("", "A file with rows of another year or place, for the split shifted.")
    members: str = param("", "A file with rows that the model was trained on; the first file then has none of them.")
    cluster: str = param("", "The column that says whose rows these are, such as patient_id; it is no input.")
    split: str = param("", "test where no row of the file is train; empty to cut train off.", choices=("", "test"))
    classes: str = param("", "Names of the classes in the order of the model's outputs" + _LIST)
    bounds: str = param("", f"{_bounds.HELP}; empty where none are known.")
    text: str = param("", "The column of texts that are the inputs; empty where columns are.")
    scale: str = param(_tabular.AUTO, _tabular.SCALE, choices=_tabular.SCALES)
    delimiter: str = param("", "Between values of text; empty for tabs in .tsv and commas in .csv.")
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
        MissingExtraError: It is Parquet, and pyarrow is not installed.
    """
    plan, files, called = _read_all(config)
    return _tabular.task(Path(config.path).stem, files, called, plan)


def describe(config: Config) -> tuple[ColumnSeen, ...]:
    """Return what the columns hold, over all files.

    Args:
        config: Which files, and what their columns are.

    Raises:
        TaskError: As `load`.
        MissingExtraError: Likewise.
    """
    plan, files, called = _read_all(config)
    return _seen.columns(files, called, plan)


def _read_all(config: Config) -> tuple[_tabular.Plan, dict[str, dict[str, Column]], dict[str, str]]:
    if config.test_path and (config.members or config.split):
        raise TaskError(f"data {_where(config.path)}: test_path and members or split; the first file is train or test")
    if not config.path:
        raise TaskError("data table: path=''; a file is needed")
    if len(config.delimiter) > 1:
        raise TaskError(f"data {_where(config.path)}: delimiter={config.delimiter!r}; one character is needed")
    plan = _tabular.Plan.of(config)
    paths = {
        _tabular.WHOLE: config.path,
        _tabular.MEMBERS: config.members,
        "test": config.test_path,
        "shifted": config.shifted,
    }
    files, texts = {}, plan.texts()
    for name, path in paths.items():
        if path or name == _tabular.WHOLE:
            files[name] = _read.read(
                Path(path), _where(path), texts=texts, skip=plan.skipped(), delimiter=config.delimiter
            )
    return plan, files, {name: _where(path) for name, path in paths.items()}


def _where(path: str) -> str:
    return f"table, {Path(path).name}"
