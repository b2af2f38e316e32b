"""A contract: named checks that every item of a kind must pass, whoever wrote it. No test framework is needed.

The checks of a kind are in the file of its name beside this one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn
from unittest import SkipTest

from whatelse import registry
from whatelse.errors import ItemError
from whatelse.kinds import Kind, kind_of


class ContractError(AssertionError):
    """An item breaks its contract; the message is one line: the item, what was found, what is demanded."""


@dataclass(frozen=True, eq=False)
class Case:
    """An item under test.

    Attributes:
        source: Where it is written.
        given: Settings that it is tried with; the others stand at their default.
    """

    source: registry.Source
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def module(self) -> ModuleType:
        """Its file, imported."""
        return registry.load(self.source.kind, self.source.name)

    def fail(self, message: str) -> NoReturn:
        """Say that the item breaks its contract.

        Args:
            message: What was found and what is demanded.

        Raises:
            ContractError: Always.
        """
        raise ContractError(f"{self.source.where}: {message}")

    def demand(self, holds: object, message: str) -> None:
        """Say that the item breaks its contract, unless something holds.

        Args:
            holds: What must hold.
            message: What is demanded.

        Raises:
            ContractError: It does not hold.
        """
        if not holds:
            self.fail(message)

    def skip(self, why: str) -> NoReturn:
        """Say that a check cannot be made here.

        Args:
            why: The reason.

        Raises:
            SkipTest: Always; test frameworks report it as skipped.
        """
        raise SkipTest(f"{self.source.where}: {why}")


@dataclass(frozen=True)
class Check:
    """One demand of a contract, with a name that says what it demands.

    Attributes:
        kind: The kind of items that it is about.
        run: What makes it.
    """

    kind: Kind
    run: Callable[[Case], None]

    @property
    def name(self) -> str:
        """What it demands, in words."""
        return self.run.__name__.replace("_", " ")

    def __str__(self) -> str:
        """Return the name, as test frameworks print it."""
        return self.name

    def __call__(self, item: str | Path, **given: Any) -> None:  # noqa: ANN401 - settings of any item
        """Make the check.

        Args:
            item: A dotted name, or a file that says what it is.
            given: Settings that the item is tried with.

        Raises:
            ContractError: The item breaks the contract.
            SkipTest: The check cannot be made here.
            WhatElseError: The item is not found or lacks a part.
        """
        self.run(Case(_found(self.kind, item), given))


def checks(kind: str) -> tuple[Check, ...]:
    """Return the contract of a kind of items, one check after another.

    Args:
        kind: Such as ``behaviour``.

    Raises:
        UnknownItemError: There is no such kind.
        ItemError: The kind has no contract yet.
    """
    found = kind_of(kind)
    if not (Path(__file__).parent / f"{found}.py").is_file():
        known = ", ".join(
            registry.KINDS[k].word for k in registry.KINDS if (Path(__file__).parent / f"{k}.py").is_file()
        )
        raise ItemError(f"no contract of the kind {registry.KINDS[found].word}; there are {known}")
    runs: tuple[Callable[[Case], None], ...] = import_module(f"whatelse.testing.{found}").CHECKS
    return tuple(Check(found, run) for run in runs)


def check(kind: str, item: str | Path, **given: Any) -> None:  # noqa: ANN401 - settings of any item
    """Hold an item against the whole contract of its kind.

    Args:
        kind: Such as ``behaviour``.
        item: A dotted name, or a file that says what it is.
        given: Settings that the item is tried with; a loader that opens a file needs its ``path``.

    Raises:
        ContractError: The item breaks the contract; the message has a line for every check that failed.
        WhatElseError: The item is not found or lacks a part.
    """
    broken = []
    for one in checks(kind):
        try:
            one(item, **given)
        except SkipTest:
            continue
        except ContractError as error:
            broken.append(f"{one.name}: {error}")
    if broken:
        raise ContractError("\n".join(broken))


def _found(kind: Kind, item: str | Path) -> registry.Source:
    if isinstance(item, Path):
        for source in registry.add(item):
            if source.kind == kind:
                return source
        raise ItemError(f"{item}: its ITEM is no {registry.KINDS[kind].word}")
    return registry.find(kind, item)
