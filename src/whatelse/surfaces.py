"""Surfaces as typed records: what turns findings, a decision or a search into something for people or machines.

One file each, in ``report/surfaces`` for findings, in ``gate/surfaces`` for decisions of the gate and in
``report/search_surfaces`` for searches. One that has ``render`` gives the text of a file, asked for by an option of its
name, which ``HELP`` explains; one that has ``show`` prints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from whatelse import registry
from whatelse.errors import ItemError
from whatelse.parts import Parts
from whatelse.registry import Kind


@dataclass(frozen=True, eq=False)
class Surface:
    """A surface.

    Attributes:
        name: Its name; that of its option.
        render: From findings, from a decision and the findings that it was made on, or from a search to the text of a
            file; None of one that prints.
        show: From the same and a console to nothing, printed; None of one that is written.
        stands: From the same and the path of a file to whether it holds that already; None where rendering anew costs
            nothing.
    """

    name: str
    render: Callable[..., str] | None
    show: Callable[..., None] | None
    stands: Callable[..., bool] | None

    def text(self, *what: object) -> str:
        """Return the text of a file.

        Args:
            what: Findings, a decision and findings, or a search.

        Raises:
            ItemError: It prints, and is not written.
        """
        if self.render is None:
            raise ItemError(f"surface {self.name}: it prints and has no render; it cannot be written to a file")
        return self.render(*what)

    def print(self, *what: object) -> None:
        """Print.

        Args:
            what: Findings, a decision and findings, or a search; then a console.

        Raises:
            ItemError: It is written to a file, and does not print.
        """
        if self.show is None:
            raise ItemError(f"surface {self.name}: it is written to a file and has no show; it cannot be printed")
        self.show(*what)

    def holds(self, path: Path, *what: object) -> bool:
        """Return whether a file holds what rendering would give.

        Args:
            path: The file.
            what: Findings, a decision and findings, or a search.
        """
        return self.stands is not None and self.stands(*what, path)


def surface(kind: Kind, name: str) -> Surface:
    """Return a surface.

    Args:
        kind: ``surfaces``, ``gate_surfaces`` or ``search_surfaces``.
        name: Its name.

    Raises:
        UnknownItemError: There is none of that name.
        MissingExtraError: It needs a package that is not installed.
        ItemError: The file lacks a part.
    """
    return _surface(registry.find(kind, name))


@cache
def _surface(source: registry.Source) -> Surface:
    parts = Parts(source)
    entry, function = parts.function("render", "show")
    if entry == "show":
        return Surface(source.name, None, function, None)
    parts.need("HELP")
    return Surface(source.name, function, None, parts.get("stands"))


def written(kind: Kind) -> dict[str, str]:
    """Return the surfaces that give files, without importing any: by name, what their option does.

    Args:
        kind: ``surfaces``, ``gate_surfaces`` or ``search_surfaces``.
    """
    cards = {name: registry.card(kind, name) for name in registry.names(kind)}
    return {name: str(card.constants["HELP"]) for name, card in cards.items() if "HELP" in card.constants}


def printed(kind: Kind) -> tuple[str, ...]:
    """Return the names of the surfaces that print, without importing any.

    Args:
        kind: ``surfaces``, ``gate_surfaces`` or ``search_surfaces``.
    """
    return tuple(name for name in registry.names(kind) if name not in written(kind))
