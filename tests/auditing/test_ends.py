"""Floors, ceilings and blind instruments: what would pass whatever the candidate does is never unchanged."""

import json
from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import whatelse
from whatelse.auditing import ends
from whatelse.auditing.questions import read_questions
from whatelse.findings import codec, phrasing
from whatelse.findings import record as reader
from whatelse.findings.record import Finding
from whatelse.gate import budgets, decide
from whatelse.statistics import resample, sides
from whatelse.tasks.task import Split, Task


def split_of(n, rng, classes=3, noise=0.05):
    """Images whose class is the brightest of three corners; one label in nine is recorded wrong."""
    targets = torch.arange(n) % classes
    inputs = 0.5 + noise * torch.randn(n, 1, 8, 8, generator=rng)
    for i, (row, column) in enumerate(((0, 0), (0, 5), (5, 0))):
        inputs[targets == i, 0, row : row + 3, column : column + 3] += 0.2
    observed = torch.where(torch.arange(n) % 9 == 0, (targets + 1) % classes, targets)
    masks = torch.zeros(n, 1, 8, 8, dtype=torch.bool)
    masks[:, :, :3] = True
    return Split(inputs.clamp(0, 1), targets, observed, {"half": (torch.arange(n) // 3) % 2}, masks)


@pytest.fixture(scope="module")
def task():
    rng = torch.Generator().manual_seed(3)
    train = split_of(240, rng)
    splits = {"train": train, "calibration": train.take(torch.arange(60)), "select": split_of(90, rng)}
    return Task("corners", 3, (0.0, 1.0), {**splits, "test": split_of(600, rng)}, {"half": ("first", "second")})


def net(seed=0):
    rng = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 3))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.2 * torch.randn(p.shape, generator=rng))
    return model


@pytest.fixture(scope="module")
def models(task):
    """A network that learned, and four that have nothing left to lose in one way or another."""
    good = net()
    descent = torch.optim.Adam(good.parameters(), 0.01)
    for _ in range(80):
        descent.zero_grad()
        functional.cross_entropy(good(task.train.inputs), task.train.targets).backward()
        descent.step()
    constant, dead = deepcopy(good), deepcopy(good)
    with torch.no_grad():
        constant[3].weight.zero_()
        constant[3].bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
        dead[1].bias.fill_(-100.0)
    wrong = nn.Sequential(*deepcopy(good)[:3], nn.Linear(16, 3))
    with torch.no_grad():
        wrong[3].weight.copy_(good[3].weight.roll(1, 0))
        wrong[3].bias.copy_(good[3].bias.roll(1, 0))
    loud = deepcopy(good)
    with torch.no_grad():
        loud[3].weight.mul_(1e4)
        loud[3].bias.mul_(1e4)
    found = {"good": good, "constant": constant, "dead": dead, "wrong": wrong, "loud": loud, "untrained": net(5)}
    return {name: model.eval().requires_grad_(requires_grad=False) for name, model in found.items()}


def asked(*questions, draws=400, costly=False):
    told = [f'name = "e"\ntitle = "e"\ndraws = {draws}\nrows = [{{ name = "r", title = "r" }}]\n']
    for i, (item, given, margin) in enumerate(questions):
        shown = ", ".join(f"{k} = {json.dumps(v)}" for k, v in given.items())
        told.append(f'[[measurements]]\nrow = "r"\nitem = "{item}"\nlabel = "{item} {i}"\nmargin = {margin}\n')
        told.append(f"settings = {{ {shown} }}\n" + "costly = true\n" * costly)
    return read_questions("".join(told))


def audited(base, candidate, task, *questions, **more):
    record = whatelse.audit(base, {"same": candidate}, task, asked(*questions), force=True, **more)
    assert record.failed == ()
    return record


# The item, its settings, its margin; which model has nothing left to lose, or is not seen; whether numbers are kept.
PLANTED = [
    ("robustness.accuracy", {"radius": 0.3, "examples": 60}, 0.02, "good", True),
    ("robustness.accuracy", {"radius": 3.0, "norm": "l2", "examples": 60}, 0.02, "good", True),
    ("robustness.accuracy", {"radius": 0.0, "examples": 60}, 0.1, "good", True),
    ("robustness.accuracy", {"examples": 60}, 0.02, "wrong", False),
    ("robustness.table", {"radius": 20.0, "examples": 60}, 0.02, "good", True),
    ("robustness.table", {"radius": 0.0, "examples": 60}, 0.1, "good", True),
    ("robustness.distance", {"examples": 60}, 0.02, "wrong", True),
    ("robustness.transfer", {"radius": 0.1, "examples": 100}, 0.05, "good", True),
    ("generalization.accuracy", {}, 0.01, "wrong", True),
    ("generalization.flips", {}, 0.01, "wrong", True),
    ("generalization.flips", {"kind": "net"}, 0.01, "wrong", True),
    ("generalization.shift", {}, 0.05, "wrong", True),
    ("generalization.excess_error", {}, 0.05, "wrong", True),
    ("generalization.risk_coverage", {}, 0.02, "wrong", True),
    ("generalization.memorization", {}, 0.05, "wrong", True),
    ("fairness.worst_group", {}, 0.02, "wrong", True),
    ("fairness.group", {}, 0.02, "wrong", True),
    ("fairness.flip_share", {}, 0.02, "wrong", True),
    ("fairness.parity", {}, 0.02, "constant", True),
    ("fairness.odds", {}, 0.02, "constant", True),
    ("fairness.equalized_odds", {}, 0.02, "dead", True),
    ("fairness.cev", {}, 0.02, "constant", True),
    ("fairness.sde", {}, 0.02, "dead", True),
    ("attribution.agreement", {}, 0.05, "constant", True),
    ("attribution.agreement", {"score": "top 10"}, 0.05, "constant", True),
    ("attribution.agreement", {"score": "sign"}, 0.05, "dead", True),
    ("attribution.deletion", {"examples": 60}, 0.05, "constant", True),
    ("attribution.deletion", {"score": "insertion", "examples": 60}, 0.05, "constant", True),
    ("attribution.infidelity", {"examples": 60}, 0.05, "dead", True),
    ("attribution.localization", {}, 0.05, "constant", True),
    ("attribution.localization", {"score": "energy"}, 0.05, "constant", True),
    ("attribution.completeness", {"examples": 60}, 0.05, "constant", True),
    ("mechanism.cka", {}, 0.05, "dead", False),
    ("mechanism.ablation", {}, 0.05, "constant", False),
    ("mechanism.alignment", {}, 0.05, "dead", False),
    ("mechanism.breadth", {}, 0.05, "dead", False),
    ("mechanism.selectivity", {}, 0.05, "dead", False),
    ("mechanism.dictionary", {}, 0.05, "dead", False),
    ("mechanism.dead", {}, 0.05, "dead", True),
    ("mechanism.circuit", {}, 0.05, "constant", True),
    ("mechanism.circuit_faithfulness", {}, 0.05, "dead", False),
    ("mechanism.probe", {}, 0.05, "dead", True),
    ("transparency.tree", {}, 0.02, "constant", True),
    ("transparency.tree", {"score": "fidelity"}, 0.02, "dead", True),
    ("transparency.stability", {}, 0.02, "constant", True),
    ("transparency.size", {}, 0.5, "constant", True),
    ("membership.loss", {}, 0.02, "untrained", True),
    ("membership.calibration", {}, 0.02, "good", True),
    ("leakage.inversion", {"iterations": 20}, 1.0, "dead", True),
    ("leakage.labels", {}, 0.05, "loud", True),
    ("leakage.linear", {}, 0.05, "dead", True),
    ("leakage.linear", {}, 0.05, "good", True),
]


@pytest.mark.parametrize(("item", "given", "margin", "name", "numbers"), PLANTED, ids=lambda v: str(v)[:40])
def test_a_baseline_with_nothing_to_lose_or_to_see_is_never_unchanged(task, models, item, given, margin, name, numbers):
    record = audited(models[name], deepcopy(models[name]), task, (item, given, margin))
    (found,) = record.findings
    if found.verdict == "not trusted":  # no gradient is shared at all: its own check says that this protects nobody
        assert item.startswith("leakage.")
        assert any("gradient" in doubt for doubt in found.doubts)
        return
    assert found.verdict == "not measurable", (found.before, found.after, found.why)
    assert found.why
    if numbers and found.before is not None:
        assert found.before == found.after
        assert "not measurable at this setting" in found.why
    assert reader.parse(json.loads(codec.dumps(record))) == record


SEEN = [
    ("robustness.accuracy", {"examples": 100}, 0.05, "good"),
    ("robustness.accuracy", {"examples": 60, "norm": "l2"}, 0.1, "good"),
    ("robustness.distance", {"examples": 60, "norm": "linf", "unit": "baseline"}, 0.1, "good"),
    ("generalization.accuracy", {}, 0.01, "good"),
    ("generalization.accuracy", {}, 0.01, "untrained"),
    ("generalization.flips", {}, 0.01, "good"),
    ("attribution.agreement", {}, 0.05, "good"),
    ("attribution.localization", {}, 0.05, "good"),
    ("mechanism.cka", {}, 0.05, "good"),
    ("fairness.worst_group", {}, 0.05, "good"),
    ("fairness.flip_share", {}, 0.05, "good"),
    ("transparency.stability", {}, 0.05, "good"),
    ("leakage.labels", {}, 0.05, "dead"),
]


@pytest.mark.parametrize(("item", "given", "margin", "name"), SEEN, ids=lambda v: str(v)[:40])
def test_what_has_something_to_lose_is_unchanged_against_itself(task, models, item, given, margin, name):
    (found,) = audited(models[name], deepcopy(models[name]), task, (item, given, margin)).findings
    assert found.verdict == "unchanged", (found.before, found.after, found.why, found.doubts)
    assert found.why == ""
    assert found.room > margin


def test_what_is_shown_stands_an_improvement_from_the_floor_and_a_harm_onto_it(task, models):
    question = ("robustness.accuracy", {"radius": 0.05, "examples": 100}, 0.02)
    up, down = (("wrong", "good"), ("good", "wrong"))
    (found,) = audited(models[up[0]], models[up[1]], task, question).findings
    assert found.verdict == "improved"
    assert found.room <= found.before <= 0.02
    (found,) = audited(models[down[0]], models[down[1]], task, question).findings
    assert found.verdict == "worsened"
    assert found.after <= 0.02


def test_a_candidate_that_answers_one_class_is_no_fairer_and_no_more_transparent(task, models):
    questions = [("fairness.parity", {}, 0.02), ("transparency.tree", {"score": "fidelity"}, 0.001)]
    questions.append(("transparency.size", {}, 0.5))
    found = audited(models["good"], models["constant"], task, *questions).findings
    assert {f.verdict for f in found} == {"not trusted"}
    assert all("answers class 0 throughout, which its baseline does not" in f.doubts[0] for f in found)


def test_a_baseline_at_chance_is_noted_and_one_that_is_better_is_not(task, models):
    told = {}
    for name in ("untrained", "constant", "good", "wrong"):
        (found,) = audited(models[name], models[name], task, ("generalization.accuracy", {}, 0.01)).findings
        told[name] = [n for n in found.validity if "better than chance" in n]
    assert [bool(told[name]) for name in ("untrained", "constant", "good", "wrong")] == [True, True, False, True]


@pytest.mark.known_answer
@pytest.mark.parametrize(("groups", "verdict"), [(10, "inconclusive"), (150, "unchanged")])
def test_no_harmed_example_of_ten_is_not_unchanged(models, groups, verdict):
    """Of ten examples none harmed: a quarter of them may be (rule of three); of 150 at most three hundredths."""
    rng = torch.Generator().manual_seed(4)
    split = split_of(600, rng)
    split = Split(split.inputs, split.targets, split.observed, {"g": (torch.arange(600) >= groups).long()})
    task = Task("few", 3, (0.0, 1.0), dict.fromkeys(("train", "calibration", "select", "test"), split))
    question = ("fairness.flip_share", {"least": 5}, 0.05)
    (found,) = audited(models["good"], deepcopy(models["good"]), task, question).findings
    assert found.verdict == verdict
    assert found.high >= 3 / groups * 0.9
    small = found.parts.items[0]
    assert small.n == groups
    # Clopper and Pearson of none in n at 97.5 %.
    assert small.high >= 1 - 0.05 ** (1 / groups)


def test_an_early_end_says_the_same_as_all_examples(task, models):
    questions = asked(("robustness.accuracy", {"radius": 0.3, "examples": 600}, 0.05), costly=True)
    for stop in (True, False):
        record = whatelse.audit(models["good"], {"same": models["good"]}, task, questions, stop=stop)
        (found,) = record.findings
        assert (found.verdict, found.before, found.room) == ("not measurable", 0.0, 0.0)
        assert (found.n < 600) == stop


def test_chunks_share_the_chosen_radius_and_go_on_until_there_is_room(models):
    rng = torch.Generator().manual_seed(8)
    parts = {name: split_of(n, rng, noise=0.15) for name, n in (("train", 90), ("select", 90), ("test", 600))}
    task = Task("spread", 3, (0.0, 1.0), {**parts, "calibration": parts["train"]})
    questions = asked(("robustness.accuracy", {"examples": 600}, 0.1), costly=True)
    record = whatelse.audit(models["good"], {"same": models["good"]}, task, questions, stop=True)
    (found,) = record.findings
    assert found.verdict == "unchanged"
    assert 0.1 < found.room < found.before
    assert found.n < 600
    assert sum("chosen on select" in note for note in found.validity) == 1


def ruled(record, item, most):
    text = f'title = "b"\n[[budgets]]\nbehaviour = "{item}"\nlabel = "{item} 0"\nmost = {most}\n'
    text += 'tier = "critical"\nwhy = "w"\n'
    return decide.decide(budgets.parse(text, "b"), record).rulings[0]


@pytest.mark.parametrize(
    ("most", "within"), [(0.005, False), (0.3, False), (1.0, False)], ids=["less", "more", "everything"]
)
def test_a_budget_on_a_floor_is_never_kept(task, models, most, within):
    record = audited(
        models["good"], models["good"], task, ("robustness.accuracy", {"radius": 0.3, "examples": 60}, 0.02)
    )
    ruling = ruled(record, "robustness.accuracy", most)
    assert (ruling.verdict == "GO") == within
    assert "within" not in {a.decision for a in ruling.answers}


def test_a_budget_as_large_as_what_is_left_is_undecided_and_says_why(task, models):
    record = audited(models["good"], models["good"], task, ("generalization.accuracy", {}, 0.01))
    answers = {}
    for most in (0.02, 0.999, 1.0):
        (answers[most],) = ruled(record, "generalization.accuracy", most).answers
    assert [answers[most].decision for most in (0.02, 0.999, 1.0)] == ["within", "undecided", "undecided"]
    assert "any model might keep the budget" in answers[1.0].why
    assert "a smaller budget" in answers[1.0].settle


def test_the_page_shows_what_is_left_to_lose(task, models):
    record = audited(models["good"], models["good"], task, ("generalization.accuracy", {}, 0.01))
    (found,) = record.findings
    facts = dict(phrasing.facts(found))
    assert facts["Room"].startswith("at least ")
    assert facts["Room"].endswith(" pp that the control has left to lose")


def own(values, resamples):
    return ends.alone(sides.side([np.asarray(values)], lambda v, c: c @ v / c.sum(1), resamples), 400)


@pytest.mark.known_answer
@pytest.mark.parametrize(("better", "worst"), [("higher", 0.0), ("lower", 1.0)])
def test_the_room_is_the_distance_to_the_worst_end_with_its_bound(better, worst):
    values = np.r_[np.ones(20), np.zeros(80)]
    if better == "lower":
        values = 1 - values
    drawn = resample.resamples(100, 4000, np.random.default_rng(0))
    scale = ends.Scale(worst, None)
    found = ends.between(better, (own(values, drawn), scale), (own(values, drawn), scale))
    assert found.room == pytest.approx(0.2)
    # One-sided 95 %: 0.2 - 1.645 sqrt(.2 .8 / 100) = 0.134, a little less by Student's t and by skewness.
    assert found.shown == pytest.approx(0.134, abs=0.015)
    zero = ends.between(better, None, (own(values, drawn), scale))
    assert zero.room == zero.shown == (0.0 if better == "higher" else 1.0)


@pytest.mark.known_answer
def test_of_a_room_about_as_large_as_the_margin_more_examples_may_tell():
    named = {
        "id": "f",
        "row": "r",
        "behaviour": "b",
        "label": "l",
        "task": "t",
        "candidate": "c",
        "control": "baseline",
    }
    kind = {"primary": True, "verdict": "unchanged", "unit": "accuracy", "better": "higher"}
    finding = Finding(**named, **kind, margin=0.1, settings={"radius": 0.1}, before=0.12, after=0.12)

    def unmeasurable(verdict, left):
        return ends.unmeasurable(replace(finding, verdict=verdict), "baseline", left)

    wide = ends.Ends(worst=0.0, room=0.12, shown=0.08)
    for verdict, measurable in (("unchanged", False), ("inconclusive", True), ("worsened", True), ("improved", True)):
        assert (unmeasurable(verdict, wide) == "") == measurable
    gone = ends.Ends(worst=0.0, room=0.1, shown=0.08)
    for verdict, measurable in (("unchanged", False), ("inconclusive", False), ("worsened", True), ("improved", True)):
        assert (unmeasurable(verdict, gone) == "") == measurable
    told = unmeasurable("unchanged", gone)
    assert told.startswith("not measurable at this setting (radius=0.1): baseline has 0.12 (accuracy), where 0 is")
    blind = ends.Ends(blind=0.5)
    assert unmeasurable("unchanged", blind)
    assert not unmeasurable("worsened", blind)


def test_ends_of_seeds_are_averaged_and_one_without_leaves_none():
    item = SimpleNamespace(worst=1.0, blind=None)
    assert ends.scale(item, []) == ends.Scale(1.0, None)
    assert ends.scale(item, [{}, {}]) == ends.Scale(1.0, None)
    assert ends.scale(item, [{"worst": 0.5}, {"worst": 0.7}]) == ends.Scale(pytest.approx(0.6), None)
    assert ends.scale(item, [{"blind": 0.5}, {}]) == ends.Scale(1.0, None)
    assert ends.scale(item, [{"worst": None, "blind": 0.1}]) == ends.Scale(None, pytest.approx(0.1))
