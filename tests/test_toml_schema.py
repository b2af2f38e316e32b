"""A dataclass as TOML and back; what is written is read by the standard library."""

import math
import time
import tomllib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from whatelse import toml_schema
from whatelse.errors import StudyError


@dataclass(frozen=True)
class Inner:
    name: str
    far: dict[str, Any] = field(default_factory=dict)
    few: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Outer:
    title: str
    one: Inner
    named: dict[str, Inner]
    plain: dict[str, str]
    several: list[Inner]
    share: float = 0.5
    flag: bool = False
    count: int | None = None
    text: str = ""


WORDS = [
    "",
    "plain",
    'a "quote" \\ and \\u',
    "two\nlines\ttab",
    "Ω ünïcödé 😀",
    "\x00\x1f\x7f\x80",
    "]\n[net]",
    "'''\"\"\"",
]
NUMBERS = [0, -1, 10**20, 0.1, 1e-300, -0.0, 1e22, math.inf, 5e-324]


def outer(**given):
    inner = Inner("a", {"lr": 1e-5, "deep": {"x y": [1, 2], "": True}, "list": [[1], []]}, [3, 1])
    several = [Inner(w, {w: n}) for w, n in zip(WORDS, NUMBERS, strict=False)]
    whole = Outer("T", inner, {"clean": inner, "no isy.1": Inner("b")}, {"placebo": "", "twin": "x"}, several)
    return replace(whole, **given)


@pytest.mark.parametrize("change", [{}, {"share": 1.0, "flag": True}, {"several": []}, {"named": {}, "plain": {}}])
def test_what_is_written_is_read_back(change):
    whole = outer(**change)
    assert toml_schema.read(Outer, toml_schema.parse(toml_schema.write(whole), "file"), "outer") == whole


@pytest.mark.parametrize("word", WORDS)
def test_every_word_survives_as_value_and_as_key(word):
    told = tomllib.loads(toml_schema.write(outer(title=word, plain={word: word})))
    assert told["title"] == told["plain"][word] == word


@pytest.mark.parametrize("number", NUMBERS)
def test_every_number_survives_to_the_last_digit(number):
    told = tomllib.loads(toml_schema.write(outer(one=Inner("a", {"n": number}))))["one"]["far"]["n"]
    assert (type(told), repr(told)) == (type(number), repr(number))


def test_numbers_of_numpy_and_tuples_are_plain_afterwards():
    far = {"i": np.int64(3), "f": np.float64(0.25), "h": np.float32(0.5), "t": (1, 2)}
    told = tomllib.loads(toml_schema.write(outer(one=Inner("a", far))))["one"]["far"]
    assert told == {"i": 3, "f": 0.25, "h": 0.5, "t": [1, 2]}
    assert [type(v) for v in told.values()] == [int, float, float, list]


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x", np.zeros(2), 1j])
def test_what_toml_has_no_word_for_is_refused_with_its_place(value):
    with pytest.raises(StudyError, match=r"outer\.one\.far\.n=.* numbers, words, lists and tables are allowed"):
        toml_schema.write(outer(one=Inner("a", {"n": value})))


def test_a_record_is_what_its_text_says_until_a_field_is_replaced():
    def parser(text):
        return toml_schema.read(Outer, {**toml_schema.parse(text, "file"), "text": text}, "outer")

    read = parser("# a comment\n" + toml_schema.write(outer()))
    assert toml_schema.reread(read, parser) == read
    mean = replace(read, count=np.int64(3))
    (again,) = {toml_schema.reread(replace(mean, text=toml_schema.write(mean)), parser).count}
    assert type(again) is int, "as a file has it"
    assert not toml_schema.reread(replace(read, share=0.25), parser)
    assert not toml_schema.reread(replace(read, named=dict(reversed(read.named.items()))), parser), "order counts"
    assert not toml_schema.reread(replace(read, one=replace(read.one, far={"lr": 1})), parser)
    assert not toml_schema.reread(outer(), parser), "it has no text"
    assert not toml_schema.reread(replace(read, text="nonsense = "), parser)


@pytest.mark.parametrize(
    "text",
    [
        ".".join("a" * 60_000) + " = 1",
        f"[{'.'.join('a' * 52)}]",
        f"[[{' . '.join('a' * 52)}]]",
        "x = {" + ".".join(['"a.b"', "'c'"] * 26) + " = 1}",
        'x = {a = """b"""", ' + ".".join("a" * 52) + " = 1}",
        "x = {a = '''b''''', " + ".".join("a" * 52) + " = 1}",
        'x = "\\""\n' + ".".join("a" * 52) + " = 1",
        "x = 'a\\'\n" + ".".join("a" * 52) + ' = 1  # "',
    ],
)
def test_a_key_of_many_dots_is_refused_before_it_is_read(text):
    with pytest.raises(StudyError, match=r"f.toml: a key with [\d,]+ dots; at most 50 are read"):
        toml_schema.parse(text, "f.toml")


@pytest.mark.parametrize(
    "value",
    [
        '"' + "a." * 100 + '"',
        "'" + "a." * 100 + "'",
        '"""\n' + 'a.\\"b.\n' * 100 + '"""',
        "'''\n" + "it's a.\n" * 100 + "'''",
        "[" + "1.5, " * 100 + "]",
        "1  # " + "." * 100,
        '["' + "." * 60 + '#", ""]',
    ],
)
def test_dots_in_values_and_comments_are_no_dots_of_keys(value):
    text = f"{'.'.join('k' * 51)} = {value}\n"
    assert toml_schema.parse(text, "f.toml") == tomllib.loads(text)


@pytest.mark.parametrize(
    "text", ['\\"""z\n' * 100_000, '"' * 1_000_000, "'''" + "'' " * 300_000, '"""' + "\\" * 1_000_001, "# " * 2**20]
)
def test_no_text_takes_long_to_refuse(text):
    started = time.perf_counter()
    with pytest.raises(StudyError) as told:
        toml_schema.parse(text, "f.toml")
    assert len(str(told.value)) < 300
    assert time.perf_counter() - started < 5  # a fraction of a second; with the square of the length it is minutes
