"""A findings file is read whole or refused in one line that names the place."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whatelse.errors import FindingsError
from whatelse.report.findings import Findings, load, parse

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
        ("{}", "schema: got no schema; this release reads schema 1"),
        ('{"schema": 2}', "schema: got 2; this release reads schema 1"),
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


@pytest.mark.parametrize("key", ["whatelse", "study", "rows", "candidates", "findings", "claims", "seeds", "tasks"])
def test_a_missing_key_is_named(document: Document, key: str) -> None:
    del document[key]
    with pytest.raises(FindingsError, match=rf"^table.json: {key}: missing"):
        parse(json.loads(json.dumps(document)), "table.json")
