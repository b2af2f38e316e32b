"""The one record that leaves the machine room, read, checked and typed.

Everything in this room takes `Findings` and nothing else. Keys that this release does not know are ignored;
a key that is missing, of the wrong type or outside its allowed words is an error that names its place.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from whatelse.errors import FindingsError

SCHEMA = 1
CONTROLS = ("baseline", "placebo", "twin", "scratch", "weight decay", "random", "zero")

Better = Literal["higher", "lower"]
Verdict = Literal["improved", "unchanged", "worsened", "inconclusive", "not measurable", "not trusted", "failed"]
Outcome = Literal["contradicted", "supported", "level-dependent", "indistinguishable", "not measured"]
Grey = tuple[tuple[float, ...], ...]

T = TypeVar("T")


@dataclass(frozen=True)
class Study:
    """What was asked for: names, and the text of the study file."""

    name: str
    title: str
    description: str
    file: str


@dataclass(frozen=True)
class Task:
    """What the models were asked, with the number of examples in each split."""

    name: str
    title: str
    description: str
    splits: Mapping[str, int]
    classes: int | None = None
    key: str = ""


@dataclass(frozen=True)
class Row:
    """One row of the table; everything after ``cited`` may be empty while it is not measured yet."""

    name: str
    title: str
    status: Literal["measured", "not measured yet"]
    survey: str
    cited: str
    question: str = ""
    behaviour: str | None = None
    task: str | None = None
    unit: str | None = None
    better: Better | None = None
    margin: float | None = None


@dataclass(frozen=True)
class Candidate:
    """One model after, or one control, and what it costs to keep and to run."""

    name: str
    family: str
    role: Literal["candidate", "control"]
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
class Finding:
    """One effect of one candidate against one control, and its verdict; a number may be missing."""

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
    over: str = "test example"
    seeds: int | None = None
    before: float | None = None
    after: float | None = None
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    floor: float | None = None
    detectable: float | None = None
    needed: int | None = None
    needed_seeds: int | None = None
    p: float | None = None
    adjusted_p: float | None = None
    validity: tuple[str, ...] = ()
    why: str = ""
    per_seed: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Claim:
    """A sentence of the survey under test, and what became of it."""

    row: str
    claim: str
    source: str
    supports: str
    outcome: Outcome
    reason: str
    because: tuple[str, ...] = ()


@dataclass(frozen=True)
class Maps:
    """Signed attribution maps of one example, each shaped ``(height, width)``."""

    baseline: Grey
    candidate: Grey


@dataclass(frozen=True)
class Picture:
    """One example to look at: its image in [0, 1], and what the two models made of it."""

    image: Grey
    note: str = ""
    index: int | None = None
    truth: str | None = None
    before: str | None = None
    after: str | None = None
    maps: Maps | None = None
    reconstruction: Grey | None = None


@dataclass(frozen=True)
class Exhibit:
    """A few examples under one heading: those harmed most, or what was reconstructed of them."""

    row: str
    kind: Literal["harmed", "reconstruction"]
    task: str
    candidate: str
    items: tuple[Picture, ...]
    title: str = ""


@dataclass(frozen=True)
class Failure:
    """A cell that raised, and what it said."""

    cell: str
    error: str


@dataclass(frozen=True)
class Findings:
    """Everything that a report is made from."""

    whatelse: str
    created: str
    study: Study
    environment: Mapping[str, Any]
    timing: Mapping[str, Any]
    seeds: tuple[int, ...]
    tasks: tuple[Task, ...]
    rows: tuple[Row, ...]
    candidates: tuple[Candidate, ...]
    findings: tuple[Finding, ...]
    claims: tuple[Claim, ...]
    exhibits: tuple[Exhibit, ...] = ()
    failed: tuple[Failure, ...] = ()


def load(path: Path) -> Findings:
    """Return the findings that a file holds.

    Args:
        path: A JSON file that ``--json`` wrote.

    Raises:
        FindingsError: The file cannot be read, is not JSON, is of another version, or lacks something.
    """
    where = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise FindingsError(f"{where}: cannot be read ({reason}); give a file that --json wrote") from error
    try:
        data = json.loads(text, parse_constant=_constant)
    except ValueError as error:
        raise FindingsError(f"{where}: not JSON ({error}); give a file that --json wrote") from error
    except RecursionError as error:
        raise FindingsError(f"{where}: not JSON (nested too deep); give a file that --json wrote") from error
    return parse(data, where)


def parse(data: object, where: str = "findings") -> Findings:
    """Return findings from what a JSON reader gives.

    Args:
        data: Objects, lists, words and numbers of schema 1.
        where: Name of the file, for messages.

    Raises:
        FindingsError: The version is another, or something is missing, misplaced or of the wrong type.
    """
    if not isinstance(data, Mapping):
        raise FindingsError(f"{where}: got {_short(data)}; allowed is one object with the key 'schema'")
    if data.get("schema") != SCHEMA or isinstance(data["schema"], bool):
        got = _short(data["schema"]) if "schema" in data else "no schema"
        raise FindingsError(f"{where}: schema: got {got}; this release reads schema {SCHEMA}")
    findings = _record(Findings, data, f"{where}: ")
    _joined(findings, where)
    return findings


def _joined(findings: Findings, where: str) -> None:
    """Check that what one part names, another part has: nothing may drop out of the page in silence."""
    rows = _unique((row.name for row in findings.rows), f"{where}: rows")
    named = _unique((candidate.name for candidate in findings.candidates), f"{where}: candidates")
    ids = _unique((finding.id for finding in findings.findings), f"{where}: findings")
    models = named | set(CONTROLS)
    for at, finding in enumerate(findings.findings):
        place = f"{where}: findings[{at}]"
        _among(finding.row, rows, f"{place}.row")
        _among(finding.candidate, models, f"{place}.candidate")
        _among(finding.control, models, f"{place}.control")
    for at, claim in enumerate(findings.claims):
        _among(claim.row, rows, f"{where}: claims[{at}].row")
        for one in claim.because:
            _among(one, ids, f"{where}: claims[{at}].because")
    for at, exhibit in enumerate(findings.exhibits):
        _among(exhibit.row, rows, f"{where}: exhibits[{at}].row")
    chosen = (f"{f.row} / {f.candidate}" for f in findings.findings if f.primary)
    _unique(chosen, f"{where}: primary findings")


def _unique(names: Iterable[str], where: str) -> set[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise FindingsError(f"{where}: got {name!r} twice; each may stand once")
        seen.add(name)
    return seen


def _among(name: str, known: set[str], where: str) -> None:
    if name not in known:
        some = ", ".join(sorted(known)[:20]) or "nothing"
        raise FindingsError(f"{where}: got {name!r}; allowed: {some}")


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number; null is how a missing number is written")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _record(kind: type[T], data: object, where: str) -> T:
    # Field by field, so that a message can name its place.
    if not isinstance(data, Mapping):
        raise FindingsError(f"{where.rstrip('. :')}: got {_short(data)}; allowed is an object")
    hints = get_type_hints(kind)
    values = {}
    for one in fields(cast(Any, kind)):
        if one.name in data:
            values[one.name] = _value(hints[one.name], data[one.name], f"{where}{one.name}")
        elif one.default is MISSING and one.default_factory is MISSING:
            given = ", ".join(map(str, data)) or "nothing"
            raise FindingsError(f"{where}{one.name}: missing; got only {given}")
    return kind(**values)


def _value(hint: Any, data: object, where: str) -> Any:  # noqa: ANN401 - as wide as JSON
    origin = get_origin(hint)
    if hint is Any:
        return data
    if is_dataclass(hint):
        return _record(cast(type[Any], hint), data, f"{where}.")
    if origin in {types.UnionType, Union}:
        inner = next(part for part in get_args(hint) if part is not type(None))
        return None if data is None else _value(inner, data, where)
    if origin is Literal:
        return _word(get_args(hint), data, where)
    if origin is tuple:
        return _several(get_args(hint)[0], data, where)
    return _mapping(hint, data, where) if origin is Mapping else _scalar(hint, data, where)


def _word(allowed: tuple[str, ...], data: object, where: str) -> str:
    if not isinstance(data, str) or data not in allowed:
        raise FindingsError(f"{where}: got {_short(data)}; allowed: {', '.join(allowed)}")
    return data


def _several(inner: Any, data: object, where: str) -> tuple[Any, ...]:  # noqa: ANN401 - as wide as JSON
    if not isinstance(data, (list, tuple)):
        raise FindingsError(f"{where}: got {_short(data)}; allowed is a list")
    values = tuple(_value(inner, one, f"{where}[{at}]") for at, one in enumerate(data))
    widths = {len(line) for line in values} if get_origin(inner) is tuple else {1}
    if len(widths) != 1 or 0 in widths:
        raise FindingsError(f"{where}: got lines of different lengths or none; allowed is a rectangle")
    return values


def _mapping(hint: Any, data: object, where: str) -> dict[str, Any]:  # noqa: ANN401 - as wide as JSON
    if not isinstance(data, Mapping):
        raise FindingsError(f"{where}: got {_short(data)}; allowed is an object")
    inner = get_args(hint)[1]
    return {str(name): _value(inner, one, f"{where}.{name}") for name, one in data.items()}


def _scalar(kind: type[Any], data: object, where: str) -> Any:  # noqa: ANN401 - as wide as JSON
    wanted = (int, float) if kind is float else kind
    if not isinstance(data, wanted) or (isinstance(data, bool) and kind is not bool):
        named = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}[kind]
        raise FindingsError(f"{where}: got {_short(data)}; allowed is {named}")
    if kind is float and not abs(float(data)) < float("inf"):
        raise FindingsError(f"{where}: got {data}; allowed is a finite number, or null where there is none")
    return float(data) if kind is float else data
