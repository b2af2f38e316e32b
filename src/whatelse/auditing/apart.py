"""Studies of their own whose outcome stands in a row of the table: what they found is kept with the package."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from importlib import resources
from typing import Any

from whatelse.errors import StudyError, nearest
from whatelse.findings import record

_ENDING = ".json"


@dataclass(frozen=True)
class Outcome:
    """What a study of its own found.

    Attributes:
        apart: As the findings tell it.
        verdicts: Of its predictions, each that something is better: on one question, at one level.
    """

    apart: record.Apart
    verdicts: tuple[str, ...]


def known() -> list[str]:
    """Return the names of the studies that ship with an outcome."""
    places = resources.files("whatelse").joinpath("studies").iterdir()
    return sorted(place.name.removesuffix(_ENDING) for place in places if place.name.endswith(_ENDING))


def read(name: str) -> Outcome:
    """Return what a study of its own found.

    Args:
        name: Of the study.

    Raises:
        StudyError: None of that name ships.
    """
    if name not in known():
        raise StudyError(f"apart: no study {name!r} ships with its outcome; {nearest(name, known())}")
    text = resources.files("whatelse").joinpath("studies", f"{name}{_ENDING}").read_text("utf-8")
    kept: dict[str, Any] = json.loads(text)
    verdicts = tuple(str(one["verdict"]) for one in kept["predictions"])
    counted = ", ".join(f"{count} {verdict}" for verdict, count in Counter(verdicts).most_common())
    brief = f"{counted}, of {len(verdicts)} comparisons"
    return Outcome(record.Apart(brief, kept["told"], kept["made_by"], kept["page"]), verdicts)
