"""Markdown for a pull request."""

from __future__ import annotations

import re
from typing import Any, get_args

from markdown_it import MarkdownIt

from whatelse.findings import phrasing as words
from whatelse.findings.record import Findings, Verdict, parse
from whatelse.report._grid import arrange
from whatelse.report.surfaces.markdown import plain, render


def test_the_table_has_a_line_a_row_and_a_cell_a_column(findings: Findings) -> None:
    lines = [line for line in render(findings).splitlines() if line.startswith("|")]
    grid = arrange(findings)
    assert len(lines) == 2 + len(grid.lines)
    assert {line.count(" | ") for line in lines} == {len(grid.candidates)}


def test_every_verdict_effect_outcome_and_failure_is_there(findings: Findings) -> None:
    text = render(findings)
    for word in get_args(Verdict):
        assert f"{words.VERDICTS[word].symbol} {word}" in text
    for finding in findings.findings:
        if finding.primary and finding.effect is not None:
            assert words.signed(finding.effect, finding.unit) in text
    for claim in findings.claims:
        assert f"**{claim.outcome}**" in text
    assert "attack diverged" in text
    assert "not measured yet" in text


def test_nothing_in_the_findings_becomes_markup(document: dict[str, Any]) -> None:
    hostile = "a|b <script>x</script> [l](http://e) `c` *d*\n# e"
    document["rows"][0]["title"] = document["claims"][0]["claim"] = document["study"]["title"] = hostile
    text = render(parse(document))
    html = MarkdownIt().enable("table").render(text)
    assert "<script>" not in html
    assert not re.search("<(a|code|em|h1)", html)
    assert html.count("<th>") == 11
    assert html.count("<tr>") == 1 + len(document["rows"])


def test_plain_is_read_back_as_it_was() -> None:
    text = r"a|b <i> [l](x) `c` *d* _e_ # & \ ~ $x$"
    assert MarkdownIt().renderInline(plain(text)) == (r"a|b &lt;i&gt; [l](x) `c` *d* _e_ # &amp; \ ~ $x$")


def test_the_same_findings_give_the_same_text(document: dict[str, Any]) -> None:
    assert render(parse(document)) == render(parse(document))


def test_a_row_with_parts_has_a_line_that_names_who_changed_most(document: dict[str, Any]) -> None:
    text = render(parse(document))
    part = text[text.index("### By part") : text.index("### × ")]
    lines = [line for line in part.splitlines() if line.startswith("- ")]
    assert [line.split("**")[1] for line in lines] == ["Explanation by trees", "Fairness", "Adversarial examples",
                                                       "Mechanism"]  # fmt: skip
    assert "prune 95 %: 3 of 4 groups changed, most a style with a long name: −30 pp" in lines[1]
    assert "prune 50 %" not in lines[1]
    for finding in document["findings"]:
        finding["parts"] = None
    assert "### By part" not in render(parse(document))
