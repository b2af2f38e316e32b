from types import ModuleType

import pytest
import torch

from whatelse import registry
from whatelse.errors import ItemError, UnknownItemError
from whatelse.exhibits import collect
from whatelse.findings.exhibits import Exhibit


def kind_of(name, scope):
    def make(asked):
        yield Exhibit(asked.measurement.row, name, "clean", "half")

    return collect.ExhibitKind(name, 1, "", scope, make)


def test_rows_come_in_order_and_what_is_made_once_stands_behind(toy, made, monkeypatch):
    kinds = (kind_of("a", "study"), kind_of("b", "row"), kind_of("c", "row"))
    monkeypatch.setattr(collect, "kinds", lambda: kinds)
    task = toy.task_of(torch.zeros(3, 2), [0, 1, 0])
    leads = [made.asked_of(task, row="size", item="efficiency.parameters")]
    assert [(e.row, e.kind) for e in collect.collect(leads)] == [("size", "b"), ("size", "c")], "no test examples"
    leads += [made.asked_of(task, row=row) for row in ("first", "second")]
    expected = [(row, kind) for row in ("size", "first", "second") for kind in "bc"] + [("first", "a")]
    assert [(e.row, e.kind) for e in collect.collect(leads)] == expected


def test_every_file_is_a_kind():
    names = {"harmed", "pie", "rebuilt", "tree", "vulnerable_records"}
    assert {one.name for one in collect.kinds()} >= names
    assert all(registry.card("exhibits", name).summary for name in names)
    with pytest.raises(UnknownItemError, match="did you mean harmed"):
        collect.kind("harmd")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"VERSION": 1, "SCOPE": "row"}, r"no exhibits; exhibits\(asked\) is needed"),
        ({"VERSION": 1, "exhibits": iter}, "no SCOPE"),
        ({"VERSION": 1, "SCOPE": "page", "exhibits": iter}, "SCOPE has 'page'"),
    ],
)
def test_a_file_that_lacks_a_part_is_one_line(parts, words, monkeypatch):
    module = ModuleType("mine")
    module.__dict__.update(parts)
    monkeypatch.setattr(registry, "find", lambda kind, name: registry.Source(kind, name, "mine"))
    monkeypatch.setattr(registry, "load", lambda kind, name: module)
    monkeypatch.setattr(collect, "_kind", collect._kind.__wrapped__)
    with pytest.raises(ItemError, match=words):
        collect.kind("mine")


def test_an_exhibit_is_written_as_it_is_read(made):
    assert made.there_and_back(Exhibit("row", "film", "clean", "half")) == {
        "row": "row", "kind": "film", "task": "clean", "candidate": "half", "items": [], "title": "",
    }  # fmt: skip
