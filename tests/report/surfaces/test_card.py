"""The model card section."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from whatelse.findings import phrasing as words
from whatelse.findings.record import Findings, parse
from whatelse.report.surfaces.card import render


def _metadata(text: str) -> list[str]:
    start, metadata, _ = text.split("---\n", 2)
    assert start == ""
    return metadata.splitlines()


def test_metadata_comes_first_and_every_value_is_quoted(findings: Findings) -> None:
    lines = _metadata(render(findings))
    assert lines[:4] == ["tags:", "- whatelse", "- model-compression", "model-index:"]
    for line in lines[4:]:
        assert re.fullmatch(r' *(- )?[a-z]+:( (other|\[\]|"[^\n]*"|-?[\d.e-]+))?', line), line
        value = line.split(": ", 1)[1] if ": " in line else '""'
        assert value == "other" or json.loads(value) is not None


def test_metadata_names_every_candidate_and_no_number_that_is_not_trusted(findings: Findings) -> None:
    lines = _metadata(render(findings))
    names = [json.loads(line.removeprefix("- name: ")) for line in lines if line.startswith("- name: ")]
    assert names == [c.name for c in findings.candidates if c.role == "candidate"]
    told = [f for f in findings.findings if f.primary and f.after is not None and f.verdict != "not trusted"]
    assert sum(line.startswith("      value: ") for line in lines) == len(told)


def test_every_primary_finding_stands_in_the_evaluation(findings: Findings) -> None:
    text = render(findings)
    for finding in findings.findings:
        if finding.primary:
            assert f"{words.VERDICTS[finding.verdict].symbol} {finding.verdict}" in text
            assert finding.effect is None or words.signed(finding.effect, finding.unit) in text


def test_limits_are_told(findings: Findings) -> None:
    text = render(findings)
    limits = text[text.index("## Bias, risks and limitations") :]
    open_ = sum(f.primary and f.verdict == "inconclusive" for f in findings.findings)
    assert f"{open_} of 90 primary findings are inconclusive, 1 not trusted, 3 not measurable, 1 failed" in limits
    assert "Not measured yet: Architecture search." in limits
    assert "attack diverged" in limits


def test_hostile_names_stay_in_their_place(document: dict[str, Any]) -> None:
    for part in ("candidates", "findings", "exhibits"):
        for one in document[part]:
            key = "name" if part == "candidates" else "candidate"
            if one[key] == "prune 50 %":
                one[key] = 'x"\n---\n<script>: |'
    text = render(parse(document))
    assert "<script>" not in text.split("---\n", 2)[2]
    assert json.dumps('x"\n---\n<script>: |') in text.split("---\n", 2)[1]


def test_no_candidate_makes_no_index(document: dict[str, Any]) -> None:
    for part in ("candidates", "findings", "claims", "exhibits"):
        document[part] = []
    text = render(parse(document))
    assert "model-index" not in text
    assert text.startswith("---\ntags:")


def test_parts_and_shares_stand_below_the_evaluation(findings: Findings) -> None:
    text = render(findings)
    model = text[text.index("## prune 95 %") : text.index("## distill half")]
    assert "- Fairness: 3 of 4 groups changed, most a style with a long name: −30 pp." in model
    assert "% of the way from random to placebo" in model


@pytest.mark.known_answer
def test_the_hub_reads_the_numbers_of_the_record(findings: Findings) -> None:
    cards = pytest.importorskip("huggingface_hub", reason="the hub's own reader is not installed")
    read = cards.ModelCard(render(findings)).data.eval_results
    order = [c.name for c in findings.candidates if c.role == "candidate"]
    told = [f for f in findings.findings if f.primary and f.after is not None and f.verdict != "not trusted"]
    told = sorted((f for f in told if f.candidate in order), key=lambda f: order.index(f.candidate))
    assert [one.metric_value for one in read] == [f.after for f in told]
    assert [one.metric_type for one in read] == [f.behaviour for f in told]
    splits = ["test" if f.unit_of_analysis == "test example" else None for f in told]
    assert [one.dataset_split for one in read] == splits
