"""The one reader and the one writer of frozen dataclasses: field by field, so that a message can name its place.

What a file of TOML or JSON holds (tables, lists, words and numbers) becomes records by their own annotations, and back.
A field whose name Python keeps for itself ends in an underscore, which the file does not have. Where a field may be one
of several records, the file says which under the key ``is``.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from whatelse.errors import WhatElseError, cut, nearest, shown

T = TypeVar("T")
KIND = "is"
# Squares of such numbers still are numbers, and no measurement comes near; whole ones have the bits of other languages.
_LARGEST, _MOST = 1e100, 2**63
_NAMED = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


@dataclass(frozen=True)
class Form:
    """How files of one kind are read.

    Attributes:
        raising: The error that is raised where something is missing, misplaced or of the wrong type.
        strict: True refuses keys that no field has; False ignores them.
        finite: True refuses numbers that are not finite, or larger than anything that is measured, and writes those as
            missing.
        aside: Fields that no file has.
        agree: Called with the values of every record and their place: what they must say together.
    """

    raising: type[WhatElseError]
    strict: bool = False
    finite: bool = True
    aside: tuple[str, ...] = ()
    agree: Callable[[Mapping[str, Any], str], None] | None = None


def short(value: object) -> str:
    """Return a value as a message shows it, cut where it is long.

    Args:
        value: Anything.
    """
    return shown(value, 60)


def inside(where: str, name: str) -> str:
    """Return how messages name a field.

    Args:
        where: The place of its record; the name of a file ends in a colon.
        name: Of the field.
    """
    return f"{where} {name}" if where.endswith(":") else f"{where}.{name}" if where else name


def read(kind: type[T], data: object, where: str, form: Form) -> T:
    """Return a record of a dataclass, or of a named tuple.

    Args:
        kind: Its class; a field without a default is needed.
        data: What a file holds.
        where: Its place, for messages.
        form: How such files are read.
    """
    if not isinstance(data, Mapping):
        raise form.raising(f"{where.rstrip(':')}: got {short(data)}; allowed is {_table(form)}")
    hints, needed = _hints(cast(Any, kind)), _needed(cast(Any, kind))
    names = {name.removesuffix("_"): name for name in needed}
    for key in data if form.strict else ():
        if key not in names:
            raise form.raising(f"{where}: no key {short(key)}; {nearest(key, set(names) - set(form.aside))}")
    values = {}
    for key, name in names.items():
        if key in data:
            values[name] = _value(hints[name], data[key], inside(where, key), form)
        elif needed[name]:
            given = cut(", ".join(map(str, data))) or "nothing"
            raise form.raising(f"{inside(where, key)}: missing; got only {given}")
    if form.agree is not None:
        form.agree(values, where)
    return kind(**values)


def plain(record: object, form: Form) -> dict[str, Any]:
    """Return a record as a file holds it, in the order of its fields: what `read` takes.

    Args:
        record: Of a dataclass, or of a named tuple.
        form: How such files are read; its error is raised where a number that may not be missing is not finite.
    """
    kind: Any = type(record)
    hints = _hints(kind)
    told = {}
    for name in _needed(kind):
        if name not in form.aside:
            try:
                told[name.removesuffix("_")] = _plain(hints[name], getattr(record, name), form)
            except _NotFiniteError as error:
                raise form.raising(f"{kind.__name__}.{name}: got {error}; allowed is a finite number") from error
    return told


class _NotFiniteError(ValueError):
    """A number that may not be missing is not finite."""


def _table(form: Form) -> str:
    return "a table" if form.strict else "an object"


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    # Resolving names takes longer than reading a record, and there may be ten thousand parts.
    return get_type_hints(kind)


@cache
def _needed(kind: type[Any]) -> dict[str, bool]:
    """Return for every field, in order, whether it has no default."""
    if is_dataclass(kind):
        return {f.name: f.default is MISSING and f.default_factory is MISSING for f in fields(kind)}
    return {name: name not in kind._field_defaults for name in kind._fields}


@cache
def _is_record(hint: Any) -> bool:  # noqa: ANN401 - any annotation
    named = isinstance(hint, type) and issubclass(hint, tuple) and hint is not tuple
    return is_dataclass(hint) or (named and get_origin(hint) is None)


@cache
def _members(hint: Any) -> tuple[Any, ...]:  # noqa: ANN401 - any annotation
    """Return what a value may be, without None, which a file may not have; nothing where it may only be one thing."""
    if get_origin(hint) not in {types.UnionType, Union}:
        return ()
    return tuple(part for part in get_args(hint) if part is not type(None))


def _value(hint: Any, data: object, where: str, form: Form) -> Any:  # noqa: ANN401 - as wide as a file
    if hint is Any:
        return data
    if hint in _NAMED:
        return _scalar(hint, data, where, form)
    if members := _members(hint):
        if data is None and type(None) in get_args(hint):
            return None
        return _value(members[0] if len(members) == 1 else _kind(members, data, where, form), data, where, form)
    return read(hint, data, where, form) if _is_record(hint) else _held(hint, data, where, form)


def _held(hint: Any, data: object, where: str, form: Form) -> Any:  # noqa: ANN401 - as wide as a file
    origin = get_origin(hint)
    if origin in {tuple, list}:
        return origin(_several(get_args(hint)[0], data, where, form))
    if origin in {Mapping, dict}:
        return _mapping(hint, data, where, form)
    if origin is Literal:
        return _word(get_args(hint), data, where, form)
    assert issubclass(hint, Enum), hint  # no record has anything else
    return hint(_word(tuple(one.value for one in hint), data, where, form))


def _kind(members: tuple[Any, ...], data: object, where: str, form: Form) -> Any:  # noqa: ANN401 - a class
    """Return which of several records a table is."""
    named = {one.__name__: one for one in members}
    told = data.get(KIND) if isinstance(data, Mapping) else data
    return named[_word(tuple(named), told, inside(where, KIND), form)]


def _word(allowed: tuple[str, ...], data: object, where: str, form: Form) -> str:
    if not isinstance(data, str) or data not in allowed:
        raise form.raising(f"{where}: got {short(data)}; allowed: {', '.join(allowed)}")
    return data


def _several(inner: Any, data: object, where: str, form: Form) -> list[Any]:  # noqa: ANN401 - as wide as a file
    if not isinstance(data, (list, tuple)):
        raise form.raising(f"{where}: got {short(data)}; allowed is a list")
    if inner is float and _finite(data):
        return list(data)
    values = [_value(inner, one, f"{where}[{at}]", form) for at, one in enumerate(data)]
    if get_origin(inner) is tuple:
        _even({len(line) for line in values}, get_args(inner), where, form)
    return values


def _even(widths: set[int], inner: tuple[Any, ...], where: str, form: Form) -> None:
    """Check the lengths of the lines of a table: of an image, or of records of so many numbers."""
    if inner[-1] is not ...:
        if widths - {len(inner)}:
            raise form.raising(f"{where}: got lines of {sorted(widths)} numbers; allowed are {len(inner)} in each")
    elif len(widths) != 1 or 0 in widths:
        raise form.raising(f"{where}: got lines of different lengths or none; allowed is a rectangle")


def _mapping(hint: Any, data: object, where: str, form: Form) -> dict[str, Any]:  # noqa: ANN401 - as wide as a file
    if not isinstance(data, Mapping):
        raise form.raising(f"{where}: got {short(data)}; allowed is {_table(form)}")
    inner = get_args(hint)[1]
    return {str(name): _value(inner, one, f"{where}.{cut(str(name), 60)}", form) for name, one in data.items()}


def _scalar(kind: type[Any], data: object, where: str, form: Form) -> Any:  # noqa: ANN401 - as wide as a file
    wanted = (int, float) if kind is float else kind
    if not isinstance(data, wanted) or (isinstance(data, bool) and kind is not bool):
        raise form.raising(f"{where}: got {short(data)}; allowed is {_NAMED[kind]}")
    if form.finite and kind is float and not abs(data) < _LARGEST:
        raise form.raising(
            f"{where}: got {short(data)}; allowed is a finite number below {_LARGEST:g}, or null where there is none"
        )
    if form.finite and kind is int and not abs(data) < _MOST:
        raise form.raising(f"{where}: got {short(data)}; allowed is a whole number of 63 bits")
    try:
        return float(data) if kind is float else data
    except OverflowError as error:
        raise form.raising(f"{where} is too large for a number") from error


def _plain(hint: Any, value: Any, form: Form) -> Any:  # noqa: ANN401 - as wide as a file
    kind: Any = type(value)
    if kind in {str, int, bool, types.NoneType}:
        return value
    members = _members(hint)
    if _is_record(kind):
        return {**({KIND: kind.__name__} if len(members) > 1 else {}), **plain(value, form)}
    if isinstance(value, Enum):
        return value.value
    inner = members[0] if members else hint
    if isinstance(value, Mapping):
        each = get_args(inner)[1] if get_origin(inner) in {Mapping, dict} else Any
        return {str(name): _plain(each, one, form) for name, one in value.items()}
    if isinstance(value, (tuple, list)):
        each = get_args(inner)[0] if get_origin(inner) in {tuple, list} else Any
        return list(value) if each is float and _finite(value) else [_plain(each, one, form) for one in value]
    if form.finite and isinstance(value, float) and not math.isfinite(value):
        if not members:
            raise _NotFiniteError(value)
        return None
    return value


def _finite(values: Sequence[Any]) -> bool:
    """Say whether these are numbers below any that is refused: most are of images, and need no further look."""
    return all(type(value) is float and abs(value) < _LARGEST for value in values)
