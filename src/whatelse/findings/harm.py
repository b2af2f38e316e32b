"""How harm in one unit is held against harm in another: in multiples of the margin.

A margin is the change that the owner of a question calls too small to matter, in the unit of its answer. An effect
divided by it has no unit: 3 says the same of accuracy, of nats and of decibels, three times as much as counts as none.
Whatever unit the answer is written in, the multiple stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whatelse.findings.roles import Role

if TYPE_CHECKING:
    from whatelse.findings.record import Finding, Findings


@dataclass(frozen=True)
class Harm:
    """Harm in multiples of the margin, above zero where the model got worse, whatever the sign of the effect.

    ``least`` and ``most`` are the ends of the 95 % interval; infinite where there is none.
    """

    value: float
    least: float
    most: float


def harm(finding: Finding) -> Harm | None:
    """Return the harm of a finding in margins; None where there is no effect, or no margin above zero to divide by.

    Args:
        finding: Any finding.
    """
    if finding.effect is None or not finding.margin:
        return None
    ends = (finding.low, finding.high) if finding.better == "lower" else (_minus(finding.high), _minus(finding.low))
    least, most = (inf if end is None else end / finding.margin for end, inf in zip(ends, _OPEN, strict=True))
    value = finding.effect if finding.better == "lower" else -finding.effect
    return Harm(value / finding.margin, least, most)


_OPEN = (-float("inf"), float("inf"))


def worst(findings: Findings, n: int | None = None) -> tuple[Finding, ...]:
    """Return findings by harm, the worst first: by what is shown at least, then by the estimate, both in margins.

    Only what candidates do against their own control counts. A finding that is not trusted stands here only where its
    doubts leave the verdict worsened: then the harm is at least as large. What has no margin above zero, such as the
    exact size of a file, has no scale in common with the others, and is left out.

    Args:
        findings: As made or loaded.
        n: How many; all where it is None.
    """
    models = {c.name for c in findings.candidates if c.role is Role.CANDIDATE}
    held = [(harm(f), f) for f in findings.findings if f.leading and f.candidate in models and _believed(f)]
    scaled = [(h, f) for h, f in held if h is not None]
    scaled.sort(key=lambda one: (one[0].least, one[0].value), reverse=True)  # stable: else in the order of the record
    return tuple(f for _, f in scaled)[:n]


def of_verdict(found: Sequence[Finding], *verdicts: str) -> tuple[Finding, ...]:
    """Return those that have one of the verdicts, in the same order.

    Args:
        found: Findings.
        verdicts: Words of verdicts.
    """
    return tuple(f for f in found if f.verdict in verdicts)


def _believed(finding: Finding) -> bool:
    """Say whether a number may be ranked: of one that can only look better than it is, harm is at least that."""
    return finding.verdict != "not trusted" or finding.verdict_if_one_sided == "worsened"


def _minus(value: float | None) -> float | None:
    return None if value is None else -value
