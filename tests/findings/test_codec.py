"""What is written is read back equal to the last digit, and the schema says what the classes say."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from whatelse.errors import FindingsError
from whatelse.findings import codec, record
from whatelse.findings.exhibits import Node
from whatelse.findings.record import Findings, Part, Share, parse
from whatelse.findings.searched import Searched

DOCS = Path(__file__).parents[2] / "docs"
spec = importlib.util.spec_from_file_location("make_schema", DOCS / "make_schema.py")
assert spec
assert spec.loader
make_schema = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_schema)


def records(kind: Any = Findings, seen: set[Any] | None = None) -> Iterator[Any]:
    """Every record that findings hold."""
    seen = set() if seen is None else seen
    if dataclasses.is_dataclass(kind) and kind not in seen:
        seen.add(kind)
        yield kind
        for hint in get_type_hints(kind).values():
            yield from records(hint, seen)
    for inner in get_args(kind):
        yield from records(inner, seen)


def test_findings_are_written_and_read_back_equal(findings: Findings) -> None:
    text = codec.dumps(findings)
    assert parse(json.loads(text)) == findings
    assert codec.dumps(parse(json.loads(text))) == text
    assert list(json.loads(text)) == [f.name for f in dataclasses.fields(Findings)]


@pytest.mark.known_answer
def test_a_record_is_written_field_by_field() -> None:
    node = Node("3", 10, "pixel 1,2", 0.1 + 0.2, Node("1", 4), Node("3", 6, leaves=2))
    leaf = {"feature": None, "threshold": None, "left": None, "right": None, "leaves": None}
    assert codec.to_json(node) == {
        "class": "3",
        "n": 10,
        "feature": "pixel 1,2",
        "threshold": 0.30000000000000004,
        "left": {"class": "1", "n": 4, **leaf},
        "right": {"class": "3", "n": 6, **leaf, "leaves": 2},
        "leaves": None,
    }
    assert codec.record(Node, codec.to_json(node), "node") == node


def test_a_number_that_is_none_is_missing_where_it_may_be(findings: Findings) -> None:
    written = codec.to_json(Share(math.nan, math.inf, 0.5))
    assert written == {"value": None, "low": None, "high": 0.5}
    assert codec.to_json(Part("p", tails=((0.05, -1.0, 1.0),)))["tails"] == [[0.05, -1.0, 1.0]]
    with pytest.raises(FindingsError, match="^Potential.delta: got nan; allowed is a finite number$"):
        codec.to_json(
            dataclasses.replace(findings, potential=(dataclasses.replace(findings.potential[0], delta=math.nan),))
        )


def test_the_schema_is_what_the_classes_say() -> None:
    assert make_schema.FILE.read_text("utf-8") == make_schema.text(), "run `make docs`"
    assert make_schema.OF_SEARCHES.read_text("utf-8") == make_schema.text(Searched), "run `make docs`"


def test_the_schema_knows_the_version_and_every_record(findings: Findings) -> None:
    whole = make_schema.schema()
    assert whole["properties"]["schema"] == {"const": record.SCHEMA} == {"const": findings.schema}
    assert set(whole["$defs"]) == {kind.__name__ for kind in records() if kind is not Findings}
    finding = whole["$defs"]["Finding"]
    assert finding["properties"]["tails"]["items"] == {
        "type": "array",
        "items": {"type": "number"},
        "minItems": 3,
        "maxItems": 3,
    }
    assert finding["properties"]["effect"] == {"anyOf": [{"type": "number"}, {"type": "null"}]}
    assert "effect" not in finding["required"]
    assert "verdict" in finding["required"]


def test_the_page_on_findings_names_its_version_and_every_field() -> None:
    text = (DOCS / "findings.md").read_text("utf-8")
    assert text.startswith(f"# Findings, schema {record.SCHEMA}\n")
    named = {word for span in re.findall(r"`([^`]+)`", text) for word in re.split(r"[ ,.]+", span)}
    fields = {f.name.removesuffix("_") for kind in records() for f in dataclasses.fields(kind)}
    assert fields <= named, fields - named


def test_a_file_of_the_release_before_is_read_under_the_names_of_today(findings: Findings) -> None:
    data = json.loads(codec.dumps(findings))
    data["schema"] = 1
    data["environment"]["made elsewhere"] = "2 of 3 results (torch 1 where here is 2)"
    del data["environment"]["made_elsewhere"]
    for one in data["findings"]:
        one["over"], one["stands"] = one.pop("unit_of_analysis"), one.pop("verdict_if_one_sided")
        one |= {"agreement": False, "held": [0.5], "se": 0.1, "notes": [], "against": one["control"]}
    data["findings"][0] |= {"stands": "worsened", "over": "record", "candidate": "remeasured", "primary": False}
    for one in data["candidates"]:
        one["role"] = "candidate" if one["role"] == "candidate" else "control"
    data["candidates"].append({"name": "remeasured", "family": "", "role": "control", "recipe": ""})
    read = parse(data)
    assert read.schema == record.SCHEMA
    first = read.findings[0]
    assert (first.verdict_if_one_sided, first.unit_of_analysis, first.candidate) == ("worsened", "record", "retest")
    assert read.findings[1:] == findings.findings[1:]
    assert read.environment.made_elsewhere.startswith("2 of 3 results")
    assert read.candidates[:-1] == findings.candidates
    assert read.candidates[-1].name == read.candidates[-1].role == "retest"


def test_another_version_is_refused_with_the_release_that_wrote_it(findings: Findings) -> None:
    data = codec.to_json(findings) | {"schema": 3, "whatelse": "9.1"}
    with pytest.raises(FindingsError, match="got 3, written by whatelse 9.1; this release reads schema 1 and 2"):
        parse(data)
