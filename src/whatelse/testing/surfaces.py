"""The contract of surfaces: what shows findings, in a file or in a terminal."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

from rich.console import Console

from whatelse import surfaces
from whatelse.findings.record import (
    Candidate,
    Claim,
    Environment,
    Failure,
    Finding,
    Findings,
    Part,
    Parts,
    Row,
    Study,
    Task,
    Timing,
)
from whatelse.findings.roles import Role
from whatelse.testing.contract import Case


def its_parts_are_in_order(case: Case) -> None:
    """Demand ``render`` with ``HELP``, or ``show``; and that the text of its file says so before it is imported.

    Args:
        case: The surface.
    """
    surface = _surface(case)
    listed = case.source.name in surfaces.written(case.source.kind)
    case.demand(
        listed == (surface.render is not None), "HELP, which its option shows, goes with render and not with show"
    )
    case.demand((case.module.__doc__ or "").strip(), "its file has no docstring")


def it_shows_findings(case: Case) -> None:
    """Demand a text, or print, from findings that are full and from such as have nothing in them.

    Args:
        case: The surface.
    """
    for found in (findings(), nothing()):
        told = text(case, found)
        case.demand(isinstance(told, str) and told.strip(), "it gives nothing to read")


def it_repeats_and_writes_nothing_itself(case: Case) -> None:
    """Demand the same text of the same findings, and no file of its own: where it goes is the user's to say.

    Args:
        case: The surface.
    """
    repeats(case, findings())


CHECKS = (its_parts_are_in_order, it_shows_findings, it_repeats_and_writes_nothing_itself)


def findings() -> Findings:
    """Return small findings that have a little of everything: verdicts, parts, a claim, and a cell that failed."""
    worse = Finding(
        id="accuracy clean half",
        row="performance",
        behaviour="generalization.accuracy",
        label="accuracy",
        task="clean",
        candidate="half",
        control="baseline",
        primary=True,
        verdict="worsened",
        unit="accuracy",
        better="higher",
        title="Accuracy",
        n=200,
        seeds=2,
        before=0.9,
        after=0.8,
        effect=-0.1,
        low=-0.14,
        high=-0.06,
        margin=0.02,
        parts=Parts("class", (Part("class 0", 0.9, 0.7, -0.2, -0.3, -0.1), Part("class 1"))),
    )
    return Findings(
        whatelse="0",
        created="2026-01-01T00:00:00+00:00",
        study=Study("sample", "A sample", "Nothing was measured.", "sample.toml", 100),
        environment=Environment("3", "2", "2", "a machine", 1),
        timing=Timing(1.0, 0.5, 0.1, 0.3, 0.1),
        seeds=(0, 1),
        tasks=(Task("clean", "Clean", "Made up.", {"train": 400, "test": 200}, 2),),
        rows=(Row("performance", "Performance", "measured", "It falls.", "Nobody 2026", "Does it?", "clean"),),
        candidates=(
            Candidate("baseline", "control", Role.BASELINE, "train.scratch()", parameters=100, bytes=400, macs=100),
            Candidate("half", "prune", Role.CANDIDATE, "prune.magnitude()", "prune", "mild", 0.5, "sparsity", 100, 250),
        ),
        findings=(worse,),
        claims=(Claim("performance", "It falls.", "Nobody 2026", "worsened", "supported", "it fell", (worse.id,)),),
        failed=(Failure("clean · seed 1 · half · accuracy", "ValueError: on purpose"),),
    )


def nothing() -> Findings:
    """Return findings of a study that has measured nothing."""
    found = findings()
    return Findings(
        whatelse=found.whatelse,
        created=found.created,
        study=found.study,
        environment=Environment(),
        timing=Timing(),
        seeds=(),
        tasks=found.tasks,
        rows=(),
        candidates=found.candidates[:1],
        findings=(),
        claims=(),
    )


def text(case: Case, *what: object) -> str:
    """Return what a surface writes, or prints on a wide terminal.

    Args:
        case: The surface.
        what: Findings; of the gate, a decision and the findings that it was made on.
    """
    surface = _surface(case)
    if surface.render is not None:
        return surface.text(*what)
    stream = io.StringIO()
    surface.print(*what, Console(file=stream, width=120))
    return stream.getvalue()


def repeats(case: Case, *what: object) -> None:
    """Demand the same text twice, of a surface that leaves no file behind.

    Args:
        case: The surface.
        what: As `text` takes it.
    """
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as empty:
        os.chdir(empty)
        try:
            one, two = (text(case, *what) for _ in range(2))
            left = [file.name for file in Path(empty).iterdir()]
        finally:
            os.chdir(before)
    case.demand(one == two, "the same findings gave another text; let nothing in it be of now or of chance")
    case.demand(not left, f"it wrote {', '.join(left)} itself")


def _surface(case: Case) -> surfaces.Surface:
    return surfaces.surface(case.source.kind, case.source.name)
