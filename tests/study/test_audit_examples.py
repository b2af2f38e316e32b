"""Rows of people stand in the findings of an audit only where somebody asked for them, and a bar is shown likewise."""

import json

import pytest
import torch

import whatelse
from tests.study.test_audit import asked, damaged, digits, good
from whatelse.findings.record import parse

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save

__all__ = ["digits", "good"]

MEMBERS = """
name = "short"
title = "Short"
draws = 200
[[rows]]
name = "performance"
title = "Accuracy"
[[rows]]
name = "membership"
title = "Membership"
[[measurements]]
row = "performance"
item = "generalization.accuracy"
label = "accuracy"
margin = 0.02
primary = true
[[measurements]]
row = "membership"
item = "membership.loss"
label = "membership"
margin = 0.02
primary = true
"""


@pytest.mark.known_answer
def test_examples_are_those_that_a_plain_loop_finds_harmed(good, digits):
    harmed = damaged(good)
    found = whatelse.audit(good, {"small": harmed}, digits, asked(MEMBERS), show_examples=True)
    lost = next(e for e in found.exhibits if e.kind == "harmed")
    with torch.no_grad():
        before, after = (model(digits.test.inputs).argmax(1) for model in (good, harmed))
    truth = digits.test.targets
    plain = [i for i in range(len(truth)) if before[i] == truth[i] != after[i]][: len(lost.items)]
    assert [item.index for item in lost.items] == plain
    assert [int(item.after) for item in lost.items] == [int(after[i]) for i in plain]
    exposed = [e for e in found.exhibits if e.kind == "exposed"]
    assert [len(e.items) for e in exposed] == [8, 8]
    assert all(0 <= item.index < len(digits.train) for e in exposed for item in e.items)
    assert parse(json.loads(found.to_json(show_examples=True))) == found


def test_without_being_asked_for_there_are_none(good, digits):
    found = whatelse.audit(good, {"small": damaged(good)}, digits, asked(MEMBERS))
    assert found.exhibits == ()


def test_a_bar_is_shown_on_request_and_says_what_the_command_line_says(good, digits, capsys):
    whatelse.audit(good, {"small": damaged(good)}, digits, asked(MEMBERS))
    assert capsys.readouterr() == ("", "")
    whatelse.audit(good, {"small": damaged(good)}, digits, asked(MEMBERS), progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "Ctrl-C keeps what is finished" in err
    assert "done" in err
