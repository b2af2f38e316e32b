"""The table in a terminal."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import get_args

import pytest
from rich.console import Console

from whatelse.findings import phrasing as words
from whatelse.findings.record import Findings, Verdict, parse
from whatelse.findings.roles import Role
from whatelse.report._grid import arrange
from whatelse.report.surfaces.terminal import show


def _printed(findings: Findings, width: int = 100, encoding: str = "utf-8", color: bool = False) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    console = Console(file=file, width=width, no_color=not color, force_terminal=color, _environ={})
    show(findings, console)
    file.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_it_fits_its_width(findings: Findings, width: int) -> None:
    assert max(map(len, _printed(findings, width).splitlines())) <= width


def test_it_holds_every_verdict_row_column_and_outcome(findings: Findings) -> None:
    text = _printed(findings, 100)
    flat = " ".join(text.split())
    for word in get_args(Verdict):
        assert word in flat
        assert words.VERDICTS[word].symbol in flat
    for line in arrange(findings).lines:
        assert line.row.title in text
        for cell in line.cells:
            assert cell is None or cell.effect is None or words.brief(cell.effect, cell.unit) in text
        for claim in line.claims:
            assert f"{line.row.title}: {claim.outcome}." in flat
    assert "not measured" in flat
    assert "attack diverged" in flat


def test_a_wide_terminal_gets_one_table_a_narrow_one_several(findings: Findings) -> None:
    assert _printed(findings, 200).count("Explanation by trees  ") == 1
    assert _printed(findings, 100).count("Explanation by trees  ") == 2
    assert _printed(findings, 80).count("Explanation by trees  ") == 4


def test_a_family_of_more_models_than_fit_is_parted_and_none_is_left_out(document: dict[str, object]) -> None:
    findings = parse(document)
    many = tuple(replace(c, family="", name=f"model{i:02}") for i, c in enumerate(findings.candidates[-10:]))
    models = tuple(c for c in findings.candidates if c.role is Role.BASELINE)
    text = _printed(replace(findings, candidates=(*models, *many)), 80)
    assert max(map(len, text.splitlines())) <= 80
    assert all(one.name in text for one in many if one.role is Role.CANDIDATE)


def test_color_only_where_it_is_wanted(findings: Findings) -> None:
    assert "\x1b[" not in _printed(findings)
    assert "\x1b[" in _printed(findings, color=True)


def test_an_ascii_terminal_gets_ascii(findings: Findings) -> None:
    text = _printed(findings, encoding="ascii")
    assert "- worsened" in text
    assert "-26 pp" in text


def test_markup_in_names_is_only_text(document: dict[str, object]) -> None:
    document["study"]["title"] = "[red]x[/red] [/nothing]"  # type: ignore[index]
    assert "[red]x[/red] [/nothing]" in _printed(parse(document))
