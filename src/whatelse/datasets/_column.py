"""One column of a table in memory that its rows bound: codes of the texts that occur, or numbers where these are many.

Twenty columns of a million numbers as Python's texts would be gigabytes. Texts are therefore kept once each, with four
bytes a row; a column that has more than a few thousand different values, all of them numbers, is kept as float64.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatelse.errors import TaskError, shown

MISSING = frozenset({"", "?", "na", "n/a", "nan", "null"})
_LISTED = 4096  # Different values beyond which numbers are kept as such.
_DECIMAL = re.compile(r"-?(?:0|[1-9]\d*)\.\d+")
_EXACT = 2**53
_NO_TEXTS: tuple[str, ...] = ()
MEND = "mend it, leave the column out or name it in categories"


def missing(value: str) -> bool:
    """Say whether a value stands for none: empty, ``?``, ``NA``, ``N/A``, ``NaN`` or ``null``, in any case of letters.

    Args:
        value: As it stands in the file.
    """
    return value.lower() in MISSING


def number(value: str) -> float | None:
    """Return a text as a finite number, or None where it is none.

    Args:
        value: As it stands in the file.
    """
    try:
        found = float(value)
    except ValueError:
        return None
    return found if math.isfinite(found) and "_" not in value else None


def text_of(value: float) -> str:
    """Return a number as the text that stands for it in every format: whole ones without a point.

    Args:
        value: Finite.
    """
    return str(int(value)) if value.is_integer() and abs(value) < _EXACT else repr(value)


@dataclass(frozen=True, eq=False)
class Column:
    """Values of a column, ``(N,)``.

    Attributes:
        index: Place of each in ``values``, ``(N,)``; empty where numbers are kept.
        values: The different texts, each once; some may not occur.
        measured: Numbers, ``(N,)`` float64, NaN where missing; None where texts are kept.
    """

    index: NDArray[np.int32]
    values: tuple[str, ...] = _NO_TEXTS
    measured: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.index) if self.measured is None else len(self.measured)

    def take(self, picks: NDArray[np.int64]) -> Column:
        """Return some rows.

        Args:
            picks: Which, ``(M,)``.
        """
        if self.measured is not None:
            return Column(self.index, measured=self.measured[picks])
        return Column(self.index[picks], self.values)

    def listed(self) -> Column:
        """Return the column with its different values as texts."""
        if self.measured is None:
            return self
        values, index = np.unique(self.measured, return_inverse=True)
        return Column(index.astype(np.int32), tuple("" if math.isnan(v) else text_of(v) for v in values.tolist()))

    def at(self, row: int) -> str:
        """Return one value as a text.

        Args:
            row: From 0.
        """
        if self.measured is None:
            return self.values[int(self.index[row])]
        value = float(self.measured[row])
        return "" if math.isnan(value) else text_of(value)

    def given(self) -> list[str]:
        """Return the different values that occur and are not missing, as texts."""
        column = self.listed()
        return [column.values[i] for i in np.unique(column.index).tolist() if not missing(column.values[i])]

    def each(self, told: Callable[[str], Any], kind: type[Any]) -> NDArray[Any]:
        """Return what a function says of every value, ``(N,)``; it is asked once for every different one.

        Args:
            told: From a text to a value.
            kind: Of the array.
        """
        column = self.listed()
        return np.array([told(value) for value in column.values], dtype=kind)[column.index]

    def absent(self) -> NDArray[np.bool_]:
        """Return where values are missing, ``(N,)``."""
        return self.each(missing, np.bool_) if self.measured is None else np.isnan(self.measured)

    def numbers(self) -> NDArray[np.float64] | None:
        """Return values as numbers, ``(N,)``, NaN where missing; None where one is no number, or there are none."""
        if self.measured is not None:
            return self.measured
        given = self.given()
        if not given or any(number(value) is None for value in given):
            return None
        return self.each(lambda v: math.nan if missing(v) else number(v), np.float64)

    def first(self, wanted: Callable[[str], bool]) -> int:
        """Return the first row, from 1, whose value is such; 0 where none is.

        Args:
            wanted: Says it of a text.
        """
        rows = np.flatnonzero(self.each(wanted, np.bool_))
        return int(rows[0]) + 1 if len(rows) else 0


def of(values: Sequence[str] | Column) -> Column:
    """Return texts as a column.

    Args:
        values: As they stand in the file, without spaces around them; a column is returned as it is.
    """
    if isinstance(values, Column):
        return values
    known: dict[str, int] = {}
    index = np.array([known.setdefault(v, len(known)) for v in values], dtype=np.int32)
    return Column(index, tuple(known))


class Builder:
    """A column that grows by parts of a file."""

    def __init__(self, *, texts: bool = False) -> None:
        """Begin an empty column.

        Args:
            texts: True keeps texts however many there are: of labels, categories, names of persons.
        """
        self._texts = texts
        self._known: dict[str, int] = {}
        self._index: list[NDArray[np.int32]] = []
        self._numbers: list[NDArray[np.float64]] = []
        self._measured = False
        self._rows = 0

    def add(self, values: Sequence[str], where: str) -> None:
        """Add values as they stand in a file.

        Args:
            values: Texts; spaces around them do not count.
            where: How messages call the column.
        """
        if self._measured:
            self._numbers.append(self._read(values, where))
        else:
            known = self._known
            self._index.append(np.array([known.setdefault(v, len(known)) for v in values], dtype=np.int32))
            self._turn()
        self._rows += len(values)

    def add_numbers(self, values: NDArray[np.float64], where: str) -> None:
        """Add numbers of a file that has such.

        Args:
            values: NaN where missing.
            where: How messages call the column.

        Raises:
            TaskError: One is infinite.
        """
        if np.isinf(values).any():
            row = self._rows + 1 + int(np.flatnonzero(np.isinf(values))[0])
            raise TaskError(f"{where}: row {row} is infinite; give a number, or leave it empty where it is missing")
        if not self._measured and not self._index:
            self._measured = True
        if self._measured:
            self._numbers.append(values)
        else:  # texts came before
            self.add(["" if v != v else text_of(v) for v in values.tolist()], where)
            return
        self._rows += len(values)

    def finish(self) -> Column:
        """Return the column."""
        if self._measured:
            return Column(np.empty(0, np.int32), measured=np.concatenate(self._numbers))
        index = np.concatenate(self._index) if self._index else np.empty(0, np.int32)
        plain = [value.strip() for value in self._known]
        if all(missing(v) or number(v) is not None for v in plain):  # 3.0 and 3 are one number, whoever wrote them
            plain = [text_of(float(v)) if _DECIMAL.fullmatch(v) else v for v in plain]
        known: dict[str, int] = {}
        place = np.array([known.setdefault(v, len(known)) for v in plain], dtype=np.int32)
        return Column(place[index] if len(place) else index, tuple(known))

    def _turn(self) -> None:
        """Keep numbers from here on, where there are too many different ones to list."""
        if self._texts or len(self._known) <= _LISTED:
            return
        values = [math.nan if missing(v.strip()) else number(v) for v in self._known]
        if all(v is not None for v in values):
            kept = np.array(values, dtype=np.float64)
            self._numbers = [kept[index] for index in self._index]
            self._index, self._known, self._measured = [], {}, True
        else:
            self._texts = True

    def _read(self, values: Sequence[str], where: str) -> NDArray[np.float64]:
        """Return texts as numbers.

        Raises:
            TaskError: One is none, as thousands before were.
        """
        try:
            found = np.fromiter(map(float, values), dtype=np.float64, count=len(values))
            if np.isfinite(found).all() and "_" not in "".join(values):
                return found
        except ValueError:
            pass
        parsed = [math.nan if missing(v.strip()) else number(v) for v in values]
        for row, value in enumerate(parsed, self._rows + 1):
            if value is None:
                got = shown(values[row - self._rows - 1], 60)
                raise TaskError(f"{where}: row {row} is no number, as most are, but {got}; {MEND}")
        return np.array(parsed, dtype=np.float64)


def check_names(names: Sequence[str], where: str) -> None:
    """Refuse two columns of one name.

    Args:
        names: Of the columns.
        where: How messages call the table.

    Raises:
        TaskError: A name stands twice.
    """
    if len(set(names)) < len(names):
        twice = next(n for n in names if list(names).count(n) > 1)
        raise TaskError(f"data {where}: the column {shown(twice, 60)} stands twice; name each once")


def check_width(row: Sequence[str], names: Sequence[str], count: int, where: str) -> None:
    """Refuse a row of another length.

    Args:
        row: Its values.
        names: Of the columns.
        count: Of the row, from 1.
        where: How messages call the table.

    Raises:
        TaskError: It is longer or shorter than the header.
    """
    if len(row) != len(names):
        raise TaskError(
            f"data {where}: row {count} has {len(row)} values; the header has {len(names)}; "
            "put quotes around values that hold the separator"
        )
