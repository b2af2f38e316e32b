"""JSON to typed records: field by field, so that a message can name its place."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from whatelse.errors import FindingsError, cut, shown

T = TypeVar("T")
# Squares of such numbers still are numbers, and no measurement comes near; whole ones have the bits of other languages.
_LARGEST, _MOST = 1e100, 2**63


def short(value: object) -> str:
    """Return a value as a message shows it, cut where it is long.

    Args:
        value: Anything.
    """
    return shown(value, 60)


def record(kind: type[T], data: object, where: str) -> T:
    """Return a record of a frozen dataclass; a field whose name Python keeps for itself ends in an underscore.

    Args:
        kind: The dataclass.
        data: What a JSON reader gives.
        where: Its place, for messages; ends in a dot or a colon.

    Raises:
        FindingsError: Something is missing, of the wrong type or outside its allowed words.
    """
    if not isinstance(data, Mapping):
        raise FindingsError(f"{where.rstrip('. :')}: got {short(data)}; allowed is an object")
    hints = _hints(cast(Any, kind))
    values = {}
    for one in fields(cast(Any, kind)):
        name = one.name.removesuffix("_")
        if name in data:
            values[one.name] = _value(hints[one.name], data[name], f"{where}{name}")
        elif one.default is MISSING and one.default_factory is MISSING:
            given = cut(", ".join(map(str, data))) or "nothing"
            raise FindingsError(f"{where}{name}: missing; got only {given}")
    _agree(values, where)
    return kind(**values)


def _agree(values: Mapping[str, Any], where: str) -> None:
    """Check what the numbers of a record say together: counts, chances, and the two ends of an interval.

    Raises:
        FindingsError: They cannot all be so.
    """
    for name, value in values.items():
        if isinstance(value, int) and value < 0:  # every whole number of a record counts something
            raise FindingsError(f"{where}{name}: got {value}; allowed is a count of 0 or more")
        if name in {"margin", "gain"} and value is not None and value < 0:
            raise FindingsError(f"{where}{name}: got {value}; allowed is a number of 0 or more")
        if name in {"p", "adjusted_p"} and value is not None and not 0 <= value <= 1:
            raise FindingsError(f"{where}{name}: got {value}; allowed is a chance within [0, 1]")
    for low, high in (("low", "high"), ("low90", "high90")):
        _ordered(values.get(low), values.get(high), f"{where}{low}")
    for at, (level, low, high) in enumerate(values.get("tails", ())):
        if not 0 < level < 1:
            raise FindingsError(f"{where}tails[{at}][0]: got {level}; allowed is a level within (0, 1)")
        _ordered(low, high, f"{where}tails[{at}]")


def _ordered(low: float | None, high: float | None, where: str) -> None:
    if low is not None and high is not None and low > high:
        raise FindingsError(f"{where}: got {low}, above the upper end {high}; the lower end of an interval comes first")


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    # Resolving names takes longer than reading a record, and there may be ten thousand parts.
    return get_type_hints(kind)


def _value(hint: Any, data: object, where: str) -> Any:  # noqa: ANN401 - as wide as JSON
    origin = get_origin(hint)
    if hint is Any:
        return data
    if is_dataclass(hint):
        return record(cast(type[Any], hint), data, f"{where}.")
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
        raise FindingsError(f"{where}: got {short(data)}; allowed: {', '.join(allowed)}")
    return data


def _several(inner: Any, data: object, where: str) -> tuple[Any, ...]:  # noqa: ANN401 - as wide as JSON
    if not isinstance(data, (list, tuple)):
        raise FindingsError(f"{where}: got {short(data)}; allowed is a list")
    values = tuple(_value(inner, one, f"{where}[{at}]") for at, one in enumerate(data))
    if get_origin(inner) is tuple:
        _even({len(line) for line in values}, get_args(inner), where)
    return values


def _even(widths: set[int], inner: tuple[Any, ...], where: str) -> None:
    """Check the lengths of the lines of a table: of an image, or of records of so many numbers.

    Raises:
        FindingsError: They are not as long as they must be.
    """
    if inner[-1] is not ...:
        if widths - {len(inner)}:
            raise FindingsError(f"{where}: got lines of {sorted(widths)} numbers; allowed are {len(inner)} in each")
    elif len(widths) != 1 or 0 in widths:
        raise FindingsError(f"{where}: got lines of different lengths or none; allowed is a rectangle")


def _mapping(hint: Any, data: object, where: str) -> dict[str, Any]:  # noqa: ANN401 - as wide as JSON
    if not isinstance(data, Mapping):
        raise FindingsError(f"{where}: got {short(data)}; allowed is an object")
    inner = get_args(hint)[1]
    return {str(name): _value(inner, one, f"{where}.{cut(str(name), 60)}") for name, one in data.items()}


def _scalar(kind: type[Any], data: object, where: str) -> Any:  # noqa: ANN401 - as wide as JSON
    wanted = (int, float) if kind is float else kind
    if not isinstance(data, wanted) or (isinstance(data, bool) and kind is not bool):
        named = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}[kind]
        raise FindingsError(f"{where}: got {short(data)}; allowed is {named}")
    if kind is float and not abs(data) < _LARGEST:
        raise FindingsError(
            f"{where}: got {short(data)}; allowed is a finite number below {_LARGEST:g}, or null where there is none"
        )
    if kind is int and not abs(data) < _MOST:
        raise FindingsError(f"{where}: got {short(data)}; allowed is a whole number of 63 bits")
    return float(data) if kind is float else data
