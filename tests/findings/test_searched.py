"""The record of a search is written and read whole, or refused in one line that names the place."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.report.searches import make
from whatelse import testing
from whatelse.errors import FindingsError
from whatelse.findings import codec, record
from whatelse.findings.consistent import check_search
from whatelse.findings.search_words import Ending
from whatelse.findings.searched import SCHEMA, Searched, Trial, load, parse

Document = dict[str, Any]
ENDINGS = get_args(Ending)


@pytest.fixture
def document() -> Document:
    made: Document = json.loads(codec.dumps(testing.searched()))
    return made


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("of", [testing.searched, make])
def test_what_is_written_is_read_to_the_last_digit(
    of: Callable[[Ending], Searched], ending: Ending, tmp_path: Path
) -> None:
    made = of(ending)
    path = tmp_path / "search.json"
    path.write_text(made.to_json(), "utf-8")
    assert load(path) == made
    assert load(path).to_json() == made.to_json()
    check_search(made)


def test_a_file_names_its_schema_first_and_has_every_field(document: Document) -> None:
    assert next(iter(document)) == "schema"
    assert document["schema"] == SCHEMA
    assert set(document) == {field.name for field in dataclasses.fields(Searched)}
    assert set(document["trials"][0]) == {field.name for field in dataclasses.fields(Trial)}


def test_a_number_that_is_none_is_null_and_comes_back_as_none() -> None:
    made = testing.searched()
    first = dataclasses.replace(made.trials[0], harm={"accuracy": math.nan}, over={"accuracy": math.inf})
    read = parse(json.loads(dataclasses.replace(made, trials=(first, *made.trials[1:])).to_json()))
    assert (read.trials[0].harm, read.trials[0].over) == ({"accuracy": None}, {"accuracy": None})
    with pytest.raises(FindingsError, match=r"^Searched.baseline: got inf; allowed is a finite number$"):
        dataclasses.replace(made, baseline=math.inf).to_json()


def test_keys_of_a_later_release_are_ignored_and_what_may_be_missing_is_empty(document: Document) -> None:
    document["later"] = document["trials"][0]["later"] = 1
    for name in ("finalists", "winner", "folder", "nearest", "remarks", "seconds"):
        del document[name]
    read = parse(document)
    assert (read.finalists, read.winner, read.remarks, read.seconds) == ((), 0, (), {})


def _set(*path: Any) -> Callable[[Document], None]:
    *way, last, value = path

    def change(document: Document) -> None:
        at: Any = document
        for step in way:
            at = at[step]
        at[last] = value

    return change


WRONG = [
    (_set("schema", 2), r"schema: got 2; this release reads a search of schema 'search 1'"),
    (lambda d: d.pop("schema"), r"schema: got no schema"),
    (lambda d: d.pop("trials"), r"trials: missing; got only schema, whatelse"),
    (_set("trials", 0, "harm", "much"), r"trials\[0\].harm: got 'much'; allowed is an object"),
    (_set("trials", 0, "harm", {"speed": 1}), r"trials\[0\]: got 'speed'; allowed: accuracy, accuracy by group"),
    (_set("trials", 0, "harm", "accuracy", "x"), r"trials\[0\].harm.accuracy: got 'x'; allowed is a number"),
    (_set("trials", 0, "over", {"speed": 1}), r"trials\[0\]: got 'speed'"),
    (_set("trials", 0, "skipped", ["speed"]), r"trials\[0\]: got 'speed'"),
    (_set("trials", 0, "binding", "speed"), r"trials\[0\]: got 'speed'"),
    (_set("trials", 0, "number", 2), r"trials: got '2' twice"),
    (_set("trials", 0, "number", 0), r"trials\[0\].number: got 0; allowed is a number from 1"),
    (_set("trials", 0, "number", -1), r"trials\[0\].number: got -1; allowed is a count"),
    (_set("trials", 0, "share", None), r"trials\[0\].share: got None beside a value of 4000.0; allowed are both"),
    (_set("trials", 0, "share", -0.1), r"trials\[0\].share: got -0.1; allowed is a number of 0 or more"),
    (_set("trials", 0, "value", 1e200), r"trials\[0\].value: got 1e\+200; allowed is a finite number"),
    (_set("trials", 0, "seconds", -1), r"trials\[0\].seconds: got -1.0; allowed is a number of 0 or more"),
    (_set("trials", 0, "feasible", 1), r"trials\[0\].feasible: got 1; allowed is true or false"),
    (_set("trials", 4, "feasible", True), r"trials\[4\].feasible: got True of a trial without a value"),
    (_set("constraints", 1, "name", "accuracy"), r"constraints: got 'accuracy' twice"),
    (_set("constraints", 0, "tier", "dear"), r"constraints\[0\].tier: got 'dear'; allowed: critical, supporting"),
    (_set("constraints", 0, "n", -1), r"constraints\[0\].n: got -1; allowed is a count"),
    (_set("finalists", 0, "verdict", "maybe"), r"finalists\[0\].verdict: got 'maybe'; allowed: GO, NO-GO"),
    (_set("finalists", 0, "trial", 9), r"finalists\[0\].trial: got '9'; allowed: 1, 2"),
    (_set("finalists", 0, "trial", 2), r"finalists: got '2' twice"),
    (_set("finalists", 0, "upper", {"speed": 1}), r"finalists\[0\]: got 'speed'"),
    (_set("finalists", 0, "verdict", "NO-GO"), r"finalists\[1\].verdict: got 'GO'; allowed here: not opened"),
    (_set("finalists", 1, "verdict", "not opened"), r"finalists\[1\].verdict: got 'not opened'; allowed here: GO, NO"),
    (_set("winner", 1), r"winner: got 1; the last finalist that is GO is 2"),
    (_set("winner", 0), r"winner: got 0; the last finalist that is GO is 2"),
    (_set("winner", 99), r"winner: got '99'; allowed: 1, 2"),
    (_set("nearest", 99), r"nearest: got '99'; allowed: 1, 2"),
    (_set("baseline", 0), r"baseline: got 0.0; allowed is a number above 0"),
    (_set("splits", "test", -4), r"splits.test: got -4; allowed is a number of 0 or more"),
    (_set("seconds", "making", -4), r"seconds.making: got -4.0; allowed is a number of 0 or more"),
]


@pytest.mark.parametrize(("change", "told"), WRONG)
def test_what_is_wrong_is_refused_with_its_place(
    document: Document, change: Callable[[Document], None], told: str
) -> None:
    change(document)
    with pytest.raises(FindingsError, match=told) as refused:
        parse(document, "f.json")
    assert str(refused.value).startswith("f.json: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '{"schema": NaN}', "[" * 100_000])
def test_what_is_no_search_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FindingsError) as refused:
        load(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)


def test_findings_and_searches_are_not_taken_for_each_other(document: Document) -> None:
    with pytest.raises(FindingsError, match="got 'search 1', written by whatelse 0; this release reads schema 1 and 2"):
        record.parse(document)
    with pytest.raises(FindingsError, match="got 2; this release reads a search"):
        parse(json.loads(codec.dumps(testing.findings())))


def _places(at: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = at.items() if isinstance(at, dict) else enumerate(at) if isinstance(at, list) else ()
    return [way, *(place for key, one in inner for place in _places(one, (*way, key)))]


def _read(data: Document) -> tuple[Searched | None, str]:
    try:
        return parse(data), ""
    except FindingsError as error:
        return None, str(error)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_stands_anywhere_is_read_and_shown_or_refused_in_one_line(document: Document, seed: int) -> None:
    """Everything that is read can be shown: no surface meets a record that it cannot put into words."""
    rng = random.Random(seed)
    values = [None, -1, 0, 2**70, 1e-300, 1e99, "", "x" * 500, [], {}, [[]], {"accuracy": None}, True, "<b>\n\x00"]
    read = 0
    for place in rng.sample(_places(document)[1:], 25):
        changed = json.loads(json.dumps(document))
        _set(*place, rng.choice(values))(changed)
        made, refused = _read(changed)
        assert "\n" not in refused
        if made is None:
            continue
        read += 1
        assert parse(json.loads(made.to_json())) == made
        assert made.to_html()
        assert str(made)
    assert read, "some of it is read"


def test_in_python_a_search_says_what_it_came_to() -> None:
    assert repr(testing.searched()) == "<Searched: trial 2 of 5 chosen>"
    assert repr(testing.searched("nothing")) == "<Searched: none of 5 trials chosen>"
    lines = str(testing.searched()).splitlines()
    assert lines[0] == "Trial 2 keeps every budget, at 12 % of the baseline (2.0 kB of 16 kB)."
    assert [line.partition(":")[0] for line in lines[1:]] == ["Confirmed", "Binds", "Runner-up", "Smaller"]
