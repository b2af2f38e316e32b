"""A dataclass of a TOML table, checked key by key."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from numbers import Integral, Real
from typing import Any, Protocol, TypeVar

from whatelse import records
from whatelse.errors import StudyError, WhatElseError, in_short, shown

S = TypeVar("S")
# What a file may hold: tomllib takes time that grows with the square of the dots in a key.
_LONGEST, _DOTS = 2**20, 50
# Strings and comments of TOML, also unterminated ones; possessive, so that no text makes the search go back.
_ASIDE = re.compile(
    r'''"""(?:[^"\\]|\\.|"{1,2}(?!"))*+"{0,5}|"(?:[^"\\\n]|\\[^\n])*+"?'''
    r"""|'''(?:[^']|'{1,2}(?!'))*+'{0,5}|'[^'\n]*+'?|\#[^\n]*+""",
    re.DOTALL,
)
CHANGED = "# Written from what was asked in memory: no file says it."


class Worded(Protocol):
    """A record that holds the text that it was read from."""

    @property
    def text(self) -> str:
        """The text."""


W = TypeVar("W", bound=Worded)


def parse(text: str, where: str, raising: type[WhatElseError] = StudyError) -> dict[str, Any]:
    """Return the table of a whole file.

    Args:
        text: TOML.
        where: Name of the file, for messages.
        raising: The error that is raised where the text is not TOML, or larger than any file that people write.
    """
    if len(text) > _LONGEST:
        raise raising(f"{where}: {len(text):,} characters; at most {_LONGEST:,} are read")
    bare = _ASIDE.sub("_", text)
    dots = max(piece.count(".") for piece in re.split(r"[=,\[\]{}\n]", bare))
    if dots > _DOTS:
        raise raising(f"{where}: a key with {dots:,} dots; at most {_DOTS} are read")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also a number of more digits than Python reads
        raise raising(f"{where}: {in_short(error)}") from error


def read(kind: type[S], table: object, where: str, raising: type[WhatElseError] = StudyError) -> S:
    """Return a dataclass made of a table, and of the tables inside it.

    Args:
        kind: The dataclass; a field without a default is needed.
        table: What a TOML file holds.
        where: Its place in the file, for messages.
        raising: The error that is raised where it is no table, a key is unknown or missing, or a value has the wrong
            type.
    """
    form = records.Form(raising, strict=True, finite=False, aside=("text",))
    return records.read(kind, table, where, form)


def reread(record: W, *parsers: Callable[[str], W]) -> W | None:
    """Return a record as its text says it; None where that is not what it says: a field was replaced after it was read.

    Args:
        record: A dataclass with its ``text``.
        parsers: The ways in which such a text is read.
    """
    said = write(record)
    for parser in parsers:
        with suppress(WhatElseError):
            if write(found := parser(record.text)) == said:
                return found
    return None


def write(record: object) -> str:
    """Return the TOML text of a dataclass, without its ``text`` and what stands at its default.

    Args:
        record: A dataclass of numbers, words, lists, mappings and dataclasses.

    Raises:
        StudyError: A value is none of those.
    """
    table = _plain(record, type(record).__name__.lower())
    heads = [f"{_key(name)} = {_inline(value)}\n" for name, value in table.items() if not _sections(name, value)]
    parts = [part for name, value in table.items() for part in _sections(name, value)]
    return "\n".join(["".join(heads), *parts])


def _sections(name: str, value: Any) -> list[str]:  # noqa: ANN401 - whatever TOML holds
    """Return the sections that a key of a file is written as; none where it is a line at its top."""
    key = _key(name)
    if isinstance(value, dict):
        nested = value and all(isinstance(inner, dict) for inner in value.values())
        return (
            [_section(f"[{key}.{_key(n)}]", v) for n, v in value.items()] if nested else [_section(f"[{key}]", value)]
        )
    if isinstance(value, list) and value and all(isinstance(inner, dict) for inner in value):
        return [_section(f"[[{key}]]", inner) for inner in value]
    return []


def _section(head: str, table: Mapping[str, Any]) -> str:
    return "".join([f"{head}\n", *(f"{_key(name)} = {_inline(value)}\n" for name, value in table.items())])


def _inline(value: Any) -> str:  # noqa: ANN401 - whatever TOML holds
    if isinstance(value, dict):
        inner = ", ".join(f"{_key(name)} = {_inline(each)}" for name, each in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return _word(value) if isinstance(value, str) else repr(value)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _word(name)


def _word(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # the escapes of JSON are those of TOML


def _plain(value: Any, where: str) -> Any:  # noqa: ANN401 - whatever a dataclass holds
    """Return a value as TOML may hold it.

    Raises:
        StudyError: TOML has nothing like it.
    """
    if is_dataclass(value):
        given = {f.name: getattr(value, f.name) for f in fields(value) if f.name != "text" and not _left_out(value, f)}
        return {name: _plain(each, f"{where}.{name}") for name, each in given.items()}
    if isinstance(value, Mapping):
        return {str(name): _plain(each, f"{where}.{name}") for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each, f"{where}[{i}]") for i, each in enumerate(value)]
    if isinstance(value, (bool, str)):
        return value
    if isinstance(value, (Integral, Real)):  # also those of NumPy
        return int(value) if isinstance(value, Integral) else float(value)
    raise StudyError(
        f"{where}={shown(value)} is of type {type(value).__name__}; numbers, words, lists and tables are allowed"
    )


def _left_out(record: Any, f: Any) -> bool:  # noqa: ANN401 - any dataclass and its field
    default = f.default_factory() if f.default_factory is not MISSING else f.default
    value = getattr(record, f.name)
    return type(value) is type(default) and bool(value == default)
