"""The page: one self-contained HTML file that somebody who has never seen it can read.

Nothing in it is loaded from anywhere; a content security policy inside the file forbids that too.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from datetime import datetime

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from whatelse.findings import checks
from whatelse.findings import phrasing as words
from whatelse.findings.answers import answers
from whatelse.findings.record import Candidate, Findings, Timing
from whatelse.findings.roles import Role
from whatelse.report._grid import arrange, short_name
from whatelse.report._sections import CONTROL_MEANING, sections


def render(findings: Findings, made_from: str = "") -> str:
    """Return the page as HTML; the same findings give the same bytes.

    Args:
        findings: As loaded.
        made_from: What `whatelse.report.page_cache.mark` says of the findings file; written into the page.
    """
    environment = _environment()
    grid = arrange(findings)
    style, script = (_source(environment, name) for name in ("style.css", "script.js"))
    return environment.get_template("page.html").render(
        it=findings,
        made_from=made_from,
        grid=grid,
        sections=sections(findings, grid),
        outcomes=_outcomes(findings),
        answers=answers(findings),
        audited=bool(findings.comparability.pairs),
        checked=checks.counted(findings.comparability),
        models=_models(findings),
        timing=_timing(findings.timing),
        when=_when(findings.created),
        words=words,
        control_meaning=CONTROL_MEANING,
        style=Markup(style),  # noqa: S704 - ships with the package
        script=Markup(script),  # noqa: S704 - ships with the package
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("whatelse.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["short"] = short_name
    environment.filters["css"] = lambda word: word.replace(" ", "-")
    return environment


def _source(environment: Environment, name: str) -> str:
    return environment.get_template(name).render()


def _outcomes(findings: Findings) -> str:
    """Say how many of the survey's claims had which outcome."""
    counts: Counter[str] = Counter(claim.outcome for claim in findings.claims)
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
    told = [(name, _lasted(seconds)) for name, seconds in spent if seconds is not None]
    again = timing.damaged_and_made_again
    return told if again is None else [*told, ("Damaged and made again", words.count(again))]


def _lasted(value: float) -> str:
    if value < 60:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def _when(created: str) -> str:
    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        return created
    zone = moment.tzname() or ""
    return f"{moment.day} {moment:%B %Y, %H:%M} {zone}".strip()
