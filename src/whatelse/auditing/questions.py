"""What is asked: rows of the table, measurements in them, and claims under test."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from typing import Any

from whatelse import items, registry, toml_schema
from whatelse.auditing.roles import ZERO, Role
from whatelse.errors import StudyError, WhatElseError, nearest
from whatelse.findings.record import Status
from whatelse.tasks import language

DATA = "data"  # how the one task of an audit is called in its findings
_DRAWS = 100  # resamples below which a tail of 2.5 % is a matter of one or two
DIRECTIONS = ("worse", "better", "not worse", "not better")
FORMS = ("words", *language.FORMS)  # of data that a question may be for
WHERE = ("gradients", "answers", *FORMS)


@dataclass(frozen=True)
class Row:
    """One row of the table: the survey's claim in short, whom it cites, and the question that is measured.

    ``apart`` names a study of its own, which ships with its outcome: the row quotes it and has no measurements.
    """

    name: str
    title: str
    question: str = ""
    survey: str = ""
    cited: str = ""
    status: Status = "measured"
    apart: str = ""


@dataclass(frozen=True)
class Measurement:
    """One behaviour on some tasks: in which row it stands and how much damage counts as damage.

    ``margin`` is in the behaviour's unit. The one ``primary`` measurement of a row gives the verdict in the table,
    on the first of its tasks. ``control = "zero"`` tests the values themselves against zero. One of the ``tier`` full
    is made only where that is asked for (``--full``); ``full_settings`` go over ``settings`` there: the same question,
    answered at greater cost. ``gain`` is the largest improvement that is believed, 0 for any: a larger one is
    as suspicious as a loss, and *not trusted*. A ``costly`` one is stopped by an audit as soon as its verdict is clear.
    Of an audit, ``where`` says which models it is for: ``gradients`` where all of them differentiate, ``answers`` where
    some only predict; it is asked of all models alike, or of none. ``words`` is for data whose examples are words;
    ``documents``, ``choices``, ``pairs`` and ``graded`` are for what language models are asked.
    """

    row: str
    item: str
    tasks: list[str]
    margin: float
    label: str
    settings: dict[str, Any] = field(default_factory=dict)
    primary: bool = False
    control: str = ""
    tier: str = "quick"
    full_settings: dict[str, Any] = field(default_factory=dict)
    gain: float = 0.0
    costly: bool = False
    where: str = ""


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


@dataclass(frozen=True)
class Questions:
    """What is asked in an audit: a study file without tasks, recipes and seeds.

    Attributes:
        name: Short name.
        title: Heading of the report.
        rows: In the order of the table.
        measurements: What is measured; ``tasks`` is left out.
        description: A paragraph for the reader.
        draws: Resamples an interval.
        text: The file as it was read.
    """

    name: str
    title: str
    rows: list[Row]
    measurements: list[Measurement]
    description: str = ""
    draws: int = 10_000
    text: str = ""


def default(modality: str = "") -> str:
    """Return the text of the questions that are asked where none are given.

    Args:
        modality: Of the task; what language models are asked has questions of its own.
    """
    name = "language.toml" if modality in language.FORMS else "default.toml"
    return resources.files("whatelse.auditing").joinpath(name).read_text("utf-8")


def read_questions(text: str, where: str = "audit.toml") -> Questions:
    """Return the questions of a text, checked.

    Args:
        text: TOML.
        where: Name of the file, for messages.

    Raises:
        StudyError: The text is not TOML, has a wrong or missing key, or names something that is not there.
    """
    table = toml_schema.parse(text, where)
    asked = table.get("measurements", [])
    for measurement in asked if isinstance(asked, list) else []:
        if isinstance(measurement, dict):
            measurement.setdefault("tasks", [DATA])
    try:
        found = toml_schema.read(Questions, {**table, "text": text}, "audit")
        for i, m in enumerate(found.measurements):
            _check(m, f"measurements[{i}]", {r.name for r in found.rows})
        _check_whole(found)
    except WhatElseError as error:
        raise StudyError(f"{where}: {error}") from error
    return found


def chosen(asked: Questions | None, modality: str = "") -> Questions:
    """Return what is asked, checked: as it was given, else the default questions for such data.

    Args:
        asked: As `settled` takes it; None for the default questions.
        modality: Of the task.

    Raises:
        StudyError: What was changed does not hold together.
    """
    return settled(asked) if asked is not None else read_questions(default(modality))


def _check(m: Measurement, where: str, rows: set[str]) -> None:
    items.behaviour(m.item).configure(m.settings)
    if m.row not in rows:
        raise StudyError(f"{where}.row: no {m.row!r}; there are: {', '.join(sorted(rows))}")
    if m.control not in {"", ZERO, Role.BASELINE, *handed()}:
        known = ", ".join((Role.BASELINE, *handed(), ZERO))
        raise StudyError(f"{where}.control: no {m.control!r}; there are: {known}")
    if m.tasks != [DATA]:
        raise StudyError(f"{where}.tasks={m.tasks}; an audit has one task, {DATA!r}; leave tasks out")
    if min(m.margin, m.gain) < 0:
        raise StudyError(f"{where}: margin={m.margin}, gain={m.gain}; numbers of 0 or more are needed")
    if m.where not in {"", *WHERE}:
        raise StudyError(f"{where}.where: {m.where!r}; {nearest(m.where, WHERE)}, or leave it out")
    if m.costly and items.behaviour(m.item).range is None:
        raise StudyError(f"{where}: costly, but {m.item} has no RANGE of its values; leave costly out")


def _check_whole(asked: Questions) -> None:
    if asked.draws < _DRAWS:
        raise StudyError(f"draws={asked.draws}; {_DRAWS} or more are needed")
    labels = [m.label for m in asked.measurements]
    for label in labels:
        if labels.count(label) > 1:
            raise StudyError(f"measurements: the label {label!r} stands twice; verdicts go by it")
    for where, form in itertools.product(("gradients", "answers"), FORMS):
        rows = [m.row for m in asked.measurements if m.primary and m.where in {"", where, form}]
        for row in rows:
            if rows.count(row) > 1:
                raise StudyError(f"row {row!r} has {rows.count(row)} primary measurements; one gives its verdict")


def about(asked: Questions, modality: str) -> Questions:
    """Return the questions that are for such data.

    Args:
        asked: What is asked.
        modality: Of the task.
    """
    kept = [m for m in asked.measurements if m.where not in FORMS or m.where == modality]
    known = {m.row for m in asked.measurements}
    asked_of = {m.row for m in kept}
    return replace(asked, measurements=kept, rows=[r for r in asked.rows if r.name in asked_of or r.name not in known])


def fitting(asked: Questions, offers: Mapping[str, Collection[str]]) -> tuple[Questions, list[str]]:
    """Return the questions that are for these models, and remarks that say so where some of them only predict.

    A question has one form for all models of an audit, whoever is held against whom: noise floors and controls would
    else be of another measurement than what they are held to.

    Args:
        asked: What is asked.
        offers: What each model offers, by name.

    Raises:
        StudyError: None of the questions is for them.
    """
    blind = [name for name, words in offers.items() if "differentiates" not in words]
    # What has recorded scores alone can be asked neither form: it stays with the usual one.
    where = "answers" if blind and all("predicts" in words for words in offers.values()) else "gradients"
    kept = [m for m in asked.measurements if m.where in {"", where, *FORMS}]
    if asked.measurements and not kept:
        raise StudyError(f"every question is for models of which there are none here: where = {where!r} is needed")
    fit = replace(asked, measurements=kept)
    forms = [m.label for m in kept if m.where == where]
    if where == "gradients" or not forms:
        return fit, []
    said = f"{', '.join(map(str, blind))} {'gives' if len(blind) == 1 else 'give'} answers and no gradients"
    return fit, [f"{said}: all models of this audit alike are asked for {'; '.join(forms)}"]


def settled(asked: Questions) -> Questions:
    """Return questions as a text says them, checked: as read, or where they were changed in memory, as written anew.

    Args:
        asked: As read, or with fields replaced since.

    Raises:
        StudyError: What was changed does not hold together.
    """
    same = toml_schema.reread(asked, read_questions)
    if same is not None:
        return same
    return read_questions(f"{toml_schema.CHANGED}\n{toml_schema.write(asked)}", "questions, changed in memory")


def handed() -> tuple[str, ...]:
    """Return the controls that an audit is given by their owner, by what findings call them."""
    return tuple(
        control.role if control.after == "candidate" else control.named
        for control in map(items.control, registry.names("controls"))
        if control.handed
    )
