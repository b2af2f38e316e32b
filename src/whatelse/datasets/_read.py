"""Files of tables as columns: CSV, tabs, JSON lines and Parquet, read part by part."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from whatelse import limits
from whatelse.datasets import _column
from whatelse.datasets._column import Builder, Column
from whatelse.errors import MissingExtraError, TaskError, in_short, shown

LINES = (".jsonl", ".ndjson")
PARQUET = (".parquet",)
SUFFIXES = (".csv", ".tsv", *LINES, *PARQUET)
_TEXT = 12  # Bytes of memory for one of text, where every value is another.
_PART = 16_384  # Rows that are texts of Python's at a time.
_OTHERS = ";\t|"


def read(
    path: Path, where: str, *, texts: Collection[str] = (), skip: Collection[str] = (), delimiter: str = ""
) -> dict[str, Column]:
    """Return the columns of a file.

    Args:
        path: UTF-8 text with the names of columns on the first line, JSON lines, or Parquet.
        where: How messages call it.
        texts: Columns that are texts although their values read as numbers.
        skip: Columns that are not kept: every value is missing.
        delimiter: Between values of text; empty for tabs in a .tsv and commas in any other.

    Raises:
        TaskError: The file cannot be read, has no rows, two columns of one name, or a row of another length.
        MissingExtraError: It is Parquet, and pyarrow is not installed.
    """
    with _refused(where):
        held = limits.regular(path)
        if path.suffix.lower() in PARQUET:
            return parquet(path, held, where, texts, skip)
        limits.check(_TEXT * held, held, f"data {where}", TaskError)
        if path.suffix.lower() in LINES:
            return _lines(path, where, texts, skip)
        return _separated(path, where, texts, skip, delimiter or ("\t" if path.suffix.lower() == ".tsv" else ","))


def rows(path: Path, where: str, *, most: int = 0) -> list[dict[str, Any]]:
    """Return the rows of a file as they stand there, lists and all.

    Args:
        path: JSON lines, or Parquet.
        where: How messages call it.
        most: Largest number of rows; 0 for all.

    Raises:
        TaskError: The file cannot be read, or has no rows.
        MissingExtraError: It is Parquet, and pyarrow is not installed.
    """
    with _refused(where):
        held = limits.regular(path)
        if path.suffix.lower() in PARQUET:
            with _parquet(path, where) as file:
                told = file.metadata
                asked = _TEXT * sum(told.row_group(i).total_byte_size for i in range(told.num_row_groups))
                limits.check(asked * (not most), held, f"data {where}: {told.num_rows} rows", TaskError)
                batches = file.iter_batches(batch_size=most or _PART, use_threads=False)
                found = [row for batch in islice(batches, 1 if most else None) for row in batch.to_pylist()]
        else:
            limits.check(_TEXT * held * (not most), held, f"data {where}", TaskError)
            with path.open(encoding="utf-8-sig") as lines:
                found = list(islice(_objects(lines, where), most or None))
    if not found:
        raise TaskError(f"data {where}: it has no rows; a sentence a row is needed")
    return found


def classes(path: Path, where: str) -> dict[str, tuple[str, ...]]:
    """Return the names of the classes of every column of lists, as Hugging Face's library writes them into Parquet.

    Args:
        path: Of any file; others have none.
        where: How messages call it.

    Raises:
        TaskError: The file cannot be read.
        MissingExtraError: It is Parquet, and pyarrow is not installed.
    """
    if path.suffix.lower() not in PARQUET:
        return {}
    with _parquet(path, where) as file:
        said = (file.schema_arrow.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = json.loads(said)["info"]["features"]
        names = {name: kind["feature"].get("names", ()) for name, kind in features.items() if "feature" in kind}
    except (ValueError, KeyError, TypeError, AttributeError):  # written by someone else, in another form
        return {}
    return {name: tuple(map(str, known)) for name, known in names.items() if isinstance(known, list)}


@contextmanager
def _refused(where: str) -> Generator[None]:
    """Say in one line why a file cannot be read.

    Yields:
        Nothing.

    Raises:
        TaskError: It cannot.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        raise TaskError(
            f"data {where}: byte {error.object[error.start]:#04x} is no UTF-8 text; write the file as UTF-8"
        ) from error
    except (OSError, ValueError, csv.Error, RecursionError) as error:  # bytes that no text has
        raise TaskError(f"data {where}: {getattr(error, 'strerror', None) or in_short(error)}") from error


def _separated(
    path: Path, where: str, texts: Collection[str], skip: Collection[str], delimiter: str
) -> dict[str, Column]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = (row for row in csv.reader(file, delimiter=delimiter, skipinitialspace=True) if row)
        names = [name.strip() for name in next(rows, [])]
        _column.check_names(names, where)
        other = next((one for one in _OTHERS if len(names) == 1 and one in names[0] and one != delimiter), "")
        if other:
            raise TaskError(
                f"data {where}: the one column is called {shown(names[0], 60)}; {delimiter!r} is needed between "
                f"values, or say delimiter={other!r} (--delimiter)"
            )
        builders = {name: Builder(texts=name in texts) for name in names}
        count = 0
        while part := list(islice(rows, _PART)):
            for row, values in enumerate(part, count + 1):
                if len(values) != len(names):
                    _column.check_width(values, names, row, where)
            for name, column in zip(names, zip(*part, strict=True), strict=True):
                if name not in skip:
                    builders[name].add(column, f"data {where}, column {name!r}")
            count += len(part)
    if not count:
        raise TaskError(f"data {where}: a line with the names of the columns and rows below it are needed")
    return {name: nothing(count) if name in skip else builder.finish() for name, builder in builders.items()}


def _lines(path: Path, where: str, texts: Collection[str], skip: Collection[str]) -> dict[str, Column]:
    builders: dict[str, Builder] = {}
    count = 0
    with path.open(encoding="utf-8-sig") as file:
        rows = _objects(file, where)
        while part := list(islice(rows, _PART)):
            for name in dict.fromkeys(name for row in part for name in row):
                if name not in builders:
                    builders[name] = Builder(texts=name in texts)
                    if count and name not in skip:
                        builders[name].add([""] * count, where)
            for name, builder in builders.items():
                if name not in skip:
                    called = f"data {where}, column {name!r}"
                    builder.add([plain(row.get(name), called, i) for i, row in enumerate(part, count + 1)], called)
            count += len(part)
    if not count:
        raise TaskError(f"data {where}: it has no rows; a JSON object a line is needed")
    return {name: nothing(count) if name in skip else builder.finish() for name, builder in builders.items()}


def _objects(lines: Iterator[str], where: str) -> Iterator[dict[str, Any]]:
    """Yield the object of every line.

    Raises:
        TaskError: A line is none, or has a name twice.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _column.check_names([name for name, _ in pairs], where)
        return dict(pairs)

    for at, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line, object_pairs_hook=once)
        except json.JSONDecodeError as error:
            told = f"line {at} is no JSON ({error.msg})"
            raise TaskError(f"data {where}: {told}; a JSON object a line is needed") from error
        if not isinstance(found, dict):
            raise TaskError(f"data {where}: line {at} is {shown(found, 60)}; a JSON object a line is needed")
        yield found


def plain(value: object, where: str, row: int) -> str:
    """Return a value of JSON as the text that a CSV file has for it.

    Args:
        value: As it was read.
        where: How messages call its column.
        row: Its own, from 1.

    Raises:
        TaskError: It is a list or an object, or too large.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, bool | int):
        return str(value)
    raise TaskError(f"{where}: row {row} is {shown(value, 60)}; numbers and texts are needed; leave the column out")


def parquet(
    path: Path, held: int, where: str, texts: Collection[str] = (), skip: Collection[str] = ()
) -> dict[str, Column]:
    """Return the columns of a Parquet file.

    Args:
        path: The file.
        held: Its bytes.
        where: How messages call it.
        texts: Columns that are texts although they hold numbers.
        skip: Columns that are not kept.

    Raises:
        TaskError: It is damaged, has no rows, or columns of lists.
        MissingExtraError: pyarrow is not installed.
    """
    with _parquet(path, where) as file:
        names = file.schema_arrow.names
        _column.check_names(names, where)
        asked = 12 * file.metadata.num_rows * max(1, len(names))
        limits.check(asked, held, f"data {where}: {file.metadata.num_rows} rows of {len(names)} columns", TaskError)
        kept = [name for name in names if name not in skip]
        batches = file.iter_batches(batch_size=_PART, columns=kept, use_threads=False)
        found = arrow(batches, kept, where, texts)
        count = file.metadata.num_rows
    if not count:
        raise TaskError(f"data {where}: it has no rows")
    return {name: found.get(name, nothing(count)) for name in names}


@contextmanager
def _parquet(path: Path, where: str) -> Generator[Any]:
    """Open a Parquet file.

    Yields:
        What reads it.

    Raises:
        TaskError: It is damaged.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra, imported where it is needed
        from pyarrow import parquet as reader  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"data {where} needs pyarrow: pip install 'whatelse[data]'") from error
    try:
        with reader.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise TaskError(
            f"data {where}: no Parquet file that can be read ({in_short(error, 120)}); it may be cut: write it again"
        ) from error


def nothing(count: int) -> Column:
    """Return a column that was not read.

    Args:
        count: Its rows.
    """
    return Column(np.zeros(count, np.int32), ("",))


def arrow(batches: Iterator[Any], names: Sequence[str], where: str, texts: Collection[str]) -> dict[str, Column]:
    """Return record batches of Arrow as columns.

    Args:
        batches: All with the columns.
        names: Of the columns.
        where: How messages call the table.
        texts: Columns that are texts although they hold numbers.

    Raises:
        TaskError: A column holds neither numbers nor texts.
    """
    builders = {name: Builder(texts=name in texts) for name in names}
    for batch in batches:
        for name, builder in builders.items():
            _grow(builder, batch.column(name), f"data {where}, column {name!r}", texts=name in texts)
    return {name: builder.finish() for name, builder in builders.items()}


def _grow(builder: Builder, values: Any, where: str, *, texts: bool) -> None:  # noqa: ANN401 - an array of Arrow
    import pyarrow as pa  # noqa: PLC0415 - whoever calls has it
    from pyarrow import types  # noqa: PLC0415 - an extra

    kind = values.type
    if types.is_boolean(kind):
        builder.add([{True: "True", False: "False", None: ""}[v] for v in values.to_pylist()], where)
    elif types.is_floating(kind) or types.is_integer(kind) or types.is_decimal(kind):
        if texts:
            builder.add(["" if v is None else str(v) for v in values.to_pylist()], where)
        else:
            builder.add_numbers(values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), where)
    elif types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind):
        raise TaskError(f"{where} holds {kind}; numbers and texts are needed; leave the column out")
    else:
        builder.add([v or "" for v in values.cast(pa.string()).to_pylist()], where)
