"""All numbers of one question as a table: what most rows share is said once, as such tables are most of a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from whatelse.findings import phrasing as words
from whatelse.findings.record import Finding


class Row(NamedTuple):
    """A finding, and its cells after the verdict, without those at the end that are empty."""

    finding: Finding
    cells: Sequence[str]


class Listing(NamedTuple):
    """The findings of one question, and how much most of them looked at."""

    question: str
    usual: str
    rows: tuple[Row, ...]


def listed(question: str, findings: Sequence[Finding]) -> Listing:
    """Return the table of a question; a sample stands where it is another than usual, a note where it is new.

    Args:
        question: As its heading says it.
        findings: At least one.
    """
    usual = Counter(map(words.sample, findings)).most_common(1)[0][0] if len(findings) > 1 else ""
    rows, before = [], ""
    for finding in findings:
        looked, noted = words.sample(finding), words.remarks(finding)
        ends = "" if looked == usual else looked, "as above" if noted and noted == before else noted
        cells = [*_numbers(finding), finding.control, *ends]
        rows.append(Row(finding, cells[: max((at for at, cell in enumerate(cells, 1) if cell), default=0)]))
        before = noted
    return Listing(question, usual, tuple(rows))


def _numbers(finding: Finding) -> tuple[str, str, str]:
    unit = finding.unit if words.is_brief(finding.unit) else ""
    return (
        "" if finding.effect is None else words.signed(finding.effect, unit),
        "" if finding.low is None or finding.high is None else words.interval(finding.low, finding.high, unit),
        words.before_after(finding, unit),
    )
