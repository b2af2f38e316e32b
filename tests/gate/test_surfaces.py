"""Every surface says the same, and nothing that a name holds can break out of it."""

import io
import json
import re
import xml.etree.ElementTree as ET

import pytest
from rich.console import Console

from whatelse.findings.record import parse
from whatelse.gate import _words as words
from whatelse.gate.surfaces import json as record
from whatelse.gate.surfaces import junit, markdown, terminal

HOSTILE = "<script>alert(1)</script> a|b & \"c\" 'd' [e](f) *g* \x00\x1b[31m"
BUDGETS = """title = "ours"
[[budgets]]
label = "accuracy"
most = 0.01
why = "because"
[[budgets]]
label = "worst"
most = 0.02
groups = ["*"]
least = 5
[[budgets]]
label = "attack"
tier = "supporting"
most = 0.02
[[budgets]]
label = "map"
tier = "supporting"
most = 0.02
[[budgets]]
label = "told"
tier = "advisory"
most = 0.02
[[budgets]]
behaviour = "leakage.labels"
tier = "supporting"
most = 0.02
demanded = false
"""


@pytest.fixture
def gate(world):
    """Five candidates' worth of decisions in one: kept, undecided, exceeded, missing, too few, told, not asked."""
    items = [world.part("women", -0.5, 0.01, n=200), world.part("few", 0.0, 0.01, n=3), {"name": "gone", "n": 0}]
    found = [
        world.finding(-0.002, 0.001, primary=True),
        world.finding(-0.015, 0.01, label="worst", floor=0.05, parts={"kind": "group", "items": items}),
        world.finding(-0.5, 0.01, label="attack"),
        world.finding(None, label="map", verdict="failed", why="RuntimeError"),
        world.finding(-0.5, 0.01, label="told"),
        *(world.finding(0.0, 0.001, "good", label) for label in ("accuracy", "worst", "attack", "map", "told")),
    ]
    found[-5]["primary"] = True
    found[-4]["parts"] = {"kind": "group", "items": [world.part("women", 0.0, 0.001, n=200)]}
    return world.gate(BUDGETS, *found, candidates=("small", "good"))


def test_the_answers_are_what_they_are_meant_to_be(gate):
    assert [r.verdict for r in gate.rulings] == ["NO-GO", "GO"]
    assert [a.decision for a in gate.rulings[0].answers] == [
        "within", "undecided", "exceeded", "too few", "too few", "exceeded", "missing", "exceeded", "not asked",
    ]  # fmt: skip


def test_junit_parses_and_its_counts_agree(gate):
    root = ET.fromstring(junit.render(gate, None))
    assert root.tag == "testsuites"
    kinds = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    for holder in (root, *root):
        cases = list(holder.iter("testcase"))
        assert int(holder.get("tests")) == len(cases)
        for plural, kind in kinds.items():
            assert int(holder.get(plural)) == sum(case.find(kind) is not None for case in cases)
    assert [int(root[0].get(plural)) for plural in kinds] == [2, 1, 5]
    assert [int(root[1].get(plural)) for plural in kinds] == [0, 0, 1]
    first = root[0][0]
    assert (first.get("classname"), first.get("name")) == ("small", "accuracy")
    told = {p.get("name"): p.get("value") for p in first.iter("property")}
    assert {"effect": "-0.002", "budget": "0.01", "n": "1000", "seeds": "5", "tier": "critical"}.items() <= told.items()
    assert float(told["bound"]) == pytest.approx(0.002 + 0.0016448536)
    group = root[0][2]
    assert group.get("name") == "worst: women"
    assert {p.get("name"): p.get("value") for p in group.iter("property")}["n"] == "200"
    failure = group.find("failure")
    assert failure.get("type") == "exceeded"
    assert "harm +50 pp (≥ +48 pp), budget 2.0 pp" in failure.get("message")


def test_markdown_leads_with_the_verdict_and_has_a_line_for_every_question(gate):
    text = markdown.render(gate, None)
    assert text.startswith("## ▼ NO-GO: 1 of 2 candidates\n\nours\n")
    assert "| small | ▼ **NO-GO** | exceeded: worst: women (200) and attack |" in text
    assert "| critical | accuracy | +0.20 pp | ≤ +0.36 pp | 1.0 pp | ✓ within |" in text
    assert (
        "| critical | worst | +1.5 pp | −0.1 to +3.1 pp | 2.0 pp | **? undecided** | about 24,731 test examples" in text
    )
    assert "| supporting | attack | +50 pp | ≥ +48 pp | 2.0 pp | **▼ exceeded** |" in text
    assert "| supporting | map |  |  | 2.0 pp | – missing | failed: RuntimeError |" in text
    assert "| advisory | told | +50 pp | ≥ +48 pp | 2.0 pp | ▼ exceeded |" in text, "an advisory one is not bold"
    assert "budget below the noise floor (±5.0 pp) |" in text
    assert text.count(words.NOISE) == 1
    assert "leakage.labels (not in the findings)" in text
    widths = {line.count(" | ") for line in text.splitlines() if line.startswith("| critical")}
    assert widths == {6}


def test_one_candidate_is_the_headline_itself(world):
    text = '[[budgets]]\nlabel = "accuracy"\nmost = 0.01\n'
    told = markdown.render(world.gate(text, world.finding()), None)
    assert told.startswith("## ✓ GO: small\n\nShown kept: accuracy; no group or class was looked at by itself.\n")
    assert markdown.render(world.gate(text, world.finding(-0.01)), None).startswith("## ? INCONCLUSIVE: small\n")


def test_json_holds_numbers_and_nulls(gate, world):
    found = parse(world.document(world.finding()))
    read = json.loads(record.render(gate, found))
    assert (read["schema"], read["verdict"], read["code"], read["title"]) == (1, "NO-GO", 1, "ours")
    first, second = read["candidates"]
    assert (first["name"], first["verdict"], second["verdict"]) == ("small", "NO-GO", "GO")
    assert [a["decision"] for a in first["answers"]] == [a.decision for a in gate.rulings[0].answers]
    assert first["answers"][0]["upper"] == pytest.approx(0.0036448536)
    assert first["answers"][6]["harm"] is None
    assert [(a["group"], a["n"], a["tier"]) for a in first["answers"][2:5]] == [
        ("women", 200, "critical"), ("few", 3, "critical"), ("gone", 0, "critical"),
    ]  # fmt: skip
    assert first["answers"][2]["group"] == "women"
    assert first["answers"][0]["budget"]["why"] == "because"


@pytest.mark.parametrize(("width", "encoding"), [(60, "utf-8"), (99, "utf-8"), (140, "utf-8"), (99, "ascii")])
def test_the_terminal_shows_everything_at_every_width(gate, width, encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    terminal.show(gate, None, Console(file=stream, width=width, force_terminal=False))
    stream.flush()
    text = stream.buffer.getvalue().decode(encoding)
    last = text.rstrip().splitlines()[-1]
    assert last == f"{'x' if encoding == 'ascii' else '▼'} NO-GO: 1 of 2 candidates (ours)"
    flat = " ".join(re.sub(r"[|│]", " ", text).split())
    for told in (
        "accuracy",
        "worst: women",
        "3 examples, fewer than 5",
        "no test example",
        "failed: RuntimeError",
        "not asked",
    ):
        assert told in flat
    assert max(map(len, text.splitlines())) <= width


def hostile(world):
    text = f"title = {json.dumps(HOSTILE.replace(chr(0), '').replace(chr(27), ''))}\n"
    text += '[[budgets]]\nlabel = "accuracy"\nmost = 0.01\ngroups = ["*"]\n'
    items = [world.part(HOSTILE, -0.5, 0.01, n=200)]
    parts = {"kind": "group", "items": items}
    doubted = {"doubts": [HOSTILE], "verdict": "not trusted"}
    found = world.finding(-0.002, 0.001, HOSTILE, parts=parts, unit="accuracy", primary=True, **doubted)
    failed = world.finding(None, candidate="b", verdict="failed", why=HOSTILE)
    return world.gate(text, found, failed, candidates=(HOSTILE, "b"))


def test_hostile_names_stay_text_in_junit(world):
    text = junit.render(hostile(world), None)
    root = ET.fromstring(text)
    assert root[0].get("name") == HOSTILE.replace("\x00", "\ufffd").replace("\x1b", "\ufffd")
    assert "<script>" not in text
    assert {one.tag for one in root.iter()} <= {
        "testsuites", "testsuite", "testcase", "properties", "property", "failure", "error", "skipped",
    }  # fmt: skip


def test_hostile_names_stay_text_in_markdown(world):
    text = markdown.render(hostile(world), None)
    assert "<script>" not in text
    assert re.search(r"(?<!\\)\[e\]", text) is None
    rows = [line for line in text.splitlines() if line.startswith("| critical")]
    assert len(rows) == 3
    for row in rows:
        assert len(re.findall(r"(?<!\\)\|", row)) == 8, "a name cannot add a cell"
    assert "&amp;" in text


def test_hostile_names_stay_text_on_the_terminal(world):
    stream = io.StringIO()
    terminal.show(hostile(world), None, Console(file=stream, width=120))
    text = stream.getvalue()
    assert "\x1b" not in text
    assert "\x00" not in text
    assert "[e](f)" in text, "no markup either"


@pytest.fixture
def many(world):
    """Forty classes that are not critical: one is lost, ten are kept, and of the others it cannot be told."""
    classes = [world.counted(f"class {c}", 0, 0, 10 + c if c < 30 else 5000) for c in range(40)]
    classes[3] = world.counted("class 3", 0, 13, 13)
    parts = {"kind": "class", "items": classes}
    text = '[[budgets]]\nlabel = "macro"\nmost = 0.02\ngroups = ["*"]\ngroups_tier = "supporting"\n'
    return world.gate(text, world.finding(0.0, 0.001, label="macro", parts=parts))


def test_many_classes_share_a_line_and_each_is_named_with_its_n(many):
    (ruling,) = many.rulings
    assert [words.name(a) for a in words.asked(ruling)] == ["macro", "macro: class 3"]
    undecided, within = words.folded(ruling)
    assert undecided.startswith(
        "macro: 29 groups undecided (supporting): class 0 (10 examples: none lost, none gained; "
    )
    assert "class 1 (11 examples: none lost, none gained; about 149 examples (now 11))" in undecided
    assert undecided.endswith(" and 5 more, all in the JSON")
    assert within.startswith("macro: 10 groups within (supporting): class 30 (5,000 ≤ +0.060 pp); ")
    stream = io.StringIO()
    terminal.show(many, None, Console(file=stream, width=110))
    flat = " ".join(stream.getvalue().split())
    for text in (flat, markdown.render(many, None)):
        assert "class 17 (27 examples: none lost, none gained; about 149 examples (now 27))" in text
    root = ET.fromstring(junit.render(many, None))
    assert len(root[0].findall("testcase")) == 41
    assert "exceeded: macro: class 3 (13)" in words.because(ruling)


def test_a_reason_that_many_groups_share_is_cut_and_counted(world):
    items = [world.counted(f"g{c}", 0, 0, 10) for c in range(30)]
    found = world.finding(0.0, 0.001, label="worst", parts={"kind": "group", "items": items})
    gate = world.gate('[[budgets]]\nlabel = "worst"\nmost = 0.02\ngroups = ["*"]\n', found)
    told = words.because(gate.rulings[0])
    assert told.startswith("undecided: worst: g0 (10), worst: g1 (10), ")
    assert told.endswith(" and 22 more")
    assert len(words.asked(gate.rulings[0])) == 31, "each that keeps a go away has its line"


def test_of_a_thousand_classes_the_one_that_was_lost_is_named_first(world):
    classes = [world.counted(f"class {c}", 0, 4 if c == 507 else 0, 4) for c in range(1000)]
    text = '[[budgets]]\nlabel = "macro"\nmost = 0.02\ngroups = ["*"]\ngroups_tier = "supporting"\n'
    parts = {"kind": "class", "items": classes}
    (ruling,) = world.gate(text, world.finding(0.0, 0.001, label="macro", parts=parts)).rulings
    (line,) = words.folded(ruling)
    assert line.startswith("macro: 1000 groups undecided (supporting): class 507 (4 examples: 4 lost, none gained; ")
    assert "not critical: macro: class 507 (4)" in words.because(ruling)
