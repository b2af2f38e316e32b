"""What is said of a search: checked against what a reader would work out by hand."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from tests.report.searches import make
from whatelse import testing
from whatelse.findings import search_words as said
from whatelse.findings.searched import Finalist


def told(searched):
    return dict(said.answers(searched))


@pytest.mark.known_answer
def test_a_confirmed_choice_is_told_with_its_price():
    found = told(testing.searched())
    assert found["Confirmed"] == (
        "Yes. In fixed sequence on test, from safe to small, 2 of 3 finalists passed, then one failed: a model that "
        "breaks a critical budget is confirmed with chance at most .05, over all finalists and budgets."
    )
    # accuracy uses 0.016 of 0.02 on test, the group 0.049 of 0.05
    assert (
        found["Binds"] == "accuracy by group: sex=female: on test harm +4.0 pp, at most +4.9 pp, of a budget of 5.0 pp."
    )
    # 4,000 bytes for 2,000
    assert found["Runner-up"] == "Trial 1, at 25 %, would have cost 2.0 kB more (+100 %); it is confirmed too."
    assert found["Smaller"] == (
        "Trial 3, at 10 % of the baseline (1.6 kB of 16 kB), is INCONCLUSIVE on test: accuracy is at most +2.1 pp, of "
        "2.0 pp."
    )


def test_no_more_is_claimed_than_a_go_shows():
    made = testing.searched()
    accuracy, group = made.constraints
    critical = replace(made, constraints=(accuracy, replace(group, tier="critical")))
    assert "a model that breaks a budget is confirmed with chance at most .05" in told(critical)["Confirmed"]
    chosen = replace(made.finalists[1], upper={accuracy.name: 0.01, group.name: 0.06})
    beyond = replace(made, finalists=(made.finalists[0], chosen))
    assert said.headline(beyond).startswith("Trial 2 keeps every critical budget, and is shown to exceed none, at 12 %")
    assert "at most +6.0 pp, of a budget of 5.0 pp" in told(beyond)["Binds"]


@pytest.mark.known_answer
def test_other_endings_say_what_is_missing():
    refused = testing.searched("refused")
    assert said.headline(refused) == "Nothing is confirmed: trial 1, the safest, is NO-GO on test."
    assert told(refused)["Confirmed"].startswith(
        "No. In fixed sequence on test, from safe to small, the first of 3 final"
    )
    assert set(told(refused)) == {"Confirmed", "Refused"}
    nothing = testing.searched("nothing")
    assert said.headline(nothing) == "None of 5 trials keeps every budget."
    assert told(nothing) == {
        "Nearest": "Trial 2, at 12 % of the baseline (2.0 kB of 16 kB). accuracy by group: sex=female: on select harm "
        "+3.5 pp, of a budget of 5.0 pp; aimed at the confirmation 20 % of the budget to spare."
    }
    unconfirmed = testing.searched("not confirmed")
    assert "was not confirmed" in said.headline(unconfirmed)
    assert told(unconfirmed)["Confirmed"].startswith("No. Nothing was held against test")
    assert "on select harm +4.4 pp" in told(unconfirmed)["Binds"]
    assert said.headline(replace(nothing, trials=nothing.trials[:1], nearest=0)).startswith("None of 1 trial keeps")


@pytest.mark.known_answer
def test_the_runner_up_is_the_smallest_that_may_stand_in_its_place():
    made = testing.searched("not confirmed")
    assert said.runner_up_trial(made).number == 2
    assert told(made)["Runner-up"] == (
        "Trial 2, at 12 %, would have cost 400 B more (+25 %); it is inside all budgets on select, not held against "
        "test."
    )
    # Where one is confirmed alone, one that is smaller and was not held against test is none.
    alone = replace(testing.searched(), winner=1, finalists=testing.searched("confirmed").finalists[:1])
    assert said.runner_up_trial(alone) is None
    assert told(alone)["Runner-up"] == "There is none: no other trial of this size or more keeps every budget."
    assert told(alone)["Confirmed"].split(", ")[2].startswith("all 1 finalist passed")
    assert "Smaller" not in told(alone)
    assert said.runner_up_trial(testing.searched("refused")) is None


@pytest.mark.known_answer
def test_the_front_is_what_no_point_beats():
    points = [tuple(point) for point in np.random.default_rng(1).integers(0, 12, (80, 2)).tolist()]
    slow = {(x, y) for x, y in points if not any((a <= x and b <= y) and (a, b) != (x, y) for a, b in points)}
    front = said.front(points)
    assert set(front) == slow
    assert len(front) == len(slow) > 1
    assert all(a[0] < b[0] and a[1] > b[1] for a, b in itertools.pairwise(front))
    assert said.front([]) == []


@pytest.mark.known_answer
def test_how_much_of_a_budget_is_used_up():
    (budget, _) = testing.searched().constraints
    assert said.used(budget, 0.01) == 0.5
    assert said.used(budget, None) == math.inf
    zero = replace(budget, most=0.0)
    assert (said.used(zero, 0.1), said.used(zero, -0.1), said.used(zero, 0.0)) == (math.inf, -math.inf, 1.0)
    assert said.most(replace(budget, most=-0.01)) == "−1.0 pp"
    assert said.most(replace(budget, unit="Brier score", most=0.01)) == "0.010", "the name says which score"


@pytest.mark.known_answer
def test_least_room_is_where_nothing_bounds_and_never_where_nothing_was_measured():
    made = testing.searched()
    chosen = made.finalists[1]
    accuracy, group = made.constraints
    assert said.tightest(made, chosen) == group
    assert said.tightest(made, replace(chosen, upper={group.name: 0.01})) == accuracy, "its harm has no bound"
    assert said.tightest(made, replace(chosen, harm={}, upper={accuracy.name: 0.001})) == accuracy
    assert said.tightest(made, Finalist(1, "not opened")) is None


def test_what_binds_the_choice_comes_first_and_then_what_binds_most():
    made = make()
    order = [one.name for one in said.in_order(made)]
    assert order[0] == made.trial(made.winner).binding
    bound = [trial.binding for trial in made.trials]
    counts = [bound.count(name) for name in order[1:]]
    assert counts == sorted(counts, reverse=True)
    assert sorted(order) == sorted(one.name for one in made.constraints)


def test_a_state_is_inside_over_or_failed():
    assert [said.state(trial) for trial in testing.searched().trials] == ["inside"] * 3 + ["over", "failed"]
    assert set(said.SIGNS) >= {
        said.sign(testing.searched(e)) for e in ("confirmed", "not confirmed", "refused", "nothing")
    }
