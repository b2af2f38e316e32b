"""All that there is to look at beside the numbers, made by every kind of exhibit in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from whatelse import registry
from whatelse.exhibits.asked import Asked
from whatelse.findings.exhibits import Exhibit
from whatelse.parts import Parts


@dataclass(frozen=True, eq=False)
class ExhibitKind:
    """A kind of exhibit.

    Attributes:
        name: Its name, such as ``harmed``.
        version: Raised when the same answers would give another exhibit.
        origin: Where it is from, if not from here, as that of `whatelse.items.Item`.
        scope: ``row`` where every row may have some; ``study`` where they are made once, of the first question about
            test examples, and stand behind all others.
        make: From what was asked to exhibits, none where there is nothing to show.
    """

    name: str
    version: int
    origin: str
    scope: Literal["row", "study"]
    make: Callable[[Asked], Iterator[Exhibit]]


def kind(name: str) -> ExhibitKind:
    """Return a kind of exhibit.

    Args:
        name: Its name.

    Raises:
        UnknownItemError: There is none of that name.
        MissingExtraError: It needs a package that is not installed.
        ItemError: The file lacks a part.
    """
    return _kind(registry.find("exhibits", name))


@cache
def _kind(source: registry.Source) -> ExhibitKind:
    parts = Parts(source)
    return ExhibitKind(
        name=source.name,
        version=parts.need("VERSION"),
        origin=source.origin,
        scope=parts.need("SCOPE"),
        make=parts.need("exhibits"),
    )


def kinds() -> tuple[ExhibitKind, ...]:
    """Return every kind of exhibit, by name."""
    return tuple(kind(name) for name in registry.names("exhibits"))


def collect(leads: Sequence[Asked]) -> Iterator[Exhibit]:
    """Return what the report shows beside its numbers, row by row, then what is made once.

    Args:
        leads: The measurement that gives a row its verdict, of every row in order.

    Yields:
        The exhibits.
    """
    for lead in leads:
        yield from (made for one in kinds() if one.scope == "row" for made in one.make(lead))
    first = next((lead for lead in leads if lead.of_test), None)
    if first is not None:
        yield from (made for one in kinds() if one.scope == "study" for made in one.make(first))
