"""How findings are arranged: columns by family and strength, rows as the survey has them."""

from __future__ import annotations

from dataclasses import dataclass

from whatelse.findings.record import Candidate, Claim, Finding, Findings, Row
from whatelse.findings.roles import CONTROLS, Role

_STRENGTH = {"mild": 0, "": 1, "strong": 2}
_WIDEST = 12  # columns that a page of 1,300 pixels holds uncut


@dataclass(frozen=True)
class Family:
    """The candidates of one kind of compression, from mild to strong."""

    name: str
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class Line:
    """One row of the table with its claims and, per candidate in column order, its primary finding."""

    row: Row
    claims: tuple[Claim, ...]
    cells: tuple[Finding | None, ...]

    @property
    def measured(self) -> bool:
        """Whether there is anything to show in the cells."""
        return self.row.status == "measured" and self.row.apart is None


@dataclass(frozen=True)
class Band:
    """Columns that stand side by side: families, or parts of one, and where they begin among all columns."""

    families: tuple[Family, ...]
    start: int

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Every column of the band in order."""
        return tuple(candidate for family in self.families for candidate in family.candidates)

    @property
    def stop(self) -> int:
        """Where the next band begins."""
        return self.start + len(self.candidates)


@dataclass(frozen=True)
class Grid:
    """The whole table: families of columns, and lines."""

    families: tuple[Family, ...]
    lines: tuple[Line, ...]

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Every column in order."""
        return tuple(candidate for family in self.families for candidate in family.candidates)

    @property
    def bands(self) -> tuple[Band, ...]:
        """The columns cut where a page is full, between families where that is possible."""
        pieces = [
            Family(family.name, family.candidates[at : at + _WIDEST])
            for family in self.families
            for at in range(0, len(family.candidates), _WIDEST)
        ]
        bands = [Band((), 0)]
        for piece in pieces:
            if bands[-1].families and len(bands[-1].candidates) + len(piece.candidates) > _WIDEST:
                bands.append(Band((), bands[-1].stop))
            bands[-1] = Band((*bands[-1].families, piece), bands[-1].start)
        return tuple(bands)

    @property
    def surveyed(self) -> bool:
        """Whether a survey says anything about any row."""
        return any(line.row.survey or line.claims for line in self.lines)


def arrange(findings: Findings) -> Grid:
    """Return the table that findings make.

    Args:
        findings: As loaded.
    """
    families = _families(findings)
    columns = [candidate.name for family in families for candidate in family.candidates]
    primary = {(f.row, f.candidate): f for f in findings.findings if f.primary}
    lines = tuple(
        Line(
            row,
            tuple(claim for claim in findings.claims if claim.row == row.name),
            tuple(primary.get((row.name, column)) if row.status == "measured" else None for column in columns),
        )
        for row in findings.rows
    )
    return Grid(families, lines)


def _families(findings: Findings) -> tuple[Family, ...]:
    models = [candidate for candidate in findings.candidates if candidate.role is Role.CANDIDATE]
    titles = dict.fromkeys(_title(candidate) for candidate in models)
    return tuple(
        Family(
            title,
            tuple(sorted((c for c in models if _title(c) == title), key=lambda c: _STRENGTH.get(c.level, 1))),
        )
        for title in titles
    )


def _title(candidate: Candidate) -> str:
    return f"{candidate.family} {candidate.kind}".strip()


def short_name(candidate: Candidate) -> str:
    """Return a candidate's name without its family or kind in front: ``50 %`` for ``prune 50 %``.

    Args:
        candidate: Any candidate.
    """
    rest = candidate.name.removeprefix(candidate.family).strip(" .:-").removeprefix(candidate.kind).strip(" .:-")
    return rest or candidate.name


def controls(findings: Findings) -> frozenset[str]:
    """Return the names of all models that are controls.

    Args:
        findings: As loaded.
    """
    return frozenset(CONTROLS) | {c.name for c in findings.candidates if c.role is not Role.CANDIDATE}


def anchors(findings: Findings, line: Line) -> dict[str, Finding]:
    """Return, by name of the control, what controls do to the primary question of a row.

    Args:
        findings: As loaded.
        line: A row of the table.
    """
    asked = {(f.behaviour, f.label, f.task) for f in line.cells if f is not None}
    known = controls(findings)
    found: dict[str, Finding] = {}
    for finding in findings.findings:
        same = finding.row == line.row.name and (finding.behaviour, finding.label, finding.task) in asked
        if same and finding.candidate in known:
            found.setdefault(finding.candidate, finding)
    return found


def questions(findings: Findings, line: Line) -> dict[str, list[Finding]]:
    """Return all findings of a row by question: the primary one first, candidates before controls.

    Args:
        findings: As loaded.
        line: A row of the table.
    """
    order = {name: at for at, name in enumerate(c.name for c in findings.candidates)}
    known = controls(findings)
    mine = [f for f in findings.findings if f.row == line.row.name]
    mine.sort(key=lambda f: (f.candidate in known, order.get(f.candidate, len(order))))
    first = [f for f in mine if f.primary]
    groups: dict[str, list[Finding]] = {}
    for finding in first + [f for f in mine if not f.primary]:
        several = len({f.task for f in mine}) > 1
        name = f"{finding.label} (task {finding.task})" if several else finding.label
        groups.setdefault(name, []).append(finding)
    return groups
