"""That a record holds together: what one part names, another part has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from whatelse.errors import FindingsError, cut
from whatelse.findings.exhibits import DEEPEST, height
from whatelse.findings.roles import CONTROLS
from whatelse.records import short

if TYPE_CHECKING:
    from whatelse.findings.record import Findings
    from whatelse.findings.searched import Searched, Trial


def check(findings: Findings, where: str = "findings") -> None:
    """Check that what one part names, another part has: nothing may drop out of the page in silence.

    Args:
        findings: As made, or as read.
        where: Name of the file, for messages.

    Raises:
        FindingsError: Something is named that is not there, or there twice.
    """
    rows = unique((row.name for row in findings.rows), f"{where}: rows")
    named = unique((candidate.name for candidate in findings.candidates), f"{where}: candidates")
    ids = unique((finding.id for finding in findings.findings), f"{where}: findings")
    models = named | set(CONTROLS)
    for at, finding in enumerate(findings.findings):
        place = f"{where}: findings[{at}]"
        among(finding.row, rows, f"{place}.row")
        among(finding.candidate, models, f"{place}.candidate")
        among(finding.control, models, f"{place}.control")
    for at, claim in enumerate(findings.claims):
        among(claim.row, rows, f"{where}: claims[{at}].row")
        for one in claim.because:
            among(one, ids, f"{where}: claims[{at}].because")
    for at, exhibit in enumerate(findings.exhibits):
        among(exhibit.row, rows, f"{where}: exhibits[{at}].row")
        if exhibit.kind == "tree" and exhibit.tree is None:
            raise FindingsError(f"{where}: exhibits[{at}].tree: missing; an exhibit of kind tree has one")
        if height(exhibit.tree) > DEEPEST:
            raise FindingsError(f"{where}: exhibits[{at}].tree: nested too deep; allowed are {DEEPEST} levels")
    chosen = (f"{f.row} / {f.candidate}" for f in findings.findings if f.primary)
    unique(chosen, f"{where}: primary findings")


def check_search(searched: Searched, where: str = "search") -> None:
    """Check that what one part names, another part has, and that the confirmation went as it is said to go.

    Args:
        searched: As made, or as read.
        where: Name of the file, for messages.

    Raises:
        FindingsError: Something is named that is not there, or there twice, or the verdicts follow no fixed sequence.
    """
    constraints = unique((one.name for one in searched.constraints), f"{where}: constraints")
    trials = unique((str(one.number) for one in searched.trials), f"{where}: trials")
    unique((str(one.trial) for one in searched.finalists), f"{where}: finalists")
    if searched.baseline <= 0:
        raise FindingsError(f"{where}: baseline: got {searched.baseline}; allowed is a number above 0")
    for at, trial in enumerate(searched.trials):
        _check_size(trial, f"{where}: trials[{at}]")
        named = (*trial.harm, *trial.over, *trial.skipped, *([trial.binding] if trial.binding else []))
        _all_among(named, constraints, f"{where}: trials[{at}]")
    for at, one in enumerate(searched.finalists):
        among(str(one.trial), trials, f"{where}: finalists[{at}].trial")
        _all_among((*one.harm, *one.upper), constraints, f"{where}: finalists[{at}]")
    for name, chosen in (("winner", searched.winner), ("nearest", searched.nearest)):
        _all_among([str(chosen)] if chosen else [], trials, f"{where}: {name}")
    for field, numbers in (("splits", searched.splits), ("seconds", searched.seconds)):
        _not_negative(numbers, f"{where}: {field}")
    _check_sequence(searched, where)


def _all_among(names: Iterable[str], known: set[str], where: str) -> None:
    for name in names:
        among(name, known, where)


def _check_size(trial: Trial, where: str) -> None:
    """Check the numbers of a trial.

    Raises:
        FindingsError: They cannot all be so.
    """
    if trial.number < 1:
        raise FindingsError(f"{where}.number: got {trial.number}; allowed is a number from 1")
    if (trial.value is None) != (trial.share is None):
        raise FindingsError(f"{where}.share: got {trial.share} beside a value of {trial.value}; allowed are both")
    if trial.value is None and trial.feasible:
        raise FindingsError(
            f"{where}.feasible: got True of a trial without a value; a recipe that failed keeps nothing"
        )
    _not_negative({"value": trial.value, "share": trial.share, "seconds": trial.seconds}, where)


def _not_negative(numbers: Mapping[str, float | None], where: str) -> None:
    """Refuse what is less than nothing.

    Raises:
        FindingsError: A number is.
    """
    for name, number in numbers.items():
        if number is not None and number < 0:
            raise FindingsError(f"{where}.{_flat(name)}: got {number}; allowed is a number of 0 or more")


def _check_sequence(searched: Searched, where: str) -> None:
    """Check what the error of the confirmation rests on: nothing is opened after the first that failed.

    Raises:
        FindingsError: It went otherwise, or something else was chosen.
    """
    if not searched.finalists:
        return
    verdicts = [one.verdict for one in searched.finalists]
    passed = next((at for at, verdict in enumerate(verdicts) if verdict != "GO"), len(verdicts))
    for at, verdict in enumerate(verdicts):
        if (verdict == "not opened") != (at > passed):
            allowed = "not opened" if at > passed else "GO, NO-GO, INCONCLUSIVE"
            raise FindingsError(f"{where}: finalists[{at}].verdict: got {short(verdict)}; allowed here: {allowed}")
    last = searched.finalists[passed - 1].trial if passed else 0
    if searched.winner != last:
        raise FindingsError(f"{where}: winner: got {searched.winner}; the last finalist that is GO is {last or 'none'}")


def unique(names: Iterable[str], where: str) -> set[str]:
    """Return names as a set.

    Args:
        names: Each may stand once.
        where: Their place, for messages.

    Raises:
        FindingsError: One stands there twice.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise FindingsError(f"{where}: got {short(name)} twice; each may stand once")
        seen.add(name)
    return seen


def among(name: str, known: set[str], where: str) -> None:
    """Refuse a name that nothing has.

    Args:
        name: What one part names.
        known: What there is.
        where: Its place, for messages.

    Raises:
        FindingsError: There is nothing of that name.
    """
    if name not in known:
        some = ", ".join(map(_flat, sorted(known)[:20])) or "nothing"
        raise FindingsError(f"{where}: got {short(name)}; allowed: {some}")


def _flat(name: str) -> str:
    """Return a name as a message of one line has it."""
    return cut(" ".join(name.split()), 60)
