"""What the command does: read findings and budgets, and decide."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from whatelse.errors import BudgetError
from whatelse.findings import record as reader
from whatelse.findings.record import Findings
from whatelse.gate import budgets as owners
from whatelse.gate.decide import Gate, decide


def rule(findings: str, budgets: str, candidates: Sequence[str], known: Collection[str]) -> tuple[Gate, Findings]:
    """Return the decision, and the findings that it was made on.

    Args:
        findings: Name of a file that ``--json`` wrote.
        budgets: Name of a budgets file; the default budgets where it is empty.
        candidates: Names of candidates; all where there are none.
        known: Names of all behaviours.

    Raises:
        BudgetError: There is no findings file, or the budgets cannot be used.
        FindingsError: The findings cannot be used.
    """
    if not findings:
        raise BudgetError("whatelse gate: no FINDINGS; give the file that whatelse study, audit or table wrote as JSON")
    where = budgets or "default budgets"
    asked = owners.read(Path(budgets)) if budgets else owners.parse(owners.default(), where)
    found = reader.load(Path(findings))
    gate = decide(asked, found, candidates, known, where)
    return gate, found
