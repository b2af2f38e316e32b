"""That findings hold together: what one part names, another part has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from whatelse.errors import FindingsError, cut
from whatelse.findings.exhibits import DEEPEST, height
from whatelse.findings.roles import CONTROLS
from whatelse.records import short

if TYPE_CHECKING:
    from whatelse.findings.record import Findings


def check(findings: Findings, where: str = "findings") -> None:
    """Check that what one part names, another part has: nothing may drop out of the page in silence.

    Args:
        findings: As made, or as read.
        where: Name of the file, for messages.

    Raises:
        FindingsError: Something is named that is not there, or there twice.
    """
    rows = _unique((row.name for row in findings.rows), f"{where}: rows")
    named = _unique((candidate.name for candidate in findings.candidates), f"{where}: candidates")
    ids = _unique((finding.id for finding in findings.findings), f"{where}: findings")
    models = named | set(CONTROLS)
    for at, finding in enumerate(findings.findings):
        place = f"{where}: findings[{at}]"
        _among(finding.row, rows, f"{place}.row")
        _among(finding.candidate, models, f"{place}.candidate")
        _among(finding.control, models, f"{place}.control")
    for at, claim in enumerate(findings.claims):
        _among(claim.row, rows, f"{where}: claims[{at}].row")
        for one in claim.because:
            _among(one, ids, f"{where}: claims[{at}].because")
    for at, exhibit in enumerate(findings.exhibits):
        _among(exhibit.row, rows, f"{where}: exhibits[{at}].row")
        if exhibit.kind == "tree" and exhibit.tree is None:
            raise FindingsError(f"{where}: exhibits[{at}].tree: missing; an exhibit of kind tree has one")
        if height(exhibit.tree) > DEEPEST:
            raise FindingsError(f"{where}: exhibits[{at}].tree: nested too deep; allowed are {DEEPEST} levels")
    chosen = (f"{f.row} / {f.candidate}" for f in findings.findings if f.primary)
    _unique(chosen, f"{where}: primary findings")


def _unique(names: Iterable[str], where: str) -> set[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise FindingsError(f"{where}: got {short(name)} twice; each may stand once")
        seen.add(name)
    return seen


def _among(name: str, known: set[str], where: str) -> None:
    if name not in known:
        some = ", ".join(cut(one, 60) for one in sorted(known)[:20]) or "nothing"
        raise FindingsError(f"{where}: got {short(name)}; allowed: {some}")
