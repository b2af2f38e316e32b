"""A dataclass of a TOML table, checked key by key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from whatelse.errors import StudyError, nearest

S = TypeVar("S")


def read(kind: type[S], table: object, where: str) -> S:
    """Return a dataclass made of a table, and of the tables inside it.

    Args:
        kind: The dataclass; a field without a default is needed.
        table: What a TOML file holds.
        where: Its place in the file, for messages.

    Raises:
        StudyError: It is no table, a key is unknown or missing, or a value has the wrong type.
    """
    if not isinstance(table, Mapping):
        raise StudyError(f"{where}: got {table!r}; a table is needed")
    hints = get_type_hints(kind)
    for name in table:
        if name not in hints:
            raise StudyError(f"{where}: no key {name!r}; {nearest(name, set(hints) - {'text'})}")
    values = {}
    for f in fields(kind):  # type: ignore[arg-type]
        if f.name in table:
            values[f.name] = _value(hints[f.name], table[f.name], f"{where}.{f.name}")
        elif f.default is MISSING and f.default_factory is MISSING:
            raise StudyError(f"{where}: the key {f.name!r} is missing")
    return kind(**values)


def _value(hint: Any, value: Any, where: str) -> Any:  # noqa: ANN401 - whatever TOML holds
    if get_origin(hint) is list:
        inner = get_args(hint)[0]
        if not isinstance(value, list):
            raise StudyError(f"{where}={value!r} is not a list")
        return [_value(inner, part, f"{where}[{i}]") for i, part in enumerate(value)]
    if get_origin(hint) is dict:
        inner = get_args(hint)[1]
        if not isinstance(value, dict):
            raise StudyError(f"{where}={value!r} is not a table")
        return {name: _value(inner, part, f"{where}.{name}") for name, part in value.items()}
    if isinstance(hint, type) and is_dataclass(hint):
        return read(hint, value, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if hint is not Any and type(value) is not hint:
        raise StudyError(f"{where}={value!r} is not of type {hint.__name__}")
    return value
