"""Findings as the release before wrote them, under the names of today."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from whatelse.findings.roles import Role

FORMER = 1
_KEYS = {"over": "unit_of_analysis", "stands": "verdict_if_one_sided"}
_NAMES = {"remeasured": str(Role.RETEST)}  # of controls
Record = Mapping[str, Any]


def modern(data: Record, schema: int) -> dict[str, Any]:
    """Return a record of schema 1 as this release has it; what is not as it should be is left as it is.

    Args:
        data: As read.
        schema: The version of today.
    """
    ways: dict[str, Callable[[Any], Any]] = {
        "schema": lambda _: schema,
        "findings": lambda every: _each(every, _finding),
        "candidates": lambda every: _each(every, _candidate),
        "environment": lambda one: {str(k).replace(" ", "_"): v for k, v in one.items()} if _is(one) else one,
    }
    return {key: ways[key](value) if key in ways else value for key, value in data.items()}


def _is(one: object) -> bool:
    return isinstance(one, Mapping)


def _each(every: object, way: Callable[[Record], Record]) -> object:
    return [way(one) if isinstance(one, Mapping) else one for one in every] if isinstance(every, list) else every


def _finding(one: Record) -> Record:
    made = {_KEYS.get(key, key): value for key, value in one.items()}
    return made | {key: _named(made[key]) for key in ("candidate", "control") if key in made}


def _candidate(one: Record) -> Record:
    """Return a model with its part: a control was called by it, or by the candidate that it is the control of."""
    name = _named(one.get("name"))
    control = one.get("role") == "control" and name in tuple(map(str, Role))
    return {**one, **({"name": name} if "name" in one else {}), **({"role": name} if control else {})}


def _named(name: object) -> object:
    return _NAMES.get(name, name) if isinstance(name, str) else name
