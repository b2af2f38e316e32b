"""Figures: whole, deterministic, in the page's colors, harm down."""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest

from whatelse.findings.record import Findings
from whatelse.report import figures
from whatelse.report._grid import Grid, Line, anchors, arrange


def _row(findings: Findings, name: str) -> tuple[Grid, Line]:
    grid = arrange(findings)
    return grid, next(line for line in grid.lines if line.row.name == name)


def _draw(findings: Findings, name: str = "fairness", family: int = 0) -> str:
    grid, line = _row(findings, name)
    held = anchors(findings, line)
    start = sum(len(f.candidates) for f in grid.families[:family])
    cells = line.cells[start : start + len(grid.families[family].candidates)]
    scale = figures.scale_of([c for c in line.cells if c and c.effect is not None], held)
    return figures.effect_figure(grid.families[family], cells, held, scale, "figure-1")


def test_a_figure_is_well_formed_and_says_what_it_shows(findings: Findings) -> None:
    root = ET.fromstring(_draw(findings))
    assert root.tag == "svg"
    assert root.attrib["role"] == "img"
    named = {e.attrib["id"]: e.text or "" for e in root if e.tag in {"title", "desc"}}
    assert set(root.attrib["aria-labelledby"].split()) == set(named)
    assert "prune 95 %: −25 pp, worsened" in named["figure-1-desc"]
    written = [e.text for e in root.iter("text")]
    assert {"placebo", "twin", "50 %", "80 %", "95 %", "mild", "strong", "↓ harm"} <= set(written)


def test_the_same_findings_give_the_same_bytes_and_no_setting_changes(findings: Findings) -> None:
    before = dict(mpl.rcParams)
    assert _draw(findings) == _draw(findings)
    assert dict(mpl.rcParams) == before


def test_colors_are_the_pages_and_ids_are_the_figures_own(findings: Findings) -> None:
    svg = _draw(findings)
    assert not re.search(r"#[0-9a-f]{6}", svg)
    assert "var(--worsened)" in svg
    assert "var(--margin)" in svg
    assert "var(--floor)" in svg
    ids = re.findall(r' id="([^"]*)"', svg)
    assert ids
    assert len(ids) == len(set(ids))
    assert all(one.startswith("figure-1-") for one in ids)
    used = re.findall(r'(?:href="#|url\(#)([^")]*)', svg)
    assert set(used) <= set(ids)
    assert "<style" not in svg
    assert "http" not in svg


def _height(svg: str, color: str) -> float:
    """Vertical place of the marker of a color: the point where its symbol is used."""
    return float(re.findall(rf'<use [^>]*y="([\d.]+)"[^>]*fill: var\(--{color}\)', svg)[0])


@pytest.mark.parametrize("name", ["fairness", "membership"])
def test_down_is_harm_whichever_sign_is_better(findings: Findings, name: str) -> None:
    grid, line = _row(findings, name)
    cell = next(c for c in line.cells if c and c.verdict in {"worsened", "improved"})
    size = abs(cell.effect or 0)
    worse = -size if cell.better == "higher" else size
    width = size / 4
    harmed = dataclasses.replace(cell, effect=worse, low=worse - width, high=worse + width, verdict="worsened")
    helped = dataclasses.replace(cell, effect=-worse, low=-worse - width, high=-worse + width, verdict="improved")
    family = dataclasses.replace(grid.families[0], candidates=grid.families[0].candidates[:2])
    scale = figures.scale_of([harmed, helped], {})
    svg = figures.effect_figure(family, [harmed, helped], {}, scale, "f")
    assert _height(svg, "worsened") > _height(svg, "improved")


def test_the_compressed_axis_keeps_order_and_comes_back() -> None:
    values = np.linspace(-50, 50, 201)
    there = figures._forward(values, 2.0)
    assert (np.diff(there) > 0).all()
    np.testing.assert_allclose(figures._backward(there, 2.0), values, rtol=1e-12, atol=1e-12)
    inner = np.abs(values) <= 2
    np.testing.assert_array_equal(there[inner], values[inner])


def test_random_is_left_off_where_it_would_press_the_rest_together(findings: Findings) -> None:
    assert "random" in _draw(findings)
    root = ET.fromstring(_draw(findings))
    assert "random" not in [e.text for e in root.iter("text")]


def test_what_has_no_number_is_written_not_dropped(findings: Findings) -> None:
    written = [(e.text or "").strip() for e in ET.fromstring(_draw(findings, "adversarial", 3)).iter("text")]
    assert "failed" in written


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "$x^2$ & co", "プルーニング", "a" * 80, ""])
def test_any_name_can_be_drawn(findings: Findings, name: str) -> None:
    grid, line = _row(findings, "fairness")
    candidates = tuple(dataclasses.replace(c, name=name, level="") for c in grid.families[0].candidates)
    family = dataclasses.replace(grid.families[0], name=name, candidates=candidates)
    cells = line.cells[:3]
    scale = figures.scale_of([c for c in cells if c], {})
    svg = figures.effect_figure(family, cells, {}, scale, "f")
    assert "<script" not in svg
    ET.fromstring(svg)


def test_effects_that_are_all_zero_can_be_drawn(findings: Findings) -> None:
    grid, line = _row(findings, "fairness")
    nothing = {"effect": 0.0, "low": 0.0, "high": 0.0, "floor": 0.0, "margin": 0.0}
    cells = [dataclasses.replace(c, **nothing) for c in line.cells[:3] if c]
    scale = figures.scale_of(cells, {})
    assert scale.low < 0 < scale.high
    ET.fromstring(figures.effect_figure(grid.families[0], cells, {}, scale, "f"))
