"""What findings show of themselves in Python and in a notebook."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields, replace
from html.parser import HTMLParser

import pandas
import pytest

from whatelse.errors import MissingExtraError
from whatelse.findings import flat
from whatelse.findings.exhibits import Exhibit, Node, Picture
from whatelse.findings.record import Findings, parse
from whatelse.findings.views import without_examples
from whatelse.testing import surfaces

HOSTILE = "<script>alert(1)</script>&\"'"


def shown(found: Findings) -> Findings:
    """Findings with an example of a person, and a tree."""
    tree = Node("1", 9, "age", 30.0, Node("0", 4), Node("1", 5))
    exhibits = (
        Exhibit(
            "performance", "exposed", "clean", "half", (Picture(note="Ann, 41", index=7), Picture(index=8)), "most"
        ),
        Exhibit("performance", "tree", "clean", "half", tree=tree),
    )
    return replace(found, exhibits=exhibits)


def test_a_table_has_one_line_a_finding_and_the_values_of_the_record(findings: Findings) -> None:
    table = findings.table()
    assert list(table.columns) == list(flat.COLUMNS)
    assert len(table) == len(findings.findings)
    for name in flat.FIELDS:
        values = [getattr(f, name) for f in findings.findings]
        got = [None if pandas.isna(one) else one for one in table[name]]
        assert got == values, name
    assert set(flat.FIELDS) <= {f.name for f in fields(findings.findings[0])}


def test_without_pandas_the_extra_is_named(findings: Findings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'whatelse\[tables\]'"):
        findings.table()


def test_findings_are_read_without_torch_and_without_any_surface(tmp_path) -> None:
    code = "import sys, whatelse.findings.record; print([m for m in sys.modules if 'torch' in m or '.report' in m])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert out.stdout.strip() == "[]", out.stdout + out.stderr


def test_the_page_and_the_record_are_those_of_the_command_line(findings: Findings) -> None:
    from whatelse.report.surfaces import html
    from whatelse.report.surfaces import json as document

    assert findings.to_html(show_examples=True) == html.render(findings)
    assert findings.to_json(show_examples=True) == document.render(findings)
    assert parse(json.loads(findings.to_json(show_examples=True))) == findings


def test_rows_of_people_leave_only_on_request() -> None:
    found = shown(surfaces.findings())
    for text in (found.to_json(), found.to_html()):
        assert "Ann, 41" not in text
    assert "Ann, 41" in found.to_json(show_examples=True)
    assert "Ann, 41" in found.to_html(show_examples=True)
    left = without_examples(found)
    assert [(e.items, e.left_out, e.tree is None) for e in left.exhibits] == [((), 2, True), ((), 0, False)]
    assert without_examples(left) == left
    assert parse(json.loads(found.to_json())) == left
    assert "<code>--show-examples</code>" in found.to_html()
    assert "Most (2; half)" in found.to_html()


class Checked(HTMLParser):
    """Demands that every element is closed, and collects the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_a_notebook_shows_a_small_table_with_everything_escaped(findings: Findings) -> None:
    hostile = replace(
        findings,
        study=replace(findings.study, title=HOSTILE),
        findings=tuple(replace(f, label=HOSTILE) for f in findings.findings),
    )
    page = Checked(hostile._repr_html_())
    assert page.open == []
    assert page.seen <= {"div", "p", "b", "table", "thead", "tbody", "tr", "th", "td"}
    assert HOSTILE in page.text
    small = findings._repr_html_()
    primary = [f for f in findings.findings if f.primary]
    assert small.count("<tr>") == 1 + min(40, len(primary))
    assert f"And {len(primary) - 40} more" in small
    assert len(small) < 20_000
    for f in primary[:40]:
        assert f.verdict in small


def test_it_is_told_in_a_line_and_in_a_few(findings: Findings) -> None:
    assert repr(findings).startswith("<Findings 'table': ")
    assert "\n" not in repr(findings)
    told = str(surfaces.findings())
    assert "half: Shown worse in 1 of 1 question; none is open." in told
    assert "worse: accuracy −10 pp (−14 to −6 pp)" in told
    assert str(surfaces.nothing()) == "A sample"
