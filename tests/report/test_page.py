"""The page as text: whole, escaped, self-contained, the same every time."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import re
from html.parser import HTMLParser
from typing import Any, get_args

import pytest

from whatelse.findings import phrasing as words
from whatelse.findings.answers import answers
from whatelse.findings.record import Findings, Verdict, parse
from whatelse.report import _listing
from whatelse.report import page as made
from whatelse.report._grid import arrange
from whatelse.report.page import render
from whatelse.report.surfaces import markdown

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save

HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}</style>"
LOADING = {("img", "src"), ("script", "src"), ("link", "href"), ("image", "href"), ("iframe", "src"), ("use", "href")}
VOID = {"meta", "link", "img", "br", "input", "hr"}
# Whose end may be left out, as HTML has it: each with the tags that end it by beginning.
ENDS = {"td": {"td", "th", "tr"}, "th": {"td", "th", "tr"}, "tr": {"tr"}, "dt": {"dt", "dd"}, "dd": {"dt", "dd"}}
ENDS["li"] = {"li"}


class Reader(HTMLParser):
    """Collects elements, their attributes and the text in the order of the file; checks that tags are closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        while self.open and tag in ENDS.get(self.open[-1], ()):
            self.open.pop()
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        while self.open[-1] != tag and self.open[-1] in ENDS:
            self.open.pop()
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"script", "style"}:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def page(rendered: str) -> Reader:
    return Reader(rendered)


def test_every_tag_is_closed_and_every_id_unique(page: Reader) -> None:
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        for name in ("aria-describedby", "aria-labelledby", "popovertarget"):
            assert set(attributes.get(name, "").split()) <= set(ids)
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in ids


def test_the_table_comes_first_with_one_cell_a_finding(page: Reader, findings: Findings) -> None:
    tables = page.all("table")
    assert tables[0]["role"] == "grid"
    cells = [a for a in page.all("button") if a["class"].startswith("verdict")]
    shown = [cell for line in arrange(findings).lines for cell in line.cells if cell]
    assert [a["class"].split(" ", 1)[1] for a in cells] == [c.verdict.replace(" ", "-") for c in shown]


def test_every_cell_has_word_symbol_effect_and_details(rendered: str, findings: Findings) -> None:
    page = rendered
    cells = re.findall(r'<button.*?aria-describedby="([^"]*)".*?</button>', page, flags=re.DOTALL)
    bodies = re.findall(r'<button type="button" class="verdict.*?</button>', page, flags=re.DOTALL)
    shown = [cell for line in arrange(findings).lines for cell in line.cells if cell]
    for finding, body, tip in zip(shown, bodies, cells, strict=True):
        assert words.VERDICTS[finding.verdict].symbol in body
        assert f"</span> {finding.verdict}</span>" in body
        details = page[page.index(f'id="{tip}"') :]
        details = html.unescape(details[: details.index("</dl>")])
        for name, value in words.facts(finding):
            assert f"<dt>{name}<dd>{value}\n" in details
        if finding.effect is not None:
            assert words.brief(finding.effect, finding.unit) in body


def test_every_verdict_outcome_claim_and_failure_is_told(page: Reader, findings: Findings) -> None:
    text = " ".join(page.text)
    assert {f.verdict for f in findings.findings} == set(get_args(Verdict))
    for word in get_args(Verdict):
        assert word in text
    for claim in findings.claims:
        assert claim.claim in text
        assert claim.supports in text
        assert claim.reason in text
    for failure in findings.failed:
        assert failure.cell in text
        assert failure.error in text
    for finding in findings.findings:
        assert html.unescape(finding.why) in text


def test_a_row_that_is_not_measured_says_so_in_one_cell(rendered: str) -> None:
    row = rendered[rendered.index('href="#row-architecture"') :]
    row = row[: row.index("</tr>")]
    assert 'colspan="10"' in row
    assert "not measured yet</td>" in row
    assert "<button" not in row


def test_each_measured_row_has_a_figure_a_family(rendered: str) -> None:
    assert rendered.count('<svg class="figure"') == 9 * 4


def test_what_was_run_can_be_repeated(page: Reader, findings: Findings) -> None:
    text = " ".join(page.text)
    assert findings.study.file in text
    assert "whatelse study study.toml" in text
    for candidate in findings.candidates:
        assert candidate.recipe in text
    for name, value in words.versions(findings.environment):
        assert f"{name} {value}" in text
    assert "0, 1, 2, 3, 4" in text
    assert "38 k" in text
    assert "6 min 42 s" in text


def test_nothing_is_loaded_from_anywhere(page: Reader, rendered: str) -> None:
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "poster", "data"):
            value = attributes.get(name, "")
            if (tag, name) in LOADING or name != "href":
                assert value.startswith(("data:", "#")) or not value
    assert "@import" not in rendered
    assert not re.search(r"url\((?!#)", rendered)


def test_the_policy_admits_this_script_and_no_other(page: Reader, rendered: str) -> None:
    policy = page.all("meta")[1]["content"]
    (script,) = re.findall(r"<script>(.*?)</script>", rendered, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


def test_the_same_findings_give_the_same_bytes(document: dict[str, Any], rendered: str) -> None:
    assert render(parse(document)) == rendered


WORDS = {"status", "better", "verdict", "role", "outcome", "kind"}
JOINTS = {"name", "row", "id", "candidate", "control", "because"}


def _hostile(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _hostile(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [_hostile(one, key) for one in value]
    if not isinstance(value, str) or key in WORDS or (key in JOINTS and value in {"placebo", "twin", "random"}):
        return value
    return value + HOSTILE


def test_nothing_in_the_findings_becomes_markup(document: dict[str, Any]) -> None:
    text = render(parse(_hostile(document)))
    assert "<script>alert" not in text
    assert text.count("</style>") == 1
    assert "{{7*7}}" in text
    page = Reader(text)
    assert page.open == []
    assert len(page.all("script")) == 1
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)


def _empty(document: dict[str, Any]) -> None:
    for part in ("rows", "candidates", "findings", "claims", "exhibits", "failed", "tasks", "seeds"):
        document[part] = []


def _no_numbers(document: dict[str, Any]) -> None:
    for finding in document["findings"]:
        for key in ("before", "after", "effect", "low", "high", "floor", "margin", "detectable", "needed"):
            finding[key] = None


def _no_families(document: dict[str, Any]) -> None:
    document["findings"] = [f for f in document["findings"] if f["candidate"].startswith("svd")]
    document["claims"] = []


def _bare(document: dict[str, Any]) -> None:
    document["exhibits"][0]["items"] = [{"image": [[0.5]]}, {"image": [[0.5]], "index": 3, "truth": "1"}]
    document["created"] = "yesterday"
    document["timing"] = {"wall_s": 4000, "note": "none"}


@pytest.mark.parametrize("change", [_empty, _no_numbers, _no_families, _bare])
def test_poor_findings_still_make_a_whole_page(document: dict[str, Any], change: Any) -> None:
    change(document)
    assert Reader(render(parse(document))).open == []


def _cells(section: str) -> str:
    """The texts of cells, a comma between two."""
    return re.sub(r"(</td>)?\s*<td[^>]*>", ", ", section)


def _section(page: str, row: str) -> str:
    part = page[page.index(f'<section id="row-{row}"') :]
    return part[: part.index("</section>")]


def test_parts_are_drawn_inside_a_closed_part_of_their_row(rendered: str) -> None:
    section = _section(rendered, "fairness")
    assert section.count('<details class="by-part">') == 1
    assert section.count('<svg class="figure parts"') == 5
    assert "(group, class; 5 figures)" in section
    assert "3 of 4 groups changed, most a style with a long name: −30 pp." in section
    assert "by-part" not in _section(rendered, "membership")


def test_a_tree_is_a_list_of_questions_and_answers(rendered: str, document: dict[str, Any]) -> None:
    section = _section(rendered, "trees")
    assert section.count('<ul class="tree">') == 3

    def walk(node: dict[str, Any]) -> tuple[int, int]:
        if "left" not in node:
            return 0, 1
        both = [walk(node[side]) for side in ("left", "right")]
        return 1 + both[0][0] + both[1][0], both[0][1] + both[1][1]

    whole = [walk(e["tree"]) for e in document["exhibits"] if e["kind"] == "tree"]
    assert section.count("?\n <span" if "?\n <span" in section else "? <span") == sum(
        questions for questions, _ in whole
    )
    assert section.count('class="ask leaf"') == sum(leaves for _, leaves in whole)
    root = document["exhibits"][-3]["tree"]
    assert f"{root['feature']} ≤ {root['threshold']:.4g}?" in section
    assert "2 leaves below" in section


def test_examples_without_an_image_are_a_list_and_the_rest_is_counted(rendered: str) -> None:
    section = _section(rendered, "overfitting")
    listed = section[section.index('<ul class="listed">') :]
    listed = listed[: listed.index("</ul>")]
    assert listed.count("<li>") == 24
    assert "Example 31, truth 1, read as 1 before, 4 after" in listed
    assert "<img" not in listed
    assert "And 6 more." in section
    assert section.count('<ul class="shown">') == 1, "those with an image are pictures"


def test_how_far_a_family_can_go_is_a_table_in_the_row_that_asks(rendered: str) -> None:
    section = _section(rendered, "overfitting")
    assert "How far each family can go" in section
    assert "<code>prune.magnitude()</code>, 0.50 pp, sparsity 0.8, 0.5 ✓, 0.8 ✓, 0.95 –" in _cells(section)
    assert "svd (decompose)</th>, , 0.50 pp, none of them" in _cells(section)
    assert rendered.count("How far each family can go") == 1


def test_a_potential_of_an_unknown_question_stands_at_overfitting(document: dict[str, Any]) -> None:
    document["potential"] = [
        {
            "family": "prune",
            "delta": 0.01,
            "potential": 3,
            "knob_name": "x",
            "levels": [2, 3],
            "shown": [False, True],
            "unbroken": None,
        }
    ]
    section = _section(render(parse(document)), "overfitting")
    assert "0.010, x 3; without a gap not even the mildest, 2 –, 3 ✓" in _cells(section)


def test_names_of_parts_features_and_families_are_escaped(document: dict[str, Any]) -> None:
    for finding in document["findings"]:
        for part in (finding["parts"] or {"items": []})["items"]:
            part["name"] = HOSTILE
        if finding["parts"]:
            finding["parts"]["kind"] = HOSTILE
    for exhibit in document["exhibits"]:
        exhibit["title"] = HOSTILE
        if "tree" in exhibit:
            exhibit["tree"] |= {"feature": HOSTILE, "class": HOSTILE}
        for item in exhibit["items"]:
            item |= {"truth": HOSTILE, "note": HOSTILE}
    for one in document["potential"]:
        one |= dict.fromkeys(("family", "kind", "knob_name", "label", "task"), HOSTILE)
    page = render(parse(document))
    assert "<script>alert" not in page
    assert Reader(page).open == []


def test_where_no_survey_speaks_none_is_mentioned(findings: Findings) -> None:
    rows = tuple(dataclasses.replace(row, survey="", cited="") for row in findings.rows)
    alone = dataclasses.replace(findings, rows=rows, claims=())
    for said in ("What the survey says", "The survey makes no claim"):
        assert said in render(findings)
        assert said not in render(alone)
    assert "The claims" in markdown.render(findings)
    assert "The claims" not in markdown.render(alone)


def test_what_all_rows_of_a_question_share_is_said_once(findings: Findings) -> None:
    line = next(f for f in findings.findings if f.n is not None)
    notes = ("8 shadow models, 600 members", "9 shadow models, 600 members")
    some = [dataclasses.replace(line, candidate=name, validity=notes, why="") for name in ("a", "b")]
    other = dataclasses.replace(line, candidate="c", n=(line.n or 0) + 1, validity=(), why="", needed=None)
    told = _listing.listed("asked", [*some, other])
    first, second, third = (row.cells for row in told.rows)
    assert told.usual == words.sample(line)
    assert first[4:6] == ["", words.remarks(some[0])]
    assert first[5].startswith("8 shadow models, 600 members (and 1 alike)")
    assert second[5] == "as above"
    assert third[4] == words.sample(other)


def test_of_many_models_the_first_screen_shows_those_that_got_worse(document: dict[str, Any]) -> None:
    """Where some fold away, no reader should have to open a fold to learn that a model lost something."""
    findings = parse(document)
    order = [one.candidate for one in made._first_screen(answers(findings))]
    verdicts = [one.verdict for one in made._first_screen(answers(findings))]
    assert len(order) > made.SHOWN
    assert sorted(order) == sorted(one.candidate for one in answers(findings))
    assert verdicts == sorted(verdicts, key=["worsened", "inconclusive", "unchanged"].index)
    few = answers(findings)[: made.SHOWN][::-1]
    assert made._first_screen(few) == few
