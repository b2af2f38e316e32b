"""The one record that leaves the machine room: made, written, read and checked as these classes.

Gate, report and Python callers take `Findings` and nothing else. Keys of a file that this release does not know are
ignored; a key that is missing, of the wrong type or outside its allowed words is an error that names its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from whatelse.errors import FindingsError, cut
from whatelse.findings import views
from whatelse.findings.checks import Comparability
from whatelse.findings.codec import document, record
from whatelse.findings.consistent import check
from whatelse.findings.exhibits import DEEPEST, Exhibit
from whatelse.findings.former import FORMER, modern
from whatelse.findings.roles import Role
from whatelse.records import short

if TYPE_CHECKING:
    import pandas

SCHEMA = 2  # raised where a key gets another name or meaning, or goes; not where one comes that may be missing
Better = Literal["higher", "lower"]
Status = Literal["measured", "not measured yet"]
Side = Literal["higher", "lower", "neither"]
Verdict = Literal["improved", "unchanged", "worsened", "inconclusive", "not measurable", "not trusted", "failed"]
Outcome = Literal["contradicted", "supported", "level-dependent", "indistinguishable", "not measured"]
Tails = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Study:
    """What was asked for: names, and the text of the study file."""

    name: str
    title: str
    description: str
    file: str
    draws: int | None = None


@dataclass(frozen=True)
class Task:
    """What the models were asked, with the number of examples in each split."""

    name: str
    title: str
    description: str
    splits: Mapping[str, int]
    classes: int | None = None
    key: str = ""
    references: int = 0


@dataclass(frozen=True)
class Apart:
    """What a study of its own found of a row whose question is not one about each candidate.

    ``brief`` counts its verdicts, ``told`` says what was found; ``made_by`` is the command, ``page`` has all numbers.
    """

    brief: str
    told: str
    made_by: str
    page: str


@dataclass(frozen=True)
class Row:
    """One row of the table; everything after ``cited`` may be empty while it is not measured yet, or measured apart."""

    name: str
    title: str
    status: Status
    survey: str
    cited: str
    question: str = ""
    task: str | None = None
    unit: str | None = None
    better: Better | None = None
    margin: float | None = None
    apart: Apart | None = None


@dataclass(frozen=True)
class Candidate:
    """One model after, or one control, and what it costs to keep and to run."""

    name: str
    family: str
    role: Role
    recipe: str
    kind: str = ""
    level: str = ""
    knob: float | None = None
    knob_name: str = ""
    parameters: int | None = None
    bytes: int | None = None
    macs: int | None = None
    left_alone: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """The effect on one part; a number is missing where the part is empty.

    ``n`` examples belong to it; ``tails``, ``rose`` and ``fell`` are as those of a `Finding`.
    """

    name: str
    before: float | None = None
    after: float | None = None
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    adjusted_p: float | None = None
    n: int | None = None
    tails: Tails = ()
    rose: int | None = None
    fell: int | None = None


@dataclass(frozen=True)
class Parts:
    """The same question asked of each part: what they are, such as ``group``, and the effect on each in order.

    Where the parts of a gap are accuracies, they have a unit and a direction of their own.
    """

    kind: str
    items: tuple[Part, ...]
    unit: str | None = None
    better: Side | None = None


@dataclass(frozen=True)
class Share:
    """How far on the way from the random model (0) to the placebo (1), with its 95 % interval."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Floors:
    """What else moves a number: measuring the baseline again with other random numbers, and compressing once more."""

    measurement: float | None = None
    compression: float | None = None


@dataclass(frozen=True)
class Finding:
    """One effect of one candidate against one control, and its verdict; a number may be missing.

    ``tails`` holds (level, low, high), widest last: the truth lies below ``low`` with chance at most ``level``, and
    above ``high`` likewise. ``n`` of ``of`` are counted in the ``unit_of_analysis``. ``leading`` tells whether the
    control is the candidate's own, ``verdict_if_one_sided`` which verdict the ``doubts`` leave, ``floor`` what
    retraining alone does, ``room`` the least that the control has left to lose, ``rose`` and ``fell`` how many examples
    moved up and down where that can be counted.
    """

    id: str
    row: str
    behaviour: str
    label: str
    task: str
    candidate: str
    control: str
    primary: bool
    verdict: Verdict
    unit: str
    better: Better
    title: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    n: int | None = None
    unit_of_analysis: str = "test example"
    of: int | None = None
    clusters: int | None = None
    seeds: int | None = None
    before: float | None = None
    after: float | None = None
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    low90: float | None = None
    high90: float | None = None
    tails: Tails = ()
    rose: int | None = None
    fell: int | None = None
    margin: float | None = None
    gain: float | None = None
    room: float | None = None
    floor: float | None = None
    floors: Floors | None = None
    detectable: float | None = None
    needed: int | None = None
    needed_seeds: int | None = None
    p: float | None = None
    adjusted_p: float | None = None
    validity: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    verdict_if_one_sided: str = ""
    leading: bool = True
    why: str = ""
    per_seed: tuple[float | None, ...] = ()
    parts: Parts | None = None
    share: Share | None = None


@dataclass(frozen=True)
class Claim:
    """A sentence of the survey under test, and what became of it.

    ``settled`` is the share of draws of the seeds, with replacement, in which the outcome is the same; missing where
    there is one seed, or where the claim is measured apart.
    """

    row: str
    claim: str
    source: str
    supports: str
    outcome: Outcome
    reason: str
    because: tuple[str, ...] = ()
    settled: float | None = None


@dataclass(frozen=True)
class Potential:
    """How far one family can be compressed and still be shown to lose no more than ``delta``: the prune potential.

    ``levels`` go from mild to strong, ``shown`` says of each whether that is shown there; ``unbroken`` is the strongest
    up to which every milder one is shown too.
    """

    family: str
    delta: float
    potential: float | None = None
    kind: str = ""
    knob_name: str = ""
    label: str = ""
    task: str = ""
    unit: str = ""
    recipe: str = ""
    levels: tuple[float, ...] = ()
    shown: tuple[bool, ...] = ()
    unbroken: float | None = None


@dataclass(frozen=True)
class Failure:
    """A cell that raised, and what it said."""

    cell: str
    error: str


@dataclass(frozen=True)
class Environment:
    """What the numbers were made with; ``made_elsewhere`` tells of results that another release or machine made."""

    python: str = ""
    torch: str = ""
    numpy: str = ""
    platform: str = ""
    threads: int | None = None
    made_elsewhere: str = ""


@dataclass(frozen=True)
class Timing:
    """Seconds from start to end, and over all processes by kind of work; how many kept files were damaged."""

    wall_s: float | None = None
    training_s: float | None = None
    compressing_s: float | None = None
    measuring_s: float | None = None
    analyzing_s: float | None = None
    damaged_and_made_again: int | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Findings:
    """Everything that a report is made from; ``schema`` is the version of its form."""

    schema: int = SCHEMA
    whatelse: str
    created: str
    study: Study
    environment: Environment
    timing: Timing
    seeds: tuple[int, ...]
    tasks: tuple[Task, ...]
    rows: tuple[Row, ...]
    candidates: tuple[Candidate, ...]
    findings: tuple[Finding, ...]
    claims: tuple[Claim, ...]
    exhibits: tuple[Exhibit, ...] = ()
    failed: tuple[Failure, ...] = ()
    potential: tuple[Potential, ...] = ()
    comparability: Comparability = Comparability()

    def worst(self, n: int = 5) -> tuple[Finding, ...]:
        """Return the findings of the largest harm, the worst first, as `whatelse.findings.harm.worst` orders them.

        Args:
            n: How many.
        """
        return views.worst(self, n)

    def table(self) -> pandas.DataFrame:
        """Return one line a finding, as ``--csv`` writes it.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return views.table(self)

    def to_html(self, *, show_examples: bool = False) -> str:
        """Return the page, as ``--html`` writes it.

        Args:
            show_examples: Also examples that are there, which are rows of people.
        """
        return views.rendered(self, "html", show_examples=show_examples)

    def to_json(self, *, show_examples: bool = False) -> str:
        """Return the record, as ``--json`` writes it.

        Args:
            show_examples: Also examples that are there, which are rows of people.
        """
        return views.rendered(self, "json", show_examples=show_examples)

    def __str__(self) -> str:
        return views.told(self)

    def __repr__(self) -> str:
        return views.short(self)

    def _repr_html_(self) -> str:
        return views.small(self)


def load(path: Path) -> Findings:
    """Return the findings that a file holds.

    Args:
        path: A JSON file that ``--json`` wrote.

    Raises:
        FindingsError: The file cannot be read, is not JSON, is of another version, or lacks something.
    """
    return parse(document(path), str(path))


def parse(data: object, where: str = "findings") -> Findings:
    """Return findings from what a JSON reader gives.

    Args:
        data: Objects, lists, words and numbers of schema 2, or of schema 1 that the release before wrote.
        where: Name of the file, for messages.

    Raises:
        FindingsError: The version is another, or something is missing, misplaced or of the wrong type.
    """
    if not isinstance(data, Mapping):
        raise FindingsError(f"{where}: got {short(data)}; allowed is one object with the key 'schema'")
    if data.get("schema") not in (FORMER, SCHEMA) or isinstance(data["schema"], bool):
        raise FindingsError(f"{where}: schema: {_unknown(data)}; this release reads schema {FORMER} and {SCHEMA}")
    try:
        findings = record(Findings, modern(data, SCHEMA) if data["schema"] == FORMER else data, f"{where}:")
    except RecursionError as error:
        raise FindingsError(f"{where}: exhibits: a tree is nested too deep; allowed are {DEEPEST} levels") from error
    check(findings, where)
    return findings


def _unknown(data: Mapping[str, Any]) -> str:
    if "schema" not in data:
        return "got no schema"
    by = data.get("whatelse")
    return f"got {short(data['schema'])}" + (f", written by whatelse {cut(by, 20)}" if isinstance(by, str) else "")
