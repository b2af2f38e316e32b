"""Kinds of item: what one is called and where ours are. A new kind is one line here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from whatelse.errors import ItemError, UnknownItemError, nearest, shown

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")

Kind = str


@dataclass(frozen=True)
class Room:
    """What items of a kind are called, and where ours are.

    Attributes:
        word: One of them, on the command line and in ``ITEM``.
        folder: Of ours, below this package.
        said: What a message calls one.
        families: Whether a name has a family before its dot, as ``prune.magnitude``.
        listed: Whether a listing of everything shows them: what users have no need to name is left out.
    """

    word: str
    folder: str
    said: str
    families: bool = False
    listed: bool = True


KINDS: dict[Kind, Room] = {
    "methods": Room("method", "methods", "method", families=True),
    "behaviours": Room("behaviour", "behaviours", "behaviour", families=True),
    "nets": Room("net", "nets", "net"),
    "layers": Room("layers", "layers", "file of layers", listed=False),
    "datasets": Room("loader", "datasets", "data loader"),
    "strategies": Room("strategy", "searching/strategies", "search strategy"),
    "controls": Room("control", "controls", "control"),
    "engines": Room("engine", "engines", "engine"),
    "openers": Room("opener", "openers", "form of a model"),
    "exhibits": Room("exhibit", "exhibits/kinds", "kind of exhibit"),
    "surfaces": Room("surface", "report/surfaces", "surface"),
    "gate_surfaces": Room("gate_surface", "gate/surfaces", "surface of the gate"),
    "search_surfaces": Room("search_surface", "report/search_surfaces", "surface of a search"),
}


def kind_of(word: str) -> Kind:
    """Return the kind that a word names, in the singular or the plural.

    Args:
        word: Such as ``behaviour`` or ``behaviours``.

    Raises:
        UnknownItemError: There is no such kind.
    """
    known = {kind: kind for kind in KINDS} | {room.word: kind for kind, room in KINDS.items()}
    if word not in known:
        raise UnknownItemError(f"{shown(word)}: no such kind of item; {nearest(word, known)}")
    return known[word]


def check_name(kind: Kind, name: str, known: Iterable[str], where: str) -> None:
    """Refuse a name that no item of a kind may have.

    Args:
        kind: Of `KINDS`.
        name: A dotted name.
        known: Names of the kind that there are, for the message.
        where: How the message begins.

    Raises:
        ItemError: It is not of lower-case words joined by dots, or has no family where its kind has families.
    """
    if not _NAME.fullmatch(name):
        raise ItemError(f"{where}: the name {shown(name)} is not of lower-case words joined by dots, such as my_gap")
    if KINDS[kind].families and "." not in name:
        families = ", ".join(sorted({other.split(".")[0] for other in known}))
        raise ItemError(f"{where}: the name {shown(name)} has no family; one of {families}, or your own: mine.{name}")
