"""Records to JSON and back, by the same classes; what is written is what is read, to the last digit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from whatelse import limits, records
from whatelse.errors import FindingsError

T = TypeVar("T")


def record(kind: type[T], data: object, where: str) -> T:
    """Return a record of a frozen dataclass; a field whose name Python keeps for itself ends in an underscore.

    Args:
        kind: The dataclass.
        data: What a JSON reader gives.
        where: Its place, for messages; the name of a file ends in a colon.

    Raises:
        FindingsError: Something is missing, of the wrong type or outside its allowed words.
    """
    return records.read(kind, data, where, FORM)


def to_json(made: object) -> dict[str, Any]:
    """Return a record as JSON has it: fields in the order of the class, lists, words, and null for what is missing.

    Args:
        made: A record of a frozen dataclass, such as `whatelse.findings.record.Findings`.

    Raises:
        FindingsError: A number is not finite where one is needed.
    """
    return records.plain(made, FORM)


def dumps(made: object) -> str:
    """Return a record as a JSON document, as ``--json`` writes it.

    Args:
        made: A record of a frozen dataclass, such as `whatelse.findings.record.Findings`.

    Raises:
        FindingsError: A number is not finite where one is needed.
    """
    return json.dumps(to_json(made), indent=1, allow_nan=False) + "\n"


def document(path: Path) -> object:
    """Return what a file of JSON holds.

    Args:
        path: A file that ``--json`` wrote.

    Raises:
        FindingsError: The file cannot be read, or is not JSON.
    """
    try:
        text = limits.text(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise FindingsError(f"{path}: cannot be read ({reason}); give a file that --json wrote") from error
    try:
        data: object = json.loads(text, parse_constant=_constant)
    except ValueError as error:
        raise FindingsError(f"{path}: not JSON ({error}); give a file that --json wrote") from error
    except RecursionError as error:
        raise FindingsError(f"{path}: not JSON (nested too deep); give a file that --json wrote") from error
    return data


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number; null is how a missing number is written")


def _agree(values: Mapping[str, Any], where: str) -> None:
    """Check what the numbers of a record say together: counts, chances, and the two ends of an interval.

    Raises:
        FindingsError: They cannot all be so.
    """
    for name, value in values.items():
        place = records.inside(where, name)
        if isinstance(value, int) and value < 0:  # every whole number of a record counts something
            raise FindingsError(f"{place}: got {value}; allowed is a count of 0 or more")
        if name in {"margin", "gain"} and value is not None and value < 0:
            raise FindingsError(f"{place}: got {value}; allowed is a number of 0 or more")
        if name in {"p", "adjusted_p"} and value is not None and not 0 <= value <= 1:
            raise FindingsError(f"{place}: got {value}; allowed is a chance within [0, 1]")
    for low, high in (("low", "high"), ("low90", "high90")):
        _ordered(values.get(low), values.get(high), records.inside(where, low))
    tails = records.inside(where, "tails")
    for at, (level, low, high) in enumerate(values.get("tails", ())):
        if not 0 < level < 1:
            raise FindingsError(f"{tails}[{at}][0]: got {level}; allowed is a level within (0, 1)")
        _ordered(low, high, f"{tails}[{at}]")


def _ordered(low: float | None, high: float | None, where: str) -> None:
    if low is not None and high is not None and low > high:
        raise FindingsError(f"{where}: got {low}, above the upper end {high}; the lower end of an interval comes first")


FORM = records.Form(FindingsError, agree=_agree)
