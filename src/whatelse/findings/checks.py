"""What was looked at before anything was measured: whether models can be compared, and whether test was seen before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

Agreed = Literal["same", "stated", "refused"]


@dataclass(frozen=True)
class Check:
    """One line of the checklist: what was looked at, what was found of either model, and what follows.

    Attributes:
        name: Of the check.
        baseline: What was found of the baseline.
        candidate: What was found of the other model.
        outcome: ``same``, ``stated`` (they differ, and the report says so) or ``refused``.
    """

    name: str
    baseline: str
    candidate: str
    outcome: Agreed


@dataclass(frozen=True)
class Overlap:
    """How many examples of one split of a task stand in another too.

    Attributes:
        task: Name of the task.
        split: Whose examples are looked for.
        within: Where they are looked for.
        twice: How many are found there.
        of: How many there are.
        remark: What that means; empty where none is found.
    """

    task: str
    split: str
    within: str
    twice: int
    of: int
    remark: str = ""

    @property
    def found(self) -> str:
        """How many of how many, in words."""
        return f"{self.twice:,} of {self.of:,}" if self.twice else f"none of {self.of:,}"


@dataclass(frozen=True)
class Comparability:
    """Checks of each model against the baseline, of the splits of each task, and what the reader must know of them."""

    pairs: Mapping[str, tuple[Check, ...]] = field(default_factory=dict)
    splits: tuple[Overlap, ...] = ()
    remarks: tuple[str, ...] = ()


def told(checked: Comparability) -> list[str]:
    """Return a line for everything that was not found as it should be: overlapping splits, models that differ.

    Args:
        checked: What was looked at.
    """
    return [*checked.remarks, *_differ(checked)]


def _differ(checked: Comparability) -> Iterator[str]:
    for name, checks in checked.pairs.items():
        for check in checks:
            if check.outcome != "same":
                yield f"{name}, {check.name}: baseline {check.baseline}; this model {check.candidate}"


def counted(checked: Comparability) -> str:
    """Return how many things were looked at and how many stand out, or nothing where nothing was looked at.

    Args:
        checked: What was looked at.
    """
    every = sum(map(len, checked.pairs.values())) + len(checked.splits)
    out = sum(c.outcome != "same" for checks in checked.pairs.values() for c in checks)
    out += sum(bool(one.twice) for one in checked.splits)
    return f"{every} checks of models and splits; {out or 'none'} to know of" if every else ""
