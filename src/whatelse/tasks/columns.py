"""What a column of a table holds, as whoever read it understood it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ColumnSeen:
    """One column, over all rows of all files.

    Attributes:
        name: As the file has it.
        kind: ``numbers``, ``categories``, ``yes or no``, or ``texts`` where nearly every row has its own.
        role: What it is taken for: ``target``, ``input``, ``cluster``, ``left out``; ``, group`` where it makes groups.
        distinct: Number of different values.
        missing: Rows without a value.
        told: What a reader should look at, such as a constant; empty where there is nothing.
    """

    name: str
    kind: str
    role: str
    distinct: int
    missing: int
    told: str = ""
