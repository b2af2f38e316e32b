"""A dataclass of a TOML table, checked key by key."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from whatelse.errors import StudyError, WhatElseError, nearest

S = TypeVar("S")


def parse(text: str, where: str, raising: type[WhatElseError] = StudyError) -> dict[str, Any]:
    """Return the table of a whole file.

    Args:
        text: TOML.
        where: Name of the file, for messages.
        raising: The error that is raised where the text is not TOML.
    """
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also a number of more digits than Python reads
        raise raising(f"{where}: {error}") from error


def read(kind: type[S], table: object, where: str, raising: type[WhatElseError] = StudyError) -> S:
    """Return a dataclass made of a table, and of the tables inside it.

    Args:
        kind: The dataclass; a field without a default is needed.
        table: What a TOML file holds.
        where: Its place in the file, for messages.
        raising: The error that is raised where it is no table, a key is unknown or missing, or a value has the wrong
            type.
    """
    if not isinstance(table, Mapping):
        raise raising(f"{where}: got {table!r}; a table is needed")
    hints = get_type_hints(kind)
    for name in table:
        if name not in hints:
            raise raising(f"{where}: no key {name!r}; {nearest(name, set(hints) - {'text'})}")
    values = {}
    for f in fields(kind):  # type: ignore[arg-type]
        if f.name in table:
            values[f.name] = _value(hints[f.name], table[f.name], f"{where}.{f.name}", raising)
        elif f.default is MISSING and f.default_factory is MISSING:
            raise raising(f"{where}: the key {f.name!r} is missing")
    return kind(**values)


def _value(hint: Any, value: Any, where: str, raising: type[WhatElseError]) -> Any:  # noqa: ANN401 - whatever TOML holds
    if get_origin(hint) is UnionType:  # TOML has no null: a key that may be None is left out instead
        hint = next(part for part in get_args(hint) if part is not NoneType)
    if get_origin(hint) in {list, dict}:
        return _several(hint, value, where, raising)
    if isinstance(hint, type) and is_dataclass(hint):
        return read(hint, value, where, raising)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = _real(value, where, raising)
    if hint is not Any and type(value) is not hint:
        raise raising(f"{where}={value!r} is not of type {hint.__name__}")
    return value


def _real(value: int, where: str, raising: type[WhatElseError]) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise raising(f"{where} is too large for a number") from error


def _several(hint: Any, value: Any, where: str, raising: type[WhatElseError]) -> Any:  # noqa: ANN401 - list or table
    kind, inner = get_origin(hint), get_args(hint)[-1]
    if not isinstance(value, kind):
        raise raising(f"{where}={value!r} is not a {'list' if kind is list else 'table'}")
    if kind is list:
        return [_value(inner, part, f"{where}[{i}]", raising) for i, part in enumerate(value)]
    return {name: _value(inner, part, f"{where}.{name}", raising) for name, part in value.items()}
