"""What is asked: rows of the table, measurements in them, and claims under test."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from whatelse.findings.record import Status

DIRECTIONS = ("worse", "better", "not worse", "not better")


@dataclass(frozen=True)
class Row:
    """One row of the table: the survey's claim in short, whom it cites, and the question that is measured."""

    name: str
    title: str
    question: str = ""
    survey: str = ""
    cited: str = ""
    status: Status = "measured"


@dataclass(frozen=True)
class Measurement:
    """One behaviour on some tasks: in which row it stands and how much damage counts as damage.

    ``margin`` is in the behaviour's unit. The one ``primary`` measurement of a row gives the verdict in the table,
    on the first of its tasks. ``control = "zero"`` tests the values themselves against zero. A ``full`` measurement is
    made only where the whole study is asked for (``--full``); ``careful`` settings go over ``settings`` there: the same
    question, answered at greater cost. ``gain`` is the largest improvement that is believed, 0 for any: a larger one is
    as suspicious as a loss, and *not trusted*. A ``costly`` one is stopped by an audit as soon as its verdict is clear.
    """

    row: str
    item: str
    tasks: list[str]
    margin: float
    label: str
    settings: dict[str, Any] = field(default_factory=dict)
    primary: bool = False
    control: str = ""
    full: bool = False
    careful: dict[str, Any] = field(default_factory=dict)
    gain: float = 0.0
    costly: bool = False


@dataclass(frozen=True)
class Expectation:
    """What a claim says of some candidates: the ``direction`` of one measurement, by ``label``.

    With ``some`` it is enough that one of them moves so. Where ``task`` is empty it is the measurement's first.
    """

    direction: str
    label: str
    candidates: list[str] = field(default_factory=list)
    families: list[str] = field(default_factory=list)
    task: str = ""
    some: bool = False


@dataclass(frozen=True)
class Claim:
    """A sentence under test, who is cited for it, what the cited source really supports, and what it predicts."""

    row: str
    claim: str
    source: str
    supports: str
    expect: list[Expectation]
