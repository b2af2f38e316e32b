"""Notes that say the same of many seeds, each with its own numbers, told once."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NUMBER = re.compile(r"[-+]?\d[\d.,]*(?:e[-+]?\d+)?")


def folded(notes: Iterable[str]) -> list[str]:
    """Return the first of all notes that differ in their numbers alone, with how many more there are.

    Args:
        notes: In their order.
    """
    alike: dict[str, list[str]] = {}
    for note in notes:
        alike.setdefault(_NUMBER.sub("#", note), []).append(note)
    return [some[0] if len(some) == 1 else f"{some[0]} (and {len(some) - 1} alike)" for some in alike.values()]
