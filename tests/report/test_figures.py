"""Figures: whole, deterministic, in the page's colors, harm down."""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ET

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


def test_the_same_findings_give_the_same_bytes(findings: Findings) -> None:
    assert _draw(findings) == _draw(findings)


def test_colors_are_the_pages_and_ids_are_the_figures_own(findings: Findings) -> None:
    svg = _draw(findings)
    assert not re.search(r"#[0-9a-f]{6}|style=|<style|http", svg)
    looks = {word for found in re.findall(r'class="([^"]*)"', svg) for word in found.split()}
    assert {"worsened", "margin", "floor", "control"} <= looks
    assert set(re.findall(r' id="([^"]*)"', svg)) == {"figure-1-title", "figure-1-desc"}


def test_every_mark_stands_where_its_number_is(findings: Findings) -> None:
    grid, line = _row(findings, "fairness")
    cells = [
        dataclasses.replace(
            c, effect=-0.04 * at, low=-0.04 * at - 0.01, high=-0.04 * at + 0.01, margin=0.02, floor=0.03
        )
        for at, c in enumerate(line.cells[:3])
        if c
    ]
    scale = figures.Scale(-10.0, 5.0, None, down=True)
    root = ET.fromstring(figures.effect_figure(grid.families[0], cells, {}, scale, "f"))
    top, height, (low, high) = figures.TOP, figures.PLOT, (-10.0, 5.0)

    def place(value: float) -> float:
        return top + height * (high - value) / (high - low)

    bars = [e for e in root.iter("line") if e.attrib["class"].startswith("bar")]
    for at, bar in enumerate(bars):
        assert float(bar.attrib["y1"]) == pytest.approx(place(-4 * at - 1), abs=0.06)
        assert float(bar.attrib["y2"]) == pytest.approx(place(-4 * at + 1), abs=0.06)
    floors = [e for e in root.iter("rect") if e.attrib["class"] == "floor"]
    assert len(floors) == len(cells) == len(bars) == 3
    assert float(floors[0].attrib["height"]) == pytest.approx(place(-3) - place(3), abs=0.06)
    (margin,) = (e.attrib["d"] for e in root.iter("path") if e.attrib["class"] == "margin")
    levels = {float(y) for y in re.findall(r"M[\d.]+ ([\d.]+)H", margin)}
    assert sorted(levels) == pytest.approx([place(2), place(-2)], abs=0.06)


def test_what_lies_beyond_the_axis_ends_at_its_edge(findings: Findings) -> None:
    grid, line = _row(findings, "fairness")
    cells = [dataclasses.replace(c, effect=0.0, low=-0.9, high=0.9, floor=0.9) for c in line.cells[:3] if c]
    root = ET.fromstring(
        figures.effect_figure(grid.families[0], cells, {}, figures.Scale(-10.0, 5.0, 2.0, down=False), "f")
    )
    ends = {float(e.attrib[y]) for e in root.iter("line") if e.attrib["class"].startswith("bar") for y in ("y1", "y2")}
    assert ends == {figures.TOP, figures.TOP + figures.PLOT}


def _height(svg: str, verdict: str) -> float:
    """Vertical place of the middle of a mark."""
    start = float(re.findall(rf'class="dot {verdict}" d="M[-\d.]+ ([-\d.]+)', svg)[0])
    return start - figures.MARKS[verdict][1]


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
