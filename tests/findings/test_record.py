"""A findings file is read whole or refused in one line that names the place."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whatelse.errors import FindingsError
from whatelse.findings.record import Findings, load, parse
from whatelse.report import page
from whatelse.report.surfaces import markdown

Document = dict[str, Any]


def test_a_file_becomes_typed_and_frozen(file: Path, document: Document) -> None:
    findings = load(file)
    assert len(findings.findings) == len(document["findings"])
    first, given = findings.findings[0], document["findings"][0]
    assert (first.id, first.effect, first.verdict) == (given["id"], given["effect"], given["verdict"])
    assert findings.exhibits[0].items[0].maps is not None
    assert findings.rows[3].status == "not measured yet"
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.verdict = "improved"  # type: ignore[misc]
    parted = next(f for f in findings.findings if f.parts and f.row == "fairness")
    assert parted.parts
    assert parted.parts.kind == "group"
    assert parted.parts.items[-1].effect is None
    assert next(f for f in findings.findings if f.share).share.value is not None  # type: ignore[union-attr]
    (tree,) = [e.tree for e in findings.exhibits if e.kind == "tree" and e.candidate == "baseline"]
    assert tree
    assert tree.left
    assert (tree.n, type(tree.left.class_)) == (600, str)
    assert findings.potential[1].potential is None
    assert {e.kind for e in findings.exhibits} == {"harmed", "reconstruction", "population", "tree"}


def test_what_a_file_of_an_earlier_release_lacks_is_empty(document: Document) -> None:
    for finding in document["findings"]:
        finding.pop("parts", None)
        finding.pop("share", None)
    del document["potential"], document["exhibits"]
    findings = parse(document)
    assert not any(f.parts or f.share for f in findings.findings)
    assert (findings.potential, findings.exhibits) == ((), ())


@pytest.mark.parametrize("depth", [31, 300, 5000])
def test_a_tree_nested_beyond_reading_is_refused(document: Document, depth: int) -> None:
    node: Document = {"class": "1", "n": 1}
    for _ in range(depth):
        node = {"class": "1", "n": 1, "left": node}
    document["exhibits"][-1]["tree"] = node
    with pytest.raises(FindingsError, match="nested too deep; allowed are 30 levels"):
        parse(document)


def test_keys_of_a_later_release_are_ignored(document: Document) -> None:
    document["later"] = document["rows"][0]["later"] = 1
    assert isinstance(parse(document), Findings)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("\xff", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "allowed is one object with the key 'schema'"),
        ("{}", "schema: got no schema; this release reads schema 1 and 2"),
        ('{"schema": 3}', "schema: got 3; this release reads schema 1 and 2"),
        ('{"schema": [1]}', "schema: got [1]; this release reads schema 1 and 2"),
        ('{"schema": 2, "whatelse": "0"}', "created: missing; got only schema, whatelse"),
        ('{"schema": true}', "schema: got True"),
        ('{"schema": 1, "whatelse": NaN}', "NaN is no JSON number"),
        ('{"schema": 1, "whatelse": "0"}', "created: missing; got only schema, whatelse"),
    ],
)
def test_what_is_no_findings_file_is_refused_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FindingsError) as caught:
        load(path)
    assert told in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FindingsError, match="cannot be read"):
        load(tmp_path / "absent.json")
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FindingsError, match="not UTF-8"):
        load(binary)


def _set(*path: Any) -> Callable[[Document], None]:
    *way, last, value = path

    def change(document: Document) -> None:
        at: Any = document
        for step in way:
            at = at[step]
        at[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_set("findings", 3, "verdict", "maybe"), r"findings\[3\].verdict: got 'maybe'; allowed: improved, unchanged"),
        (_set("findings", 3, "effect", "big"), r"findings\[3\].effect: got 'big'; allowed is a number"),
        (_set("findings", 3, "effect", float("inf")), r"findings\[3\].effect: got inf; allowed is a finite number"),
        (_set("findings", 3, "effect", 1e100), r"findings\[3\].effect: got 1e\+100; allowed is a finite number below"),
        (_set("findings", 3, "effect", 10**400), r"findings\[3\].effect: got 1000.*\.\.\.; allowed is a finite number"),
        (_set("findings", 3, "n", -5), r"findings\[3\].n: got -5; allowed is a count of 0 or more"),
        (_set("findings", 3, "n", 2**63), r"findings\[3\].n: got 9223372036854775808; allowed is a whole number of 63"),
        (_set("findings", 3, "fell", -1), r"findings\[3\].fell: got -1; allowed is a count of 0 or more"),
        (_set("candidates", 0, "macs", -1), r"candidates\[0\].macs: got -1; allowed is a count of 0 or more"),
        (_set("findings", 3, "low", 1e50), r"findings\[3\].low: got 1e\+50, above the upper end .*comes first"),
        (
            lambda d: d["findings"][3].update(low90=2, high90=1),
            r"findings\[3\].low90: got 2.0, above the upper end 1.0",
        ),
        (_set("findings", 3, "tails", [[0.05, 0, 0], [0.025, 2, 1]]), r"findings\[3\].tails\[1\]: got 2.0, above"),
        (
            _set("findings", 3, "tails", [[1, 0, 0]]),
            r"findings\[3\].tails\[0\]\[0\]: got 1.0; allowed is a level within",
        ),
        (_set("findings", 3, "margin", -0.1), r"findings\[3\].margin: got -0.1; allowed is a number of 0 or more"),
        (_set("findings", 3, "p", 1.5), r"findings\[3\].p: got 1.5; allowed is a chance within \[0, 1\]"),
        (
            _set("findings", 3, "parts", {"kind": "a", "items": [{"name": "g", "n": -1}]}),
            r"findings\[3\].parts.items\[0\].n: got -1; allowed is a count",
        ),
        (
            _set("findings", 3, "parts", {"kind": "a", "items": [{"name": "g", "low": 1, "high": 0}]}),
            r"findings\[3\].parts.items\[0\].low: got 1.0, above the upper end 0.0",
        ),
        (_set("findings", 3, "share", {"low": 1, "high": 0}), r"findings\[3\].share.low: got 1.0, above"),
        (_set("findings", 3, "candidate", "z" * 10**6), r"findings\[3\].candidate: got 'zzz.*\.\.\.; allowed: "),
        (_set("rows", 0, {"x" * 10**6: 1}), r"rows\[0\].name: missing; got only xxx.*\.\.\."),
        (_set("findings", 3, "primary", 1), r"findings\[3\].primary: got 1; allowed is true or false"),
        (_set("findings", 3, "n", True), r"findings\[3\].n: got True; allowed is a whole number"),
        (_set("findings", 3, "row", "nowhere"), r"findings\[3\].row: got 'nowhere'; allowed: adversarial"),
        (_set("findings", 3, "candidate", "ghost"), r"findings\[3\].candidate: got 'ghost'; allowed: "),
        (_set("findings", 3, "control", "ghost"), r"findings\[3\].control: got 'ghost'"),
        (_set("findings", 3, "id", "f2"), r"findings: got 'f2' twice"),
        (_set("findings", 1, "candidate", "prune 50 %"), r"primary findings: got 'overfitting / prune 50 %' twice"),
        (_set("claims", 0, "because", ["f999"]), r"claims\[0\].because: got 'f999'"),
        (_set("claims", 0, "row", "x"), r"claims\[0\].row: got 'x'"),
        (_set("claims", 0, "outcome", "true"), r"claims\[0\].outcome: got 'true'; allowed: contradicted"),
        (_set("exhibits", 0, "row", "x"), r"exhibits\[0\].row: got 'x'"),
        (_set("exhibits", 0, "items", 2, "image", [[1, 0], [1]]), r"exhibits\[0\].items\[2\].image: .*rectangle"),
        (_set("exhibits", 0, "items", 2, "image", []), r"image: .*rectangle"),
        (_set("exhibits", 0, "items", 2, "image", [[]]), r"image: .*rectangle"),
        (_set("exhibits", -1, "tree", None), r"exhibits\[7\].tree: missing"),
        (_set("exhibits", -1, "tree", "class", 3), r"exhibits\[7\].tree.class: got 3; allowed is text"),
        (_set("exhibits", -1, "tree", "left", "n", "x"), r"exhibits\[7\].tree.left.n: got 'x'; allowed is a whole"),
        (_set("exhibits", 0, "kind", 3), r"exhibits\[0\].kind: got 3; allowed is text"),
        (_set("findings", 0, "parts", {"kind": "group"}), r"findings\[0\].parts.items: missing"),
        (_set("findings", 0, "parts", {"kind": "a", "items": [{}]}), r"findings\[0\].parts.items\[0\].name: missing"),
        (_set("findings", 0, "share", {"value": "x"}), r"findings\[0\].share.value: got 'x'; allowed is a number"),
        (_set("potential", 0, "delta", None), r"potential\[0\].delta: got None; allowed is a number"),
        (_set("rows", {}), r"rows: got \{\}; allowed is a list"),
        (_set("rows", 0, "done"), r"rows\[0\]: got 'done'; allowed is an object"),
        (_set("environment", []), r"environment: got \[\]; allowed is an object"),
        (_set("study", "name", None), r"study.name: got None; allowed is text"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(document: Document, change: Callable[..., None], told: str) -> None:
    change(document)
    with pytest.raises(FindingsError, match=told) as caught:
        parse(document, "table.json")
    assert str(caught.value).startswith("table.json: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 2_000


@pytest.mark.parametrize(("low", "value", "high"), [(-9e99, 9e99, 9e99), (-5e-324, 0.0, 5e-324)])
def test_whatever_is_read_is_also_shown(document: Document, low: float, value: float, high: float) -> None:
    ends = {"low": low, "high": high, "low90": low, "high90": high, "tails": [[0.05, low, high]]}
    for finding in document["findings"]:
        if finding["effect"] is not None:
            finding |= {"before": value, "after": value, "effect": value, **ends}
    shown = parse(document)
    assert markdown.render(shown)
    assert page.render(shown, "mark")


@pytest.mark.parametrize("key", ["whatelse", "study", "rows", "candidates", "findings", "claims", "seeds", "tasks"])
def test_a_missing_key_is_named(document: Document, key: str) -> None:
    del document[key]
    with pytest.raises(FindingsError, match=rf"^table.json: {key}: missing"):
        parse(json.loads(json.dumps(document)), "table.json")
