import numpy as np
import pytest
import torch

from tests.searching import small
from whatelse.searching.space import LAYER, WHOLE, WIDTH, Axis
from whatelse.searching.strategies import evolve

FEW = {"generations": 2, "warmup": 1, "sampled": 2}


def start(given, seed=1, **settings):
    return evolve.start(given, evolve.Config(**{**FEW, **settings}), torch.Generator().manual_seed(seed))


def test_the_same_seed_proposes_the_same_and_nothing_twice():
    given = small.problem(then="train.finetune(epochs=1)")
    one, two, other = (small.run(given, start(given, seed), most=12) for seed in (1, 1, 2))
    assert one == two
    assert one != other
    assert len(set(one)) == len(one) == 12


@pytest.mark.known_answer
def test_it_says_how_far_inherited_weights_rank_as_measured_ones_do():
    given = small.problem(trials=8)
    search = start(given)
    assert search.remarks() == ()
    small.run(given, search, most=8)
    # Nothing trains here, so that predictions are exact.
    assert search.remarks() == ("Kendall's tau of harm with inherited weights and as measured, 8 models: 1.00",)


def test_a_small_space_is_gone_through_and_then_it_has_no_more():
    axes = (Axis(WIDTH, "0", small.SHARES), Axis(LAYER, "4", ("", "prune.magnitude(sparsity=0.5)")))
    given = small.problem(axes, trials=100)
    search = start(given)
    assert len(small.run(given, search)) == 8
    assert search.ask() is None


def test_those_predicted_to_keep_the_budget_come_first_the_smallest_of_them_first():
    given = small.problem(trials=16)
    asked = small.run(given, start(given), most=16)
    scores = [small.scored(given, tried) for tried in asked]
    keeps = [score.over["accuracy"] <= 0 for score in scores]  # nothing trains: predictions are exact
    assert keeps == sorted(keeps, reverse=True)
    assert any(keeps)
    small_first = [score.value for score, kept in zip(scores, keeps, strict=True) if kept]
    assert small_first == sorted(small_first)


@pytest.mark.slow
def test_it_finds_smaller_ones_than_chance_does_at_equal_trials():
    given = small.problem(trials=10)
    best = []
    for seed in range(3):
        scores = [small.scored(given, t) for t in small.run(given, start(given, seed, generations=6), most=10)]
        best.append(min(score.value for score in scores if score.feasible))
    rng = torch.Generator().manual_seed(0)
    by_chance = []
    for _ in range(10):
        drawn = [
            tuple(int(torch.randint(len(a.options), (), generator=rng)) for a in given.space.axes) for _ in range(10)
        ]
        kept = [score.value for score in (small.scored(given, t) for t in drawn) if score.feasible]
        by_chance.append(min(kept, default=1.0))
    assert np.mean(best) < np.mean(by_chance)


def test_options_that_train_are_not_proposed_and_groups_that_cannot_be_cut_stay():
    axes = (
        Axis(WHOLE, "", ("", "train.finetune(epochs=1)", "prune.magnitude(sparsity=0.3)")),
        Axis(WIDTH, "4", ("", "0.5")),  # the outputs
        Axis(WIDTH, "0", small.SHARES),
    )
    given = small.problem(axes, trials=40)
    asked = small.run(given, start(given))
    assert {tried[0] for tried in asked} == {0, 2}
    assert {tried[1] for tried in asked} == {0}


def test_a_judge_that_sees_nothing_is_replaced_by_the_error():
    given = small.problem()
    given.judge.seen = np.array([False])
    search = start(given)
    scores = given.model(given.task.test.inputs)
    right = (scores.argmax(1) == given.task.test.targets).double().mean()
    assert search._judged([scores]) == [float(1 - right)]
    assert search.ask() is not None


def test_nothing_is_trained_where_nothing_trains_what_is_measured():
    given = small.problem()
    search = start(given)
    search.ask()
    assert all(torch.equal(a, b) for a, b in zip(search.net.net.parameters(), given.model.parameters(), strict=True))
    trained = start(small.problem(then="train.finetune(epochs=1)"))
    trained.ask()
    assert not torch.equal(trained.net.net[0].weight, given.model[0].weight)
