"""Figures of parts: whole, escaped, in the page's colors, harm to the left, nothing dropped in silence."""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from whatelse.findings.record import Finding, Findings, Part, Parts, parse
from whatelse.report import parts
from whatelse.report._grid import arrange
from whatelse.report._sections import sections
from whatelse.report.page import render


def _one(findings: Findings, row: str, kind: str, candidate: str = "quantize 2 bits") -> Finding:
    mine = (f for f in findings.findings if f.row == row and f.candidate == candidate and f.parts)
    return next(f for f in mine if f.parts and f.parts.kind == kind)


def _drawn(finding: Finding, beside: dict[str, Finding] | None = None) -> ET.Element:
    found = parts.draw(finding, beside or {}, "p")
    assert found is not None
    return ET.fromstring(found.svg)


def _all(root: ET.Element, tag: str, kind: str) -> list[ET.Element]:
    return [e for e in root.iter(tag) if set(kind.split()) <= set(e.attrib.get("class", "").split())]


def _with(finding: Finding, *items: Part, kind: str = "group", **more: Any) -> Finding:
    return dataclasses.replace(finding, parts=Parts(kind, items), **more)


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ("fairness", "group"),
        ("fairness", "class"),
        ("trees", "depth"),
        ("overfitting", "confidence bin"),
        ("adversarial", "severity"),
        ("mechanism", "layer"),
        ("mechanism", "feature"),
    ],
)
def test_a_figure_is_well_formed_says_what_it_shows_and_has_the_pages_colors(
    findings: Findings, row: str, kind: str
) -> None:
    finding = _one(findings, row, kind)
    root = _drawn(finding)
    assert root.attrib["role"] == "img"
    named = {e.attrib["id"]: e.text or "" for e in root if e.tag in {"title", "desc"}}
    assert set(root.attrib["aria-labelledby"].split()) == set(named) == {"p-title", "p-desc"}
    assert finding.candidate in named["p-title"]
    assert kind in named["p-title"]
    assert finding.parts
    assert all(part.name in named["p-desc"] for part in finding.parts.items[:24])
    text = ET.tostring(root, encoding="unicode")
    assert not re.search(r"#[0-9a-f]{3,6}|style=|http(?!://www.w3)", text)
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    for e in root.iter():
        for name, most in (("x", width), ("x1", width), ("x2", width), ("cx", width), ("y", height), ("cy", height)):
            assert -1 <= float(e.attrib.get(name, 0)) <= most + 1, (e.tag, name, e.attrib)


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_left_is_harm_whichever_sign_is_better(findings: Findings, better: str) -> None:
    sign = -1 if better == "higher" else 1
    given = [
        Part(n, 0.5, 0.5 + e, e, e - 0.01, e + 0.01, 0.001) for n, e in (("bad", sign * 0.2), ("good", -sign * 0.1))
    ]
    root = _drawn(_with(_one(findings, "fairness", "group"), *given, better=better))
    (bad,), (good,) = _all(root, "circle", "worsened"), _all(root, "circle", "improved")
    zero = float(_all(root, "line", "zero")[0].attrib["x1"])
    assert float(bad.attrib["cx"]) < zero < float(good.attrib["cx"])
    assert zero - float(bad.attrib["cx"]) == pytest.approx(2 * (float(good.attrib["cx"]) - zero), abs=0.3)
    for bar, dot in ((_all(root, "line", "bar worsened")[0], bad), (_all(root, "line", "bar improved")[0], good)):
        ends = sorted(float(bar.attrib[name]) for name in ("x1", "x2"))
        assert ends[0] < float(dot.attrib["cx"]) < ends[1]


def test_color_is_earned_by_the_adjusted_p_or_by_the_margin(findings: Findings) -> None:
    given = [
        Part("moved", 0.5, 0.3, -0.2, -0.3, -0.1, 0.01),
        Part("open", 0.5, 0.3, -0.2, -0.3, 0.1, 0.2),
        Part("same", 0.5, 0.5, 0.0, -0.005, 0.005, 0.9),
        Part("empty"),
    ]
    root = _drawn(_with(_one(findings, "fairness", "group"), *given, margin=0.01))
    assert [e.attrib["class"] for e in root.iter("circle")] == ["dot worsened", "dot open", "dot unchanged"]
    written = [e.text for e in root.iter("text")]
    assert written[written.index("empty") + 1] == "no examples"


def test_parts_may_have_a_unit_and_a_direction_of_their_own(findings: Findings) -> None:
    gap = dataclasses.replace(_one(findings, "fairness", "group"), better="lower", unit="accuracy gap")
    item = Part("a", 0.5, 0.4, -0.1, -0.2, -0.05, 0.001)

    def kinds(better: Any) -> list[str]:
        root = _drawn(dataclasses.replace(gap, parts=Parts("group", (item,), "dB", better)))
        assert "−0.10" in {e.text for e in root.iter("text")}
        assert ("← harm" in {e.text for e in root.iter("text")}) == (better != "neither")
        return [e.attrib["class"] for e in root.iter("circle")]

    assert kinds(None) == kinds("lower") == ["dot improved"]
    assert kinds("higher") == ["dot worsened"]
    assert kinds("neither") == ["dot moved"]


def test_of_many_parts_the_largest_are_drawn_and_the_others_counted(findings: Findings) -> None:
    finding = _one(findings, "mechanism", "feature")
    found = parts.draw(finding, {}, "p")
    assert found is not None
    assert found.note == "40 more features moved less."
    root = ET.fromstring(found.svg)
    assert len(list(root.iter("circle"))) == 24
    assert finding.parts
    sizes = sorted((abs(part.effect or 0) for part in finding.parts.items), reverse=True)
    shown = {e.text for e in root.iter("text")}
    assert {p.name for p in finding.parts.items if abs(p.effect or 0) >= sizes[23]} <= shown
    assert not {p.name for p in finding.parts.items if abs(p.effect or 0) < sizes[23]} & shown


def test_a_curve_has_the_model_its_control_and_the_noise_beside(findings: Findings) -> None:
    finding = _one(findings, "mechanism", "layer")
    same = {f.candidate: f for f in findings.findings if f.label == finding.label}
    root = _drawn(finding, {"random": same["random"], "twin": same["twin"]})
    written = [e.text for e in root.iter("text")]
    assert {"random", "twin", "placebo", "quantize 2 bits", "features.conv1", "head.1"} <= set(written)
    assert len(_all(root, "polyline", "noise")) == 2
    assert finding.parts
    (after,), (before,) = _all(root, "polyline", "after"), _all(root, "polyline", "before")
    heights = [[float(p.split(",")[1]) for p in line.attrib["points"].split()] for line in (before, after)]
    for part, was, now in zip(finding.parts.items, *heights, strict=True):
        assert (was < now) == ((part.before or 0) > (part.after or 0)), "higher is higher up"
    (other,) = [e for e in _all(root, "polyline", "n0")]
    assert len(other.attrib["points"].split()) == len(finding.parts.items)


def test_a_wide_interval_does_not_press_curves_into_one_line(findings: Findings) -> None:
    finding = _one(findings, "trees", "depth")
    given = [Part(str(at), 0.5, 0.4 + at / 100, -0.1, -9.0, 9.0, 0.5) for at in range(3)]
    root = _drawn(_with(finding, *given, kind="depth"))
    (before,) = _all(root, "polyline", "before")
    (after,) = _all(root, "polyline", "after")
    y = [float(line.attrib["points"].split()[0].split(",")[1]) for line in (before, after)]
    assert y[1] - y[0] > 50
    heights = {float(e.attrib[name]) for e in _all(root, "line", "bar") for name in ("y1", "y2")}
    assert all(0 < height < float(root.attrib["viewBox"].split()[3]) for height in heights)


def test_parts_of_another_number_are_not_drawn_beside_and_zero_is_no_line(findings: Findings) -> None:
    finding = dataclasses.replace(_one(findings, "mechanism", "layer"), control="zero")
    assert finding.parts
    other = dataclasses.replace(finding, parts=Parts("layer", finding.parts.items[:2]))
    root = _drawn(finding, {"twin": other})
    assert not _all(root, "polyline", "noise")
    assert not _all(root, "polyline", "before")


def test_a_reliability_diagram_puts_confidence_and_accuracy_where_they_are(findings: Findings) -> None:
    given = [Part("0.0 to 0.5", 0.25, 0.5, 0.25, 0.2, 0.3, 0.1), Part("0.5 to 1.0", 0.75, 1.0, 0.25, 0.2, 0.3, 0.1)]
    root = _drawn(_with(_one(findings, "overfitting", "confidence bin"), *given, kind="confidence bin"))
    (diagonal,) = _all(root, "line", "margin")
    (x1, y1), (x2, y2) = [[float(diagonal.attrib[f"{c}{at}"]) for c in "xy"] for at in (1, 2)]

    def places(kind: str) -> list[tuple[float, float]]:
        dots = _all(root, "circle", kind)
        return [((float(d.attrib["cx"]) - x1) / (x2 - x1), (float(d.attrib["cy"]) - y1) / (y2 - y1)) for d in dots]

    assert places("before") == [pytest.approx((0.25, 0.25), abs=0.01), pytest.approx((0.75, 0.75), abs=0.01)]
    assert places("after") == [pytest.approx((0.25, 0.5), abs=0.01), pytest.approx((0.75, 1.0), abs=0.01)]


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("0.8 to 0.9", (0.8, 0.9)),
        ("[0.5, 1.0]", (0.5, 1.0)),
        ("80 to 90 %", (0.8, 0.9)),
        ("bin 3", ()),
        ("2 to 3", ()),
        ("high", ()),
    ],
)
def test_the_ends_of_a_bin_are_read_from_its_name(name: str, ends: tuple[float, ...]) -> None:
    assert parts._ends(name) == ends


def test_bins_without_numbers_are_dots(findings: Findings) -> None:
    given = [Part("low", 0.25, 0.5, 0.25, 0.2, 0.3, 0.1), Part("high", 0.75, 1.0, 0.25, 0.2, 0.3, 0.1)]
    root = _drawn(_with(_one(findings, "overfitting", "confidence bin"), *given, kind="confidence bin"))
    assert _all(root, "line", "zero")


@pytest.mark.parametrize("kind", ["group", "layer"])
@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a & b", "プルーニング", "a" * 80, "", "x\n\ty"])
def test_any_name_can_be_drawn(findings: Findings, name: str, kind: str) -> None:
    given = [Part(name, 0.5, 0.4, -0.1, -0.2, 0.0, 0.3), Part("b", 0.5, 0.4, -0.1, None, None, None)]
    found = parts.draw(_with(_one(findings, "fairness", "group"), *given, kind=kind, candidate=name), {}, "p")
    assert found is not None
    assert "<script" not in found.svg
    ET.fromstring(found.svg)


@pytest.mark.parametrize("kind", ["group", "layer", "confidence bin"])
def test_effects_that_are_all_zero_can_be_drawn_and_nothing_is_no_figure(findings: Findings, kind: str) -> None:
    finding = _one(findings, "fairness", "group")
    flat = [Part(f"0.{at} to 0.{at + 1}", 0.0, 0.0, 0.0, 0.0, 0.0, 1.0) for at in range(3)]
    ET.fromstring(parts.draw(_with(finding, *flat, kind=kind, margin=0.0), {}, "p").svg)  # type: ignore[union-attr]
    assert parts.draw(_with(finding, *(Part(p.name) for p in flat), kind=kind), {}, "p") is None
    assert parts.draw(_with(finding, kind=kind), {}, "p") is None


def test_a_row_draws_its_families_strongest_and_of_other_questions_who_moved_most(findings: Findings) -> None:
    by_row = {section.line.row.name: section for section in sections(findings, arrange(findings))}
    drawn = [(s.question, s.candidate) for s in by_row["fairness"].spreads]
    assert drawn[:4] == [
        ("worst group (style)", name) for name in ("prune 95 %", "distill quarter", "quantize 2 bits", "svd 25 %")
    ]
    (last,) = drawn[4:]
    assert last == ("gap between groups (digit)", "quantize 2 bits")
    assert by_row["fairness"].kinds == "group, class"
    assert all(len(section.spreads) <= 7 for section in by_row.values())
    assert by_row["membership"].spreads == ()


def test_a_page_without_parts_has_no_place_for_them(document: dict[str, Any]) -> None:
    for finding in document["findings"]:
        del finding["parts"]
        finding.pop("share", None)
    document["exhibits"] = [e for e in document["exhibits"] if e["kind"] in {"harmed", "reconstruction"}]
    del document["potential"]
    page = render(parse(document))
    assert 'class="by-part"' not in page
    assert 'class="grove"' not in page
    assert "How far each family" not in page
