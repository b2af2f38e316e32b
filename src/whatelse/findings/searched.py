"""The record of a search: every trial against every budget, the finalists on test, and what was chosen.

Made, written, read and checked as these classes, as `whatelse.findings.record` is of findings. Where a number is none,
or is not finite, a file has null.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from whatelse.errors import FindingsError
from whatelse.findings import views
from whatelse.findings.codec import document, record
from whatelse.findings.consistent import check_search
from whatelse.records import short

SCHEMA = (
    "search 1"  # another where a key gets another name or meaning, or goes; not where one comes that may be missing
)
Tier = Literal["critical", "supporting"]
Verdict = Literal["GO", "NO-GO", "INCONCLUSIVE", "not opened"]


@dataclass(frozen=True)
class Constraint:
    """One budget, or one group of it, as the search holds candidates against it.

    Attributes:
        name: How trials call it, such as ``accuracy`` or ``accuracy by group: sex=female``.
        label: Of the measurement.
        group: The group; empty of the whole.
        unit: Of the harm and of ``most``.
        most: The most harm that is accepted.
        tier: ``critical`` or ``supporting``.
        n: Examples of select that it rests on; None where that is not counted.
        confirming: Examples of test that it will rest on; likewise.
        power: The largest harm that the confirmation would still let pass with chance .8 by its examples, where nothing
            else varies; None where that is not counted.
        floor: The harm that measuring the baseline once more shows; None where it was not measured.
    """

    name: str
    label: str
    group: str
    unit: str
    most: float
    tier: Tier
    n: int | None = None
    confirming: int | None = None
    power: float | None = None
    floor: float | None = None


@dataclass(frozen=True)
class Trial:
    """One configuration as it was measured on select.

    Attributes:
        number: From 1, in the order of asking.
        recipe: What makes the model of the baseline.
        value: What is made small, in its unit; None where the recipe failed.
        share: The same as a share of the baseline's; likewise.
        harm: By name of a constraint the harm on select, in its unit; None where it has no number.
        over: Likewise by how much it is exceeded as it is aimed at the confirmation, as a share of the budget; None
            where that has no number, as of a budget of nothing.
        feasible: Whether all budgets are kept so.
        binding: The constraint that is exceeded most or, where none is, that is nearest; empty where the recipe failed.
        skipped: Constraints that were not measured, since a cheaper one decided.
        why: What went wrong where the recipe failed.
        seconds: Of making and measuring.
        chance: That a confirmation shows all budgets kept, by what select says; None where the recipe failed, or a
            costly budget was not measured.
    """

    number: int
    recipe: str
    value: float | None
    share: float | None
    harm: Mapping[str, float | None] = field(default_factory=dict)
    over: Mapping[str, float | None] = field(default_factory=dict)
    feasible: bool = False
    binding: str = ""
    skipped: tuple[str, ...] = ()
    why: str = ""
    seconds: float = 0.0
    chance: float | None = None


@dataclass(frozen=True)
class Finalist:
    """A trial that was held against the budgets on test, in the order of the confirmation.

    Attributes:
        trial: Its number.
        verdict: ``GO``, ``NO-GO`` or ``INCONCLUSIVE``; ``not opened`` where one before it failed.
        harm: By name of a constraint the harm on test, in its unit.
        upper: Likewise its upper bound at one-sided level .05; None where nothing bounds it.
        because: What kept a GO away, one line each.
    """

    trial: int
    verdict: Verdict
    harm: Mapping[str, float | None] = field(default_factory=dict)
    upper: Mapping[str, float | None] = field(default_factory=dict)
    because: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Searched:
    """A whole search.

    Attributes:
        whatelse: Version of the package.
        created: When it ended, ISO 8601.
        model: What opened the baseline, as it was typed.
        data: Likewise of the data.
        strategy: Name of the strategy with its settings.
        seed: Decides everything random.
        minimize: What is made small.
        unit: Of it.
        baseline: That of the baseline.
        splits: Number of examples of every split.
        space: Number of configurations, as text.
        budgets: Title of the budgets.
        constraints: What trials are held against.
        trials: In the order of asking.
        finalists: In the order of the confirmation.
        winner: Number of the trial that is chosen, the last finalist that is GO; 0 where none is.
        folder: Where its model was written; empty where there is none.
        nearest: Number of the trial that came nearest where none is feasible; else 0.
        remarks: What must be said beside, such as the error of a surrogate.
        seconds: By ``making`` models, ``measuring`` them, the two summed over workers, and ``planning``: what the
            strategy took.
        schema: Version of the form of the file.
    """

    schema: str = field(default=SCHEMA, kw_only=True)

    whatelse: str
    created: str
    model: str
    data: str
    strategy: str
    seed: int
    minimize: str
    unit: str
    baseline: float
    splits: Mapping[str, int]
    space: str
    budgets: str
    constraints: tuple[Constraint, ...]
    trials: tuple[Trial, ...]
    finalists: tuple[Finalist, ...] = ()
    winner: int = 0
    folder: str = ""
    nearest: int = 0
    remarks: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    def trial(self, number: int) -> Trial:
        """Return a trial.

        Args:
            number: Its number.
        """
        return next(trial for trial in self.trials if trial.number == number)

    def to_html(self) -> str:
        """Return the page, as ``--html`` writes it."""
        return views.of_search(self, "html")

    def to_json(self) -> str:
        """Return the record, as ``--json`` writes it."""
        return views.of_search(self, "json")

    def __str__(self) -> str:
        return views.told_of_search(self)

    def __repr__(self) -> str:
        chosen = f"trial {self.winner} of {len(self.trials)}" if self.winner else f"none of {len(self.trials)} trials"
        return f"<Searched: {chosen} chosen>"


def load(path: Path) -> Searched:
    """Return the search that a file holds.

    Args:
        path: A JSON file that ``whatelse search --json`` wrote.

    Raises:
        FindingsError: The file cannot be read, is not JSON, is of another version, or lacks something.
    """
    return parse(document(path), str(path))


def parse(data: object, where: str = "search") -> Searched:
    """Return a search from what a JSON reader gives.

    Args:
        data: Objects, lists, words and numbers.
        where: Name of the file, for messages.

    Raises:
        FindingsError: The version is another, or something is missing, misplaced or of the wrong type.
    """
    if not isinstance(data, Mapping):
        raise FindingsError(f"{where}: got {short(data)}; allowed is one object with the key 'schema'")
    if data.get("schema") != SCHEMA:
        got = f"got {short(data['schema'])}" if "schema" in data else "got no schema"
        raise FindingsError(f"{where}: schema: {got}; this release reads a search of schema {SCHEMA!r}")
    searched = record(Searched, data, f"{where}:")
    check_search(searched, where)
    return searched
