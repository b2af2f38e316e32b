"""One reader and one writer of dataclasses: unions say which member they are, and every number survives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, NamedTuple

import pytest

from whatelse import records
from whatelse.errors import StoreError, StudyError


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


class Pair(NamedTuple):
    before: float
    after: float
    tails: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Found:
    pair: Pair
    each: tuple[float, ...] = ()


@dataclass(frozen=True)
class Missing:
    why: str


@dataclass(frozen=True)
class Whole:
    name: str
    outcome: Found | Missing
    color: Color = Color.RED
    word: Literal["a", "b"] = "a"
    share: float | None = None
    more: dict[str, Any] | None = None


LOOSE = records.Form(StoreError, finite=False)
STRICT = records.Form(StudyError, strict=True, finite=False, aside=("text",))
FOUND = Whole(
    "x", Found(Pair(0.1 + 0.2, math.inf, ((0.05, -1.0),)), (1e-300, 5e-324)), Color.BLUE, "b", 0.5, {"k": [1]}
)


@pytest.mark.parametrize("whole", [FOUND, Whole("y", Missing("because"))])
def test_what_is_written_is_read_back(whole: Whole) -> None:
    assert records.read(Whole, records.plain(whole, LOOSE), "", LOOSE) == whole


def test_a_number_that_is_none_survives_where_the_form_lets_it() -> None:
    plain = records.plain(Found(Pair(math.nan, -math.inf), (math.nan,)), LOOSE)
    read = records.read(Found, plain, "", LOOSE)
    assert math.isnan(read.pair.before)
    assert read.pair.after == -math.inf
    assert math.isnan(read.each[0])


@pytest.mark.known_answer
def test_a_union_says_which_it_is() -> None:
    plain = records.plain(Whole("y", Missing("because")), LOOSE)
    assert plain["outcome"] == {"is": "Missing", "why": "because"}
    assert (plain["color"], plain["share"]) == ("red", None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outcome": {"why": "x"}}, r"^f: outcome.is: got None; allowed: Found, Missing$"),
        ({"outcome": {"is": "Whole"}}, r"^f: outcome.is: got 'Whole'; allowed: Found, Missing$"),
        ({"outcome": {"is": "Missing"}}, r"^f: outcome.why: missing; got only is$"),
        ({"color": "green"}, r"^f: color: got 'green'; allowed: red, blue$"),
        ({"word": "c"}, r"^f: word: got 'c'; allowed: a, b$"),
        ({"share": "x"}, r"^f: share: got 'x'; allowed is a number$"),
        ({"more": []}, r"^f: more: got \[\]; allowed is an object$"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(change: dict[str, Any], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        records.read(Whole, {**records.plain(FOUND, LOOSE), **change}, "f:", LOOSE)


def test_keys_that_no_field_has_are_refused_only_by_a_strict_form() -> None:
    plain = {**records.plain(Missing("x"), LOOSE), "whi": 1}
    assert records.read(Missing, plain, "", LOOSE) == Missing("x")
    with pytest.raises(StudyError, match="study.part: no key 'whi'; did you mean why"):
        records.read(Missing, plain, "study.part", STRICT)


def test_a_whole_number_too_large_for_a_float_is_refused() -> None:
    with pytest.raises(StudyError, match="study.pair.before is too large for a number"):
        records.read(Found, {"pair": {"before": 10**400, "after": 0}}, "study", STRICT)
