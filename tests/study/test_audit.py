import dataclasses
import json
import math
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import whatelse
from whatelse import items, opening, registry
from whatelse.auditing.questions import FORMS, WHERE, about, default, read_questions
from whatelse.errors import StudyError, TaskError
from whatelse.findings import codec
from whatelse.findings import record as reader
from whatelse.findings.record import Failure, Timing
from whatelse.study import audit

pytestmark = pytest.mark.slow  # processes, whole models or many of them: not for every save

ASKED = """
name = "short"
title = "Short"
draws = 400
[[rows]]
name = "performance"
title = "Accuracy"
[[rows]]
name = "fairness"
title = "Fairness"
[[rows]]
name = "attribution"
title = "Explanations"
[[measurements]]
row = "performance"
item = "generalization.accuracy"
label = "accuracy"
margin = 0.02
gain = 0.05
primary = true
[[measurements]]
row = "fairness"
item = "fairness.worst_group"
label = "worst group"
settings = { group = "style" }
margin = 0.05
primary = true
[[measurements]]
row = "attribution"
item = "attribution.agreement"
label = "agreement"
settings = { examples = 100 }
margin = 0.05
primary = true
"""
LABELS = ["accuracy", "worst group", "agreement"]


@pytest.fixture(scope="module")
def digits():
    return opening.load_task("digits")


def ridge(task, strength=0.5):
    """A linear classifier of the pixels in closed form."""
    x = torch.cat([task.train.inputs.flatten(1), torch.ones(len(task.train), 1)], 1)
    wanted = nn.functional.one_hot(task.train.targets, 10).float() - 0.1
    weights = torch.linalg.solve(x.T @ x + strength * torch.eye(65), x.T @ wanted)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with torch.no_grad():
        model[1].weight.copy_(10 * weights[:64].T)
        model[1].bias.copy_(10 * weights[64])
    return model.eval()


@pytest.fixture(scope="module")
def good(digits):
    return ridge(digits)


def damaged(model, share=0.5, seed=0):
    """A copy without some of its weights."""
    model = deepcopy(model)
    with torch.no_grad():
        kept = torch.rand(model[1].weight.shape, generator=torch.Generator().manual_seed(seed)) > share
        model[1].weight.mul_(kept)
    return model


def asked(text=ASKED):
    return read_questions(text, "short.toml")


def audited(baseline, candidates, task, text=ASKED, **more):
    found = whatelse.audit(baseline, candidates, task, asked(text), **more)
    assert reader.parse(json.loads(codec.dumps(found))) == found
    return found


def lead(found, candidate="small"):
    """The finding of each label that gives the verdict."""
    mine = [f for f in found.findings if f.candidate == candidate and f.leading]
    assert [f.label for f in mine] == LABELS
    return {f.label: f for f in mine}


def known(found):
    return dataclasses.replace(found, created="", timing=Timing())


@pytest.fixture(scope="module")
def harmed(good, digits):
    return audited(good, {"small": damaged(good)}, digits)


def test_the_default_questions_are_sound():
    found = read_questions(default())
    assert {m.item for m in found.measurements} <= set(registry.names("behaviours"))
    for row in found.rows:
        for where in WHERE:  # the two forms of an audit
            asked = [m for m in found.measurements if m.row == row.name and m.where in {"", where}]
            # Of words some rows ask nothing; no form asks two.
            many = len([m for m in asked if m.primary])
            assert many == 1 or (many == 0 and where in FORMS), row.name
    assert found.text == default()
    assert {tuple(m.tasks) for m in found.measurements} == {("data",)}


def test_the_default_questions_to_language_models_are_sound():
    for form in ("documents", "choices", "pairs"):
        found = about(read_questions(default(form)), form)
        assert {m.where for m in found.measurements} <= {"", form}
        for row in found.rows:
            assert sum(m.primary for m in found.measurements if m.row == row.name) == 1, row.name


def test_a_model_is_unchanged_against_itself(good, digits):
    found = audited(good, {"small": deepcopy(good)}, digits)
    assert {f.verdict for f in found.findings} == {"unchanged"}
    assert [f.effect for f in lead(found).values()] == [0, 0, 0]
    assert found.failed == ()
    assert {c.outcome for c in found.comparability.pairs["small"]} == {"same"}
    assert [(c.name, c.role) for c in found.candidates] == [("baseline", "baseline"), ("small", "candidate")]


def test_a_damaged_copy_is_found_worsened(good, digits, harmed):
    accuracy = lead(harmed)["accuracy"]
    assert {f.verdict for f in lead(harmed).values()} == {"worsened"}
    test = digits.test
    before, after = (float((m(test.inputs).argmax(1) == test.targets).float().mean()) for m in (good, damaged(good)))
    assert accuracy.before == pytest.approx(before)
    assert accuracy.after == pytest.approx(after)
    assert accuracy.effect == pytest.approx(after - before)
    assert accuracy.high < -0.02
    assert (accuracy.control, accuracy.n, accuracy.primary) == ("baseline", 900, True)


def test_a_placebo_is_what_candidates_are_held_against_and_a_twin_gives_a_floor(good, digits, harmed):
    assert {f.floor for f in harmed.findings} == {None}
    bad = damaged(good)
    controls = {"placebo": deepcopy(bad), "twin": damaged(good, 0.1, 1)}
    found = audited(good, {"small": bad}, digits, controls=controls)
    mine = lead(found)
    assert {f.control for f in mine.values()} == {"placebo"}
    assert {f.verdict for f in mine.values()} == {"unchanged"}
    assert all(f.primary for f in mine.values())
    others = {f.control for f in found.findings if f.candidate == "small"} - {"placebo"}
    assert others == {"baseline", "twin"}
    twin = next(f for f in found.findings if (f.candidate, f.label) == ("twin", "accuracy"))
    # One twin shows a standard deviation with one degree of freedom: the quantile of t is tan(0.475 pi) there.
    assert mine["accuracy"].floor == pytest.approx(math.tan(0.475 * math.pi) * abs(twin.effect))
    assert mine["accuracy"].floor > 0
    agreed = next(f for f in found.findings if (f.candidate, f.label) == ("twin", "agreement"))
    assert mine["agreement"].floor == pytest.approx(1 - agreed.after, abs=1e-6)
    roles = {c.name: c.role for c in found.candidates}
    assert roles == {"baseline": "baseline", "placebo": "placebo", "twin": "twin", "small": "candidate"}


ATTACKED = """
name = "floors"
title = "Floors"
draws = 200
rows = [{ name = "robustness", title = "Robustness" }, { name = "accuracy", title = "Accuracy" }]
[[measurements]]
row = "robustness"
item = "attribution.infidelity"
label = "infidelity"
settings = { examples = 60, samples = 8 }
margin = 0.01
primary = true
[[measurements]]
row = "accuracy"
item = "generalization.accuracy"
label = "accuracy"
margin = 0.01
primary = true
"""


@pytest.mark.known_answer
def test_what_draws_has_a_floor_of_measuring_and_what_does_not_has_none(good, digits):
    small, other = damaged(good, 0.05, 2), damaged(good, 0.05, 3)
    asked = read_questions(ATTACKED, "floors.toml")
    found = audit.audit(good, {"small": small}, digits, asked, controls={"recompressed": other}, remeasure=4)
    mine = {f.label: f for f in found.findings if f.candidate == "small"}
    assert mine["accuracy"].floors.measurement == 0
    assert mine["infidelity"].floors.measurement > 0
    moves = next(f for f in found.findings if (f.candidate, f.label) == ("retest", "infidelity"))
    assert len(set(moves.per_seed)) == 4
    wanted = stats.t.ppf(0.975, 4) * np.sqrt(np.mean(np.square(moves.per_seed)))
    assert mine["infidelity"].floors.measurement == pytest.approx(wanted)
    again = next(f for f in found.findings if (f.candidate, f.label) == ("small recompressed", "accuracy"))
    assert again.control == "small"
    assert mine["accuracy"].floors.compression == pytest.approx(stats.t.ppf(0.975, 1) * abs(again.effect))
    assert {f.floors.compression for f in found.findings if f.candidate == "retest"} == {None}


def test_what_stops_early_is_not_measured_again(good, digits):
    with pytest.raises(StudyError, match="remeasure=2, stop=True"):
        audit.audit(good, {"small": good}, digits, remeasure=2, stop=True)
    with pytest.raises(StudyError, match="there are 2 candidates"):
        audit.audit(good, {"a": good, "b": good}, digits, controls={"recompressed": good})


@pytest.mark.parametrize(
    ("names", "controls", "message"),
    [
        ((), (), "there is no candidate"),
        (("baseline",), (), "'baseline': that name is taken"),
        (("placebo",), (), "'placebo': that name is taken"),
        (("twin",), ("twin",), "'twin': that name is taken"),
        (("zero",), (), "'zero': that name is taken"),
        (("small",), ("random",), "controls: no 'random'; there are: placebo, recompressed, twin"),
    ],
)
def test_names_that_cannot_be_are_refused_in_a_line(good, digits, names, controls, message):
    with pytest.raises(StudyError, match=message) as error:
        audited(good, dict.fromkeys(names, good), digits, controls=dict.fromkeys(controls, good))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title = ", "titel = ", "no key 'titel'; did you mean title"),
        ("[[rows]]", "[[rows", "short.toml: "),
        ("generalization.accuracy", "generalization.acuracy", "did you mean generalization.accuracy"),
        ("examples = 100", "exmples = 100", "did you mean examples"),
        ('row = "fairness"', 'row = "fairnes"', r"measurements\[1\].row: no 'fairnes'; there are: attribution, fair"),
        ("margin = 0.02", "margin = -1", r"measurements\[0\]: margin=-1.0"),
        ("gain = 0.05", "gain = -1", r"measurements\[0\]: .*gain=-1.0"),
        ("gain = 0.05", "costly = true", r"measurements\[0\]: costly, but generalization.accuracy has no RANGE"),
        ("gain = 0.05", 'control = "random"', r"measurements\[0\].control: no 'random'; there are: baseline, placebo"),
        ("gain = 0.05", 'tasks = ["clean"]', r"measurements\[0\].tasks=\['clean'\]; an audit has one task"),
        ('label = "worst group"', 'label = "accuracy"', "the label 'accuracy' stands twice"),
        ('row = "fairness"\n', 'row = "performance"\n', "row 'performance' has 2 primary measurements"),
        ("draws = 400", "draws = 0", "draws=0; 100 or more"),
    ],
)
def test_wrong_questions_are_refused_with_the_place(old, new, message):
    assert old in ASKED
    with pytest.raises(StudyError, match=message) as error:
        asked(ASKED.replace(old, new, 1))
    assert str(error.value).startswith("short.toml: ")
    assert "\n" not in str(error.value)


def test_what_has_a_range_may_be_costly():
    text = ASKED.replace("settings = { examples = 100 }", "settings = { examples = 100 }\ncostly = true")
    assert [m.costly for m in asked(text).measurements] == [False, False, True]


def test_a_measurement_against_a_control_that_was_not_handed_over_is_refused(good, digits):
    text = ASKED.replace("gain = 0.05", 'control = "twin"')
    with pytest.raises(StudyError, match="'accuracy' is held against 'twin', which was not handed over"):
        audited(good, {"small": good}, digits, text)
    found = audited(good, {"small": good}, digits, text, controls={"twin": damaged(good)})
    assert [f.control for f in lead(found).values()] == ["twin", "baseline", "baseline"]


def test_a_behaviour_that_raises_is_failed_and_the_rest_goes_on(good, digits, harmed, monkeypatch):
    item = registry.load("behaviours", "fairness.worst_group")

    def breaks(evidence, config, rng):
        raise ZeroDivisionError("by hand")

    monkeypatch.setattr(item, "measure", breaks)
    items._behaviour.cache_clear()
    found = audited(good, {"small": damaged(good)}, digits)
    mine = lead(found)
    assert [f.verdict for f in mine.values()] == ["worsened", "failed", "worsened"]
    assert mine["worst group"].why == "ZeroDivisionError: by hand"
    assert found.failed == tuple(
        Failure(f"{name} · worst group", "ZeroDivisionError: by hand") for name in ("baseline", "small")
    )
    assert mine["accuracy"].low == lead(harmed)["accuracy"].low


class Deaf(nn.Module):
    """A model through which no gradient comes."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        with torch.no_grad():
            return self.model(x)


def test_what_cannot_be_measured_says_why(good, digits):
    found = audited(good, {"small": Deaf(good).eval()}, digits)
    mine = lead(found)
    assert [f.verdict for f in mine.values()] == ["unchanged", "unchanged", "not measurable"]
    assert mine["agreement"].why == "needs a model that differentiates; small only predicts, opens"
    assert found.failed == ()


def test_the_modules_of_the_user_stay_as_they_are(good, digits):
    models = {name: deepcopy(good).train().requires_grad_() for name in ("before", "after", "placebo")}
    models["after"][1].bias.requires_grad_(requires_grad=False)
    kept = {name: deepcopy(m.state_dict()) for name, m in models.items()}
    found = audited(
        models["before"], {"small": models["after"]}, digits, controls={"placebo": models["placebo"]}, force=True
    )
    for name, model in models.items():
        assert all(m.training for m in model.modules())
        assert [p.requires_grad for p in model.parameters()] == [True, name != "after"]
        assert all(p.grad is None for p in model.parameters())
        assert all(torch.equal(t, kept[name][n]) for n, t in model.state_dict().items())
    told = {c.name: c for c in found.comparability.pairs["small"]}["evaluation mode"]
    assert "handed over in training mode" in told.baseline


def test_training_mode_is_remarked_beside_the_model(good, digits):
    found = audited(good, {"small": deepcopy(good).train()}, digits)
    remarks = {c.name: c.remarks for c in found.candidates}
    assert remarks["baseline"] == ()
    assert len(remarks["small"]) == 1
    assert remarks["small"][0].startswith("evaluation mode: baseline was in evaluation mode; this model was handed")


def test_the_same_seed_gives_the_same_findings(good, digits, harmed):
    again = audited(good, {"small": damaged(good)}, digits)
    assert known(again) == known(harmed)
    other = audited(good, {"small": damaged(good)}, digits, seed=1)
    assert other.seeds == (1,)
    assert lead(other)["worst group"].low != lead(harmed)["worst group"].low
    assert [f.effect for f in lead(other).values()] == [f.effect for f in lead(harmed).values()]


def test_a_gain_too_large_to_believe_is_not_trusted(good, digits):
    found = audited(damaged(good), {"small": good}, digits)
    accuracy = lead(found)["accuracy"]
    assert accuracy.low > 0.05
    assert accuracy.verdict == "not trusted"
    doubt = "implausible gain: shown better by more than 0.05"
    assert [d.partition(":")[0] for d in accuracy.doubts] == ["implausible gain"]
    assert accuracy.validity[0].startswith(doubt)
    believed = audited(damaged(good), {"small": good}, digits, ASKED.replace("gain = 0.05", "gain = 0.9"))
    assert lead(believed)["accuracy"].verdict == "improved"
    assert lead(believed)["worst group"].verdict == "improved"


def test_clusters_are_drawn_whole(good, digits):
    bad = damaged(good, 0.3)
    right = [(m(digits.test.inputs).argmax(1) == digits.test.targets).float() for m in (good, bad)]
    codes = torch.empty(900, dtype=torch.int64)
    codes[(right[1] - right[0]).argsort()] = torch.arange(900) // 30  # who is harmed stands together
    narrow, wide = (
        lead(audited(good, {"small": bad}, replace(digits, splits={**digits.splits, "test": test})))["accuracy"]
        for test in (replace(digits.test, clusters=None), replace(digits.test, clusters=codes))
    )
    assert (narrow.clusters, wide.clusters) == (None, 30)
    assert narrow.n == wide.n == 900
    assert narrow.effect == pytest.approx(wide.effect)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_a_model_that_cannot_be_compared_is_refused_or_measured_by_force(good, digits):
    turned = deepcopy(good)
    with torch.no_grad():
        for p in turned.parameters():
            p.copy_(p.roll(1, 0))
    with pytest.raises(TaskError, match="small cannot be compared with baseline: class order"):
        audited(good, {"small": turned}, digits)
    found = audited(good, {"small": turned}, digits, force=True)
    assert lead(found)["accuracy"].verdict == "worsened"
    remarks = {c.name: c.remarks for c in found.candidates}["small"]
    assert remarks[0].startswith("class order: baseline classes as in the data; this model is right on ")


def test_test_examples_in_train_are_remarked(good, digits, harmed):
    assert harmed.comparability.remarks == ()
    leaking = replace(digits, splits={**digits.splits, "test": digits.test.join(digits.train.take(torch.arange(7)))})
    found = audited(good, {"small": good}, leaking)
    assert found.comparability.remarks[0].startswith("7 of 907 test examples stand in train too")
