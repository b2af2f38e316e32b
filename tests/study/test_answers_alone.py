"""Which form of a question an audit asks: by gradients where all models have them, else by answers, of all alike."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

import whatelse
from whatelse.auditing.questions import default, fitting, read_questions
from whatelse.errors import StudyError
from whatelse.study import spec

ASKED = """
name = "forms"
title = "Forms"
draws = 200
rows = [{ name = "attribution", title = "Explanations" }, { name = "robustness", title = "Attacks" }]
[[measurements]]
row = "attribution"
item = "attribution.agreement"
where = "gradients"
label = "by gradients"
margin = 0.05
primary = true
[[measurements]]
row = "attribution"
item = "attribution.agreement"
settings = { map = "kernel shap", examples = 20 }
where = "answers"
label = "by Shapley values"
margin = 0.05
primary = true
[[measurements]]
row = "robustness"
item = "robustness.distance"
settings = { examples = 10, starts = 1, norm = "linf" }
where = "gradients"
label = "distance"
margin = 0.1
[[measurements]]
row = "robustness"
item = "robustness.decision"
settings = { examples = 10, queries = 300, norm = "linf" }
where = "answers"
label = "decision"
margin = 0.1
[[measurements]]
row = "robustness"
item = "membership.label"
settings = { examples = 50 }
label = "labels"
margin = 0.1
"""
SIGHTED, ANSWERS = {"by gradients", "distance", "labels"}, {"by Shapley values", "decision", "labels"}


class Answers:
    """A model of which nothing but answers is shown, as a file of another runtime."""

    def __init__(self, net):
        self.net = net

    @torch.no_grad()
    def scores(self, inputs):
        return self.net(inputs)


@pytest.fixture(scope="module")
def task():
    whole = whatelse.load_task("digits")
    cut = {name: split.take(torch.arange(min(200, len(split)))) for name, split in whole.splits.items()}
    return replace(whole, splits=cut)


@pytest.fixture(scope="module")
def net(task):
    x, y = task.train.inputs.flatten(1), task.train.targets
    wanted = nn.functional.one_hot(y, 10).float() - 0.1
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with torch.no_grad():
        model[1].weight.copy_(10 * torch.linalg.solve(x.T @ x + 0.5 * torch.eye(64), x.T @ wanted).T)
        model[1].bias.zero_()
    return model.eval()


@pytest.fixture(scope="module")
def coarse(net):
    made = deepcopy(net)
    with torch.no_grad():
        step = made[1].weight.abs().max() / 7
        made[1].weight.copy_((made[1].weight / step).round() * step)
    return made


def told(found):
    return {f.label for f in found.findings}, [r for c in found.candidates for r in c.remarks if "gradients:" in r]


def test_two_models_that_only_predict_are_asked_by_their_answers_as_live_ones_would_answer(task, net, coarse):
    found = whatelse.audit(Answers(net), {"small": Answers(coarse)}, task, read_questions(ASKED))
    labels, remarks = told(found)
    assert labels == ANSWERS
    assert remarks == [
        "baseline, small give answers and no gradients: all models of this audit alike are asked for "
        "by Shapley values; decision"
    ]
    asked = read_questions(ASKED)
    anywhere = replace(asked, measurements=[replace(m, where="", primary=False) for m in asked.measurements])
    live = whatelse.audit(net, {"small": coarse}, task, anywhere)
    seen = {f.label: (f.before, f.after) for f in live.findings}
    assert len(seen) == len(SIGHTED | ANSWERS)
    for f in found.findings:
        assert (f.before, f.after) == pytest.approx(seen[f.label], abs=1e-5), f.label


def test_where_one_only_predicts_all_are_asked_alike_and_it_is_said(task, net, coarse):
    found = whatelse.audit(net, {"live": coarse, "file": Answers(coarse)}, task, read_questions(ASKED))
    labels, remarks = told(found)
    assert labels == ANSWERS
    assert [r.split(":")[0] for r in remarks] == ["file gives answers and no gradients"]
    after = {(f.candidate, f.label): f.after for f in found.findings}
    for label in ANSWERS:
        assert after["file", label] == pytest.approx(after["live", label], abs=1e-6)


def test_a_weaker_search_than_the_baselines_is_open_and_never_shown_worse(task, net):
    asked = read_questions(ASKED)
    attack = replace(
        asked.measurements[0],
        item="robustness.accuracy",
        label="under attack",
        settings={"examples": 50, "radius": 0.02},
        where="",
    )
    found = whatelse.audit(net, {"file": Answers(net)}, task, replace(asked, measurements=[attack]))
    (one,) = (f for f in found.findings if f.leading)
    assert (one.verdict, one.verdict_if_one_sided, one.effect) == ("not trusted", "worsened", 0)
    assert "Nothing is shown worse, but 1 of 1 question is open" in str(found)


def test_where_all_differentiate_nothing_changes_and_nothing_is_said(task, net, coarse):
    found = whatelse.audit(net, {"small": coarse}, task, read_questions(ASKED))
    assert told(found) == (SIGHTED, [])


def test_recorded_scores_are_asked_the_usual_form_and_lack_it(task, net):
    offers = {"baseline": {"predicts", "differentiates", "opens"}, "log": {"recorded"}}
    kept, said = fitting(read_questions(ASKED), offers)
    assert {m.label for m in kept.measurements} == SIGHTED
    assert said == []


def test_of_the_default_questions_either_form_keeps_all_that_both_can_answer():
    asked = read_questions(default())
    forms = {}
    for where, words in (("gradients", {"predicts", "differentiates"}), ("answers", {"predicts"})):
        forms[where] = {m.label for m in fitting(asked, {"baseline": words, "small": words})[0].measurements}
    assert len(forms["gradients"] & forms["answers"]) == len(asked.measurements) - 7
    only = {m.item for m in asked.measurements if m.label in forms["answers"] - forms["gradients"]}
    assert only == {"attribution.agreement", "attribution.localization", "robustness.decision", "membership.label"}


def test_what_makes_no_sense_is_one_line():
    with pytest.raises(StudyError, match=r"measurements\[0\].where: 'gradient'; did you mean gradients\?"):
        read_questions(ASKED.replace('where = "gradients"', 'where = "gradient"', 1))
    twice = ASKED.replace('where = "gradients"\nlabel = "by', 'label = "by', 1)
    with pytest.raises(StudyError, match="row 'attribution' has 2 primary measurements"):
        read_questions(twice)
    blind = {"baseline": {"predicts"}, "small": {"predicts"}}
    alone = replace(read_questions(ASKED), measurements=[read_questions(ASKED).measurements[0]])
    with pytest.raises(StudyError, match="every question is for models of which there are none here"):
        fitting(alone, blind)
    text = spec.find("adult").replace("primary = true", 'primary = true\nwhere = "answers"', 1)
    with pytest.raises(StudyError, match=r"measurements\[\d+\].where='answers'; it is for audits"):
        spec.parse(text, "adult.toml")
