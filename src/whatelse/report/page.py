"""The page: one self-contained HTML file that somebody who has never seen it can read.

Nothing in it is loaded from anywhere; a content security policy inside the file forbids that too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from whatelse.findings import checks
from whatelse.findings import phrasing as words
from whatelse.findings.answers import Answer, answers
from whatelse.findings.record import Candidate, Findings, Timing
from whatelse.findings.roles import Role
from whatelse.report import _templates as templates
from whatelse.report._grid import arrange
from whatelse.report._sections import CONTROL_MEANING, sections

SHOWN = 3  # models that the first screen has room for
_WEIGHS = ("worsened", "inconclusive", "unchanged")


def render(findings: Findings, made_from: str = "") -> str:
    """Return the page as HTML; the same findings give the same bytes.

    Args:
        findings: As loaded.
        made_from: What `whatelse.report.page_cache.mark` says of the findings file; written into the page.
    """
    grid = arrange(findings)
    return templates.filled(
        "page.html",
        styles=("style.css",),
        scripts=("script.js",),
        it=findings,
        made_from=made_from,
        grid=grid,
        sections=sections(findings, grid),
        outcomes=_outcomes(findings),
        answers=_first_screen(answers(findings)),
        most=SHOWN,
        audited=bool(findings.comparability.pairs),
        checked=checks.counted(findings.comparability),
        models=_models(findings),
        timing=_timing(findings.timing),
        when=words.when(findings.created),
        control_meaning=CONTROL_MEANING,
    )


def _outcomes(findings: Findings) -> str:
    """Say how many of the survey's claims had which outcome."""
    counts: Counter[str] = Counter(words.outcome(claim) for claim in findings.claims)
    return ", ".join(f"{counts[word]} {word}" for word in words.OUTCOMES if counts[word])


def _models(findings: Findings) -> list[tuple[Candidate, list[tuple[str, str]], str]]:
    """Return each model with its costs, each with its share of the baseline's, and of a control what it is."""
    base = next((c for c in findings.candidates if c.role is Role.BASELINE), None)
    return [
        (
            candidate,
            [
                _cost(candidate.parameters, base.parameters if base else None, ""),
                _cost(candidate.bytes, base.bytes if base else None, "bytes"),
                _cost(candidate.macs, base.macs if base else None, ""),
            ],
            "" if candidate.role is Role.CANDIDATE else _meaning(candidate),
        )
        for candidate in findings.candidates
    ]


def _meaning(control: Candidate) -> str:
    return CONTROL_MEANING.get(control.name, CONTROL_MEANING.get(control.role, ""))


def _cost(value: int | None, base: int | None, unit: str) -> tuple[str, str]:
    if value is None:
        return "", ""
    return words.size(value, unit), f"{value / base:.0%}" if base and value != base else ""


def _timing(timing: Timing) -> list[tuple[str, str]]:
    spent = (
        ("Start to end", timing.wall_s),
        ("Training", timing.training_s),
        ("Compressing", timing.compressing_s),
        ("Measuring", timing.measuring_s),
        ("Analyzing", timing.analyzing_s),
    )
    told = [(name, words.lasted(seconds)) for name, seconds in spent if seconds is not None]
    again = timing.damaged_and_made_again
    return told if again is None else [*told, ("Damaged and made again", words.count(again))]


def _first_screen(found: Sequence[Answer]) -> Sequence[Answer]:
    """Return the answers in their order; where some fold away, those on models that got worse stand before them."""
    if len(found) <= SHOWN:
        return found
    return sorted(found, key=lambda one: _WEIGHS.index(one.verdict))
