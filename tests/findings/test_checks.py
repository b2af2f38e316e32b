from __future__ import annotations

import copy
import io
from typing import Any

import pytest
from rich.console import Console

from tests.report.test_page import HOSTILE, Reader
from whatelse.findings import checks
from whatelse.findings.record import FindingsError, parse
from whatelse.report.page import render
from whatelse.report.surfaces import card, markdown, terminal

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save

TWICE = "7 of 907 test examples stand in train too: what is said of test is said of members"
CHECKED: dict[str, Any] = {
    "pairs": {
        "small": [
            {"name": "class order", "outcome": "same", "baseline": "as in the data", "candidate": "as in the data"},
            {"name": "dtype", "outcome": "stated", "baseline": "weights float32", "candidate": "weights bfloat16"},
        ]
    },
    "splits": [
        {"task": "data", "split": "test", "within": "train", "twice": 7, "of": 907, "remark": TWICE},
        {"task": "data", "split": "test", "within": "select", "twice": 0, "of": 907, "remark": ""},
    ],
    "remarks": [TWICE],
}
DIFFER = "small, dtype: baseline weights float32; this model weights bfloat16"


@pytest.fixture
def checked(document: dict[str, Any]) -> dict[str, Any]:
    return {**copy.deepcopy(document), "comparability": copy.deepcopy(CHECKED)}


def shown(document: dict[str, Any], width: int = 200) -> str:
    told = io.StringIO()
    terminal.show(parse(document), Console(file=told, width=width))
    return " ".join(told.getvalue().split())


def test_the_page_opens_with_what_must_be_known_and_tells_every_check(checked: dict[str, Any]) -> None:
    text = " ".join(" ".join(Reader(render(parse(checked))).text).split())
    assert text.index(f"⚠ {TWICE}.") < text.index("The table")
    section = text[text.rindex("What was checked") : text.index("What was run")]
    for word in ("class order", "as in the data", "dtype", "weights float32", "weights bfloat16", "⚠ stated"):
        assert word in section
    assert "7 of 907" in section
    assert "none of 907" in section
    assert "4 checks of models and splits; 2 to know of." in section


def test_terminal_markdown_and_card_tell_what_is_not_the_same(checked: dict[str, Any]) -> None:
    terminal = shown(checked)
    assert f"checked: {TWICE}" in terminal
    assert f"checked: {DIFFER}" in terminal
    assert "checked: 4 checks of models and splits; 2 to know of" in terminal
    for text in (markdown.render(parse(checked)), card.render(parse(checked))):
        assert TWICE in text
        assert DIFFER in text
        assert "class order" not in text


def test_where_all_is_well_that_is_said(checked: dict[str, Any]) -> None:
    well = checked["comparability"]
    well["pairs"]["small"].pop()
    well["splits"].pop(0)
    well["remarks"] = []
    assert checks.told(parse(checked).comparability) == []
    assert "checked: 2 checks of models and splits; none to know of" in shown(checked)
    assert "2 checks of models and splits; none to know of." in markdown.render(parse(checked))
    assert "⚠" not in render(parse(checked)).split('id="checked"')[1].split("</section>")[0]


def test_findings_without_checks_say_so_and_make_no_line(document: dict[str, Any]) -> None:
    document = {k: v for k, v in document.items() if k != "comparability"}
    assert "These findings say of no check" in render(parse(document))
    assert "checked:" not in shown(document)
    assert "What was checked" not in markdown.render(parse(document))


def test_nothing_in_a_check_becomes_markup(checked: dict[str, Any]) -> None:
    odd = checked["comparability"]
    odd["remarks"] = [HOSTILE]
    odd["pairs"] = {HOSTILE: [{"name": HOSTILE, "outcome": "stated", "baseline": HOSTILE, "candidate": HOSTILE}]}
    odd["splits"] = [dict.fromkeys(("task", "split", "within", "remark"), HOSTILE) | {"twice": 1, "of": 2}]
    page = render(parse(checked))
    assert "<script>alert" not in page
    assert "".join(Reader(page).text).count(HOSTILE) >= 10
    assert "<script>" not in markdown.render(parse(checked))
    assert "<script>" not in card.render(parse(checked))


def test_an_outcome_that_is_none_is_named(checked: dict[str, Any]) -> None:
    checked["comparability"]["pairs"]["small"][0]["outcome"] = "fine"
    with pytest.raises(FindingsError, match=r"comparability\.pairs\.small\[0\]\.outcome: got 'fine'; allowed: same"):
        parse(checked)
