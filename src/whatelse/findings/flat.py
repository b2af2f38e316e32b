"""Findings as a plain table: one line a finding, the same columns for every surface that has columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whatelse.findings.harm import harm

if TYPE_CHECKING:
    from whatelse.findings.record import Finding, Findings

Value = str | int | float | bool | None

# The names of the record, and last what the record implies.
FIELDS = (
    "id",
    "row",
    "label",
    "behaviour",
    "task",
    "candidate",
    "control",
    "primary",
    "verdict",
    "effect",
    "low",
    "high",
    "unit",
    "better",
    "margin",
    "before",
    "after",
    "n",
    "unit_of_analysis",
    "seeds",
    "p",
    "adjusted_p",
    "needed",
    "needed_seeds",
    "why",
)
COLUMNS = (*FIELDS, "harm_in_margins")


def lines(findings: Findings) -> list[dict[str, Value]]:
    """Return one line a finding, in the order of the record; a number that does not exist is None.

    Args:
        findings: As made or loaded.
    """
    return [_line(finding) for finding in findings.findings]


def _line(finding: Finding) -> dict[str, Value]:
    moved = harm(finding)
    return {**{name: getattr(finding, name) for name in FIELDS}, COLUMNS[-1]: None if moved is None else moved.value}
