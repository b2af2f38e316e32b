from types import SimpleNamespace

import numpy as np
import pytest
import torch

from whatelse.auditing import effects
from whatelse.errors import StudyError
from whatelse.store.folder import Store
from whatelse.study.plan import Effects

GROUPS = torch.arange(300) % 3


def rates(values, counts):
    member = (values[:, 1:] == np.arange(4)).astype(float)  # nobody is in the last group
    return counts @ (member * values[:, :1]) / (counts @ member)


ITEM = SimpleNamespace(
    __name__="toy",
    UNIT="accuracy",
    BETTER="higher",
    UNIT_OF_ANALYSIS="test example",
    PARTS="group",
    compare=None,
    summarise=lambda values, counts: counts @ values[:, 0] / counts.sum(1),
    breakdown=rates,
)


@pytest.fixture
def analyzed(tmp_path, monkeypatch):
    """Effects of four models that are right on all, on all but group 1, on a half, and never."""
    monkeypatch.setattr(effects.registry, "load", lambda kind, name: ITEM)
    store = Store(tmp_path)
    right = torch.ones(300)
    half = (torch.arange(300) // 3 % 2).float()
    models = {"placebo": right, "random": torch.zeros(300), "small": right * (GROUPS != 1), "half": half}

    def run(names=("a", "b", "c", "nobody"), other=None, read=None):
        for name, values in models.items():
            parts = list(names if name != "half" or other is None else other)
            tensors = {"values": torch.stack([values, GROUPS.float()], 1)}
            meta = {"why": "", "notes": [], "doubts": [], "parts": parts, "parts_read": read or {}}
            store.save("values", name, tensors, meta)
        cells = tuple((name, (name,)) for name in models)
        held = (("small", "placebo"), ("half", "placebo"), ("small", "random"))
        effects.analyze(Effects("e", "e", "label", "task", "toy.item", cells, held, 400, ()), store)
        return store.load_record("effects", "e")["effects"]

    return run


@pytest.mark.known_answer
def test_every_part_has_its_own_paired_effect(analyzed):
    small = analyzed()[0]
    assert small["effect"] == pytest.approx(-1 / 3)
    assert [small["parts"][word] for word in ("kind", "unit", "better")] == ["group", "accuracy", "higher"]
    parts = {p["name"]: p for p in small["parts"]["items"]}
    assert [parts[n]["effect"] for n in "abc"] == [0, -1, 0]
    assert (parts["b"]["before"], parts["b"]["after"]) == (1, 0)
    assert parts["b"]["adjusted_p"] < 0.05 < parts["a"]["adjusted_p"]
    assert parts["a"]["low"] < 0 < parts["a"]["high"], "zero changes of 100 are not a point"
    assert parts["nobody"] == dict.fromkeys(("before", "after", "effect", "low", "high", "adjusted_p")) | {
        "name": "nobody"
    }


@pytest.mark.known_answer
def test_the_share_of_the_way_from_random_to_the_placebo(analyzed):
    small, half, again = analyzed()
    assert small["share"]["value"] == pytest.approx(2 / 3)
    assert small["share"]["low"] < 2 / 3 < small["share"]["high"]
    assert half["share"]["value"] == pytest.approx(0.5)
    assert again["share"] == pytest.approx(small["share"], abs=0.01), "it does not depend on the control"


def test_models_that_differ_in_their_parts_are_an_error(analyzed):
    with pytest.raises(StudyError, match="4 parts of half, 4 of placebo, 3 names; every model"):
        analyzed(other=("a", "b", "c"))


def test_parts_may_be_read_in_another_unit_and_direction(analyzed):
    parts = analyzed(read={"unit": "confidence minus accuracy", "better": "neither"})[0]["parts"]
    assert (parts["unit"], parts["better"]) == ("confidence minus accuracy", "neither")


def test_a_summary_that_raises_for_one_model_leaves_the_others_theirs(analyzed, monkeypatch):
    def picky(values, counts):
        if values[:, 0].sum() == 200:
            raise ValueError("no such bin")
        return counts @ values[:, 0] / counts.sum(1)

    monkeypatch.setattr(ITEM, "summarise", picky)
    small, half, _ = analyzed()
    assert small["why"] == "failed: ValueError: no such bin"
    assert half["effect"] == pytest.approx(-0.5)


@pytest.mark.known_answer
@pytest.mark.parametrize(
    ("mine", "theirs", "stands"),
    [
        ([], [], ""),
        ([("weak", True)], [], "worsened"),
        ([], [("weak", True)], "improved"),
        ([("weak", True)], [("weak", True)], ""),
        ([("weak", True), ("random", False)], [], ""),
        ([("random", False)], [], ""),
    ],
)
def test_what_doubts_leave_standing(mine, theirs, stands):
    def seen(doubts):
        return SimpleNamespace(doubts=[d for d, _ in doubts], flatters=[d for d, flat in doubts if flat])

    assert effects._stands(seen(mine), seen(theirs)) == stands
