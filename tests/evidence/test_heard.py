"""What observations have to say comes with every answer that is made of them, through the one way to ask."""

import pytest
import torch

from whatelse import items
from whatelse.answer import Doubt
from whatelse.auditing.ask import Measured, NotMeasurable, ask
from whatelse.evidence.said import Said

DOUBT = Doubt("mine answers 1 of 4 examples of test with NaN or infinity")


class Broken(torch.nn.Linear):
    def forward(self, x):
        if len(x) > 2:
            raise torch.OutOfMemoryError("allocate memory")
        return torch.where(x[:, :1] > 1.5, float("nan"), super().forward(x))


@pytest.fixture
def mine(toy, task, linear):
    evidence = toy.evidence_of(linear, task, name="mine")
    evidence.batch = 4
    model = Broken(2, 2, bias=False)
    model.weight.data = linear.weight.data
    object.__setattr__(evidence.subject, "model", model)
    return evidence


def asked(name, mine):
    item = items.behaviour(name)
    return ask(item, {}, mine, mine, torch.Generator().manual_seed(0))


def test_doubts_and_notes_of_an_observation_are_told_of_each_question_that_used_it(mine):
    for name in ("generalization.accuracy", "generalization.brier", "generalization.accuracy"):
        found = asked(name, mine)
        assert isinstance(found, Measured)
        assert found.answer.doubts.count(DOUBT) == 1
        assert found.answer.notes.count("memory ran out: the batch was halved to 2") == 1


def test_a_question_that_used_none_is_told_nothing(mine):
    asked("generalization.accuracy", mine)
    found = asked("efficiency.parameters", mine)
    assert DOUBT not in found.answer.doubts
    assert not any("memory" in note for note in found.answer.notes)


def test_what_is_not_measurable_tells_its_notes(mine):
    found = asked("generalization.memorization", mine)
    assert isinstance(found, NotMeasurable)
    with mine.heard() as said:
        mine.logits()
    assert said == Said(["memory ran out: the batch was halved to 2"], [DOUBT])


def test_who_asks_inside_another_question_hears_the_same(mine):
    with mine.heard() as outer:
        with mine.heard() as inner:
            mine.logits()
        mine.say(note="later")
    assert outer.doubts == inner.doubts == [DOUBT]
    assert inner.notes == outer.notes[:1]
    assert outer.notes[1:] == ["later"]
