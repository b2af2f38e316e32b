"""Whether the outcome of a claim is that of its seeds: seeds drawn again, against a rewrite that measures them anew."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from whatelse import items
from whatelse.answer import Answer
from whatelse.auditing import claims, redrawn, verdicts
from whatelse.auditing.ask import Measured
from whatelse.auditing.effects import Comparison, of_kept, to_kept, values_of
from whatelse.auditing.inquiry import Inquiry
from whatelse.auditing.questions import Claim, Expectation, Measurement
from whatelse.auditing.redraws import DRAWS, picks
from whatelse.auditing.roles import Actor, Role
from whatelse.auditing.verdicts import Compared
from whatelse.findings import phrasing
from whatelse.findings.record import Candidate
from whatelse.statistics import shared
from whatelse.statistics.shared import Pool

LABEL, N = "accuracy", 400
ITEM = items.behaviour("generalization.accuracy")
NAMES = ("a", "b", "c")
PAIRS = tuple((name, "baseline") for name in NAMES)
MODELS = [Candidate("baseline", "", Role.BASELINE, ""), *(Candidate(n, "prune", Role.CANDIDATE, "") for n in NAMES)]
WORSE = Claim("row", "All do.", "x", "y", [Expectation("worse", LABEL, families=["prune"])])


def asked(seeds, claim=WORSE):
    actors = tuple(Actor(one.name, one.role) for one in MODELS)
    measured = (Measurement("row", ITEM.name, ["clean"], 0.02, LABEL, primary=True),)
    return Inquiry("s", "s", "", "", 400, tuple(range(seeds)), (), measured, {}, actors, (claim,))


def answers(loses, which=None):
    """Of every seed which examples are right: all of the baseline's, and of a candidate all but a share of its own."""
    rng = torch.Generator().manual_seed(1)
    made = []
    for share in loses:
        right = (torch.rand(N, generator=rng) >= share).float()
        made.append(Measured(Answer({"correct": right}), {}, 0.0))
    return [made[at] for at in (range(len(made)) if which is None else which)]


def compared(loses, which=None, *, redraws=True, draws=400):
    """The effects of three candidates that lose so much under each seed, told of some seeds alone if asked."""
    pool = Pool(draws, np.random.default_rng(1))
    held = Comparison(ITEM, ITEM.configure({}), pool, np.random.default_rng(0), redraws=redraws)
    held.take("baseline", values_of(answers([0.0] * len(loses), which)))
    for name in NAMES:
        held.take(name, values_of(answers(loses, which)))
    return [Compared(LABEL, "clean", PAIRS, of_kept(to_kept(held.against(PAIRS))))]


def judged(loses, claim=WORSE):
    inquiry, effects = asked(len(loses), claim), compared(loses)
    first = claims.judge(claim, inquiry, verdicts.decided(inquiry, effects), MODELS)
    return redrawn.settled(inquiry, effects, MODELS, [first])[0]


def test_what_all_seeds_say_is_settled():
    found = judged([0.3, 0.28, 0.32, 0.31, 0.3])
    assert (found.outcome, found.settled) == ("supported", 1.0)
    assert phrasing.outcome(found) == "supported"
    assert phrasing.grounds(found).endswith("Seeds drawn again: supported in 100% of draws")


def test_what_one_seed_carries_is_not_settled():
    found = judged([0.0, 0.0, 0.03, 0.10, 0.05])
    assert found.settled < 0.9
    assert phrasing.outcome(found) == "not settled"
    assert found.outcome in phrasing.grounds(found)


def test_the_share_is_that_of_a_rewrite_that_looks_at_each_draw_by_itself():
    loses = [0.0, 0.02, 0.03, 0.10, 0.05]
    found = judged(loses)
    inquiry, same = asked(len(loses)), 0
    for which in picks(len(loses)):
        decided = verdicts.decided(inquiry, compared(loses, which, redraws=False))
        same += claims.judge(WORSE, inquiry, decided, MODELS).outcome == found.outcome
    # The part of seeds is drawn from a Student t: an interval that ends at the margin may end beside it.
    assert found.settled == pytest.approx(same / DRAWS, abs=0.06)


def test_an_effect_of_drawn_seeds_is_that_of_these_seeds():
    loses = [0.0, 0.02, 0.03, 0.10, 0.05]
    again = compared(loses, draws=4000)[0].contrasts[0].outcome.again
    assert len(again) == DRAWS
    for at in (0, 7, 199):
        alone = compared(loses, picks(5)[at], redraws=False, draws=4000)[0].contrasts[0].outcome.effect
        assert again[at][:3] == pytest.approx(alone[:3])
        assert again[at][8] == pytest.approx(alone.se, rel=0.1)


def test_where_nothing_was_drawn_nothing_is_said():
    one = judged([0.3])
    assert one.settled is None
    assert phrasing.outcome(one) == one.outcome
    assert phrasing.grounds(one) == one.reason
    nothing = replace(WORSE, expect=[])
    inquiry, effects = asked(5, nothing), compared([0.3] * 5)
    first = claims.judge(nothing, inquiry, verdicts.decided(inquiry, effects), MODELS)
    assert redrawn.settled(inquiry, effects, MODELS, [first]) == (first,)


def test_draws_are_of_all_seeds_and_never_of_one_alone():
    for seeds in (2, 5, 12):
        found = picks(seeds)
        assert found.shape == (DRAWS, seeds)
        assert set(found.ravel()) == set(range(seeds))
        assert (np.ptp(found, axis=1) > 0).all()


def test_where_much_waits_models_are_summarized_on_the_way_and_sums_let_go(monkeypatch):
    # More columns than answers fit: resamples are drawn after every model, and say the same.
    ece = items.behaviour("generalization.smooth_ece")
    rng = torch.Generator().manual_seed(2)

    def said():
        confidence = torch.rand(N, generator=rng)
        correct = (torch.rand(N, generator=rng) < confidence).float()
        return [Measured(Answer({"confidence": confidence, "correct": correct}), {}, 0.0)]

    models = {name: said() for name in ("baseline", *NAMES)}

    def found():
        held = Comparison(ece, ece.configure({}), Pool(400, np.random.default_rng(1)), np.random.default_rng(0))
        most = 0
        for name, outcomes in models.items():
            held.take(name, values_of(outcomes))
            most = max(most, len(held._group.known))
        return held.against(PAIRS), held._group.times, most

    whole, times, _ = found()
    assert times == 1
    monkeypatch.setattr(shared, "_HELD", 1_000_000)
    cut, times, most = found()
    assert times > 2
    assert most <= 2
    for one, other in zip(whole, cut, strict=True):
        assert other.outcome.effect.numbers == pytest.approx(one.outcome.effect.numbers, rel=1e-9)
