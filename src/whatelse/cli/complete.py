"""What a shell offers while a user types: names of items, found as everywhere else; nothing is imported for it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources

from whatelse import registry
from whatelse.kinds import KINDS, Kind


def kinds(incomplete: str) -> list[str]:
    """Return the kinds of item that begin so.

    Args:
        incomplete: What was typed.
    """
    return [kind for kind in KINDS if kind.startswith(incomplete)]


def words(incomplete: str) -> list[str]:
    """Return what one item of each kind is called, of those that begin so.

    Args:
        incomplete: What was typed.
    """
    return [room.word for room in KINDS.values() if room.word.startswith(incomplete)]


def names(kind: Kind) -> Callable[[str], list[str]]:
    """Return what gives the items of a kind that begin as what was typed.

    Args:
        kind: Of `KINDS`.
    """

    def found(incomplete: str) -> list[str]:
        return [name for name in registry.names(kind) if name.startswith(incomplete)]

    return found


def steps(incomplete: str) -> list[str]:
    """Return recipes whose last step was completed.

    Args:
        incomplete: A recipe whose last step is begun.
    """
    before, arrow, last = incomplete.rpartition(">")
    begun = last.lstrip()
    head = f"{before}{arrow}{last[: len(last) - len(begun)]}"
    return [f"{head}{name}" for name in names("methods")(begun)]


def studies(incomplete: str) -> list[str]:
    """Return the studies that ship and begin so; a shell adds files by itself where there are none.

    Args:
        incomplete: What was typed.
    """
    files = resources.files("whatelse").joinpath("studies").iterdir()
    stems = sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))
    return [stem for stem in stems if stem.startswith(incomplete)]
