from copy import deepcopy
from dataclasses import replace

import pytest
import torch

import whatelse
from tests.study.test_audit import damaged, ridge
from whatelse import items, opening
from whatelse.answer import Answer
from whatelse.auditing import questions
from whatelse.auditing import sequential as looks
from whatelse.auditing.ask import Measured
from whatelse.auditing.effects import SubjectValues
from whatelse.findings import codec
from whatelse.findings import record as reader
from whatelse.statistics import sequential

QUESTIONS = """
name = "looks"
title = "Looks"
draws = 400
rows = [{ name = "attack", title = "Attack" }, { name = "maps", title = "Maps" }]
[[measurements]]
row = "attack"
item = "robustness.accuracy"
label = "under attack"
settings = { examples = 800, radius = 0.02 }
margin = 0.02
costly = true
primary = true
[[measurements]]
row = "maps"
item = "attribution.agreement"
label = "agreement"
settings = { examples = 800 }
margin = 0.05
costly = true
primary = true
"""


@pytest.fixture(scope="module")
def digits():
    return opening.load_task("digits")


@pytest.fixture(scope="module")
def found(digits):
    good = ridge(digits)
    candidates = {"bad": damaged(good), "same": deepcopy(good), "near": damaged(good, 0.02)}
    asked = questions.read_questions(QUESTIONS, "looks.toml")
    made = [whatelse.audit(good, candidates, digits, asked, stop=stop) for stop in (True, False)]
    return [{(f.candidate, f.label): f for f in one.findings if f.leading} for one in made], made[0]


def test_a_clear_verdict_ends_a_measurement_and_is_that_of_all_examples(found):
    (early, whole), _ = found
    for label in ("under attack", "agreement"):
        bad = early["bad", label]
        assert bad.verdict == whole["bad", label].verdict == "worsened"
        assert bad.n < bad.of <= 800
        assert f"of {bad.of} examples {bad.n} were measured" in " ".join(bad.validity)
    assert early["same", "agreement"].verdict == "unchanged"
    assert early["same", "agreement"].n < 800


def test_what_is_not_clear_is_measured_to_the_end_and_never_turned(found):
    (early, whole), record = found
    for at, one in early.items():
        assert one.verdict in {whole[at].verdict, "inconclusive"}
        if one.verdict == "inconclusive":
            assert one.n == one.of
            assert one.low <= whole[at].effect <= one.high
    assert reader.parse(codec.to_json(record)) == record


@pytest.mark.known_answer
def test_the_interval_is_that_of_the_watch_over_the_same_differences(found, digits):
    (early, _), _ = found
    same = early["same", "agreement"]
    watch = sequential.Watch(-2.0, 2.0)
    for _ in range(same.n // 100):
        watch = watch.saw(torch.zeros(100).numpy())
    wanted = watch.effect(1.0)
    assert (same.low, same.high) == pytest.approx((wanted.low, wanted.high), abs=1e-3)


def test_it_repeats(found, digits):
    (early, _), _ = found
    good = ridge(digits)
    asked = questions.read_questions(QUESTIONS, "looks.toml")
    again = whatelse.audit(good, {"bad": damaged(good)}, digits, asked, stop=True)
    mine = {f.label: f for f in again.findings if f.candidate == "bad" and f.leading}
    for label, one in mine.items():
        assert (one.n, one.effect) == pytest.approx((early["bad", label].n, early["bad", label].effect))


def test_a_batch_that_was_declared_has_the_neighbors_of_the_data_and_is_measured_whole(found, digits):
    (_, whole), _ = found
    good = ridge(digits)
    asked = questions.read_questions(QUESTIONS, "looks.toml")
    asked = replace(asked, measurements=[m for m in asked.measurements if m.label == "agreement"])
    again = whatelse.audit(good, {"bad": damaged(good)}, digits, asked, stop=True, batch=64)
    (mine,) = (f for f in again.findings if f.candidate == "bad" and f.leading)
    assert mine.n == whole["bad", "agreement"].n == 800
    assert mine.effect == pytest.approx(whole["bad", "agreement"].effect)


def test_a_point_of_the_candidate_that_fells_the_baseline_is_within_bounds(digits):
    """One example of pooled points is worth up to two: it withstands all that fells the baseline."""
    names = ("right", "own APGD", "own gradients", "own with Square", "pooled", "baseline own", "baseline pooled")
    item, whole = items.behaviour("robustness.accuracy"), dict.fromkeys(names, torch.ones(100))
    fells = torch.ones(100)
    fells[0] = 0
    one, (after, before) = looks.fresh(0.0, 1.0), (SubjectValues(), SubjectValues())
    after.add(Measured(Answer({**whole, "baseline pooled": fells}), {}, 0.0))
    before.add(Measured(Answer(whole), {}, 0.0))
    looks._look(one, item, item.configure({}), after, before)
    assert one.before == 100
    assert one.theirs.low <= min(one.theirs.values)
