"""An audit as JUnit XML: harm fails, what is open is skipped and never passes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from whatelse.findings import phrasing as words
from whatelse.findings.record import Findings
from whatelse.report.surfaces.junit import render

KINDS = {
    "improved": None,
    "unchanged": None,
    "worsened": "failure",
    "inconclusive": "skipped",
    "not measurable": "skipped",
    "not trusted": "skipped",
    "failed": "error",
}


def test_every_primary_finding_is_a_case_of_its_candidate_with_the_kind_of_its_verdict(findings: Findings) -> None:
    root = ElementTree.fromstring(render(findings).encode())
    names = [c.name for c in findings.candidates if c.role == "candidate"]
    assert [suite.get("name") for suite in root] == names
    counted = dict.fromkeys(("failure", "error", "skipped"), 0)
    for suite in root:
        asked = [f for f in findings.findings if f.primary and f.candidate == suite.get("name")]
        for case, finding in zip(suite.findall("testcase"), asked, strict=True):
            found = [one for one in case if one.tag != "properties"]
            assert [one.tag for one in found] == ([KINDS[finding.verdict]] if KINDS[finding.verdict] else [])
            for one in found:
                assert words.reason(finding) in one.get("message", "")
                counted[one.tag] += 1
    assert {f.verdict for f in findings.findings if f.primary} == set(KINDS)
    assert [root.get(name) for name in ("failures", "errors", "skipped")] == [str(n) for n in counted.values()]
    assert root.get("tests") == str(sum(f.primary and f.candidate in names for f in findings.findings))


@pytest.mark.parametrize(("verdict", "kind"), [("worsened", "failures"), ("not trusted", "skipped")])
def test_a_doubt_that_can_only_hide_harm_fails_where_harm_is_shown(findings: Findings, verdict: Any, kind: str) -> None:
    doubted = replace(findings.findings[0], verdict=verdict, verdict_if_one_sided="worsened", primary=True)
    one = replace(doubted, candidate=next(c.name for c in findings.candidates if c.role == "candidate"))
    root = ElementTree.fromstring(render(replace(findings, findings=(one,), claims=())).encode())
    assert {name for name in ("failures", "errors", "skipped") if root.get(name) == "1"} == {kind}


@pytest.mark.parametrize("name", ['<a>&"', "\x00\x1b[31m", "\ud800"])
def test_no_name_breaks_the_document(findings: Findings, name: str) -> None:
    hostile = replace(findings, findings=tuple(replace(f, label=name, why=name) for f in findings.findings))
    ElementTree.fromstring(render(hostile).encode())
