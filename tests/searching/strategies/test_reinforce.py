import math

import pytest
import torch

from tests.searching import small
from whatelse.searching.protocol import Score
from whatelse.searching.space import DEPTH, WIDTH, Axis
from whatelse.searching.strategies import reinforce


def start(given, seed=1, **settings):
    return reinforce.start(given, reinforce.Config(**settings), torch.Generator().manual_seed(seed))


@pytest.mark.known_answer
@pytest.mark.parametrize(
    ("accuracy", "teacher", "share", "gained"),
    [
        (0.9, 0.9, 0.25, 0.9375),  # C = 3/4: C (2 - C) = 15/16
        (0.45, 0.9, 0.5, 0.375),  # half of the accuracy, C (2 - C) = 3/4
        (0.0, 0.9, 0.1, 0.0),
        (0.9, 0.9, 0.0, 1.0),
        (0.9, 0.9, 1.0, -1.0),  # no compression
        (0.9, 0.9, 1.2, -1.0),
    ],
)
def test_the_reward_is_the_closed_form(accuracy, teacher, share, gained):
    assert reinforce._gain(accuracy, teacher, share) == pytest.approx(gained)


@pytest.mark.known_answer
@pytest.mark.parametrize(
    ("updates", "gained"),
    [(0, 0.6), (15, -1.0), (30, -1.0), (5, ((2 / 3) ** 4 - 1) + (2 / 3) ** 4 * 0.6), (3, 0.8**4 * 1.6 - 1)],
)
def test_what_exceeds_a_budget_is_annealed_from_the_plain_reward_to_minus_one(updates, gained):
    assert reinforce._annealed(0.6, updates) == pytest.approx(gained)


@pytest.mark.known_answer
def test_what_it_is_told_becomes_the_reward_of_the_paper():
    given = small.problem(small.AXES[1:])
    search = start(given, rollouts=100)
    scores = given.model(given.task.test.inputs).roll(1, 0)
    right = [float((s.argmax(1) == given.task.test.targets).double().mean()) for s in (scores, scores.roll(-1, 0))]
    kept, broken, failed = search.ask(), search.ask(), search.ask()
    search.tell(failed, Score(math.inf, why="it failed"))
    search.tell(broken, Score(0.5, {"accuracy": 0.1}, scores))
    search.tell(kept, Score(0.4, {"accuracy": 0.0}, scores))
    plain = [right[0] / right[1] * c * (2 - c) for c in (0.5, 0.6)]
    assert [gain for _, gain in search.stage.told] == pytest.approx([-1.0, plain[0], plain[1]])
    search.stage.updates = 15
    assert search._reward(broken, search.stage) == pytest.approx(-1.0)
    assert search._reward(kept, search.stage) == pytest.approx(plain[1])


@pytest.mark.known_answer
def test_an_update_is_the_gradient_of_reinforce_against_the_moving_average():
    given = small.problem()
    search = start(given, rollouts=2, rate=0.0, memory=0.75)
    stage = search._begun(search.rest, both=False)
    drawn = [stage.draw(), stage.draw()]
    for chosen, gain in zip(drawn, (0.8, 0.2), strict=True):
        stage.note(chosen, gain)
    assert stage.average == pytest.approx(0.5)  # of the first rewards
    mine = [p.grad.clone() for p in stage.policy.parameters()]
    stage.policy.zero_grad()
    loss = -sum(gain * stage._log_chance(chosen) for chosen, gain in zip(drawn, (0.3, -0.3), strict=True)) / 2
    loss.backward()
    assert all(torch.allclose(p.grad, g, atol=1e-7) for p, g in zip(stage.policy.parameters(), mine, strict=True))
    for chosen in drawn:
        stage.note(chosen, 0.9)
    assert stage.average == pytest.approx(0.75 * 0.5 + 0.25 * 0.9)
    assert stage.updates == 2


@pytest.mark.known_answer
@pytest.mark.parametrize("both", [True, False])
@torch.no_grad()
def test_draws_come_with_the_chances_that_the_policy_says(both):
    given = small.problem()
    search = start(given)
    stage = search._begun([0, 1] if both else [1, 3], both=both)
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(600):
        drawn = tuple(stage.draw())
        counts[drawn] = counts.get(drawn, 0) + 1
    sizes = [len(given.space.axes[at].options) for at in stage.axes]
    assert all(at < size for drawn in counts for at, size in zip(drawn, sizes, strict=True))
    total = 0.0
    for first in range(sizes[0]):
        for second in range(sizes[1]):
            chance = math.exp(float(stage._log_chance([first, second]).detach()))
            total += chance
            # Within four binomial standard deviations.
            expected, spread = 600 * chance, (600 * chance * (1 - chance)) ** 0.5
            assert abs(counts.get((first, second), 0) - expected) < 4 * spread
    assert total == pytest.approx(1, abs=1e-5)


def test_first_layers_go_then_what_is_left_shrinks_from_the_best_of_them():
    axes = (Axis(DEPTH, "2", ("", "drop")), *(Axis(WIDTH, name, small.SHARES) for name in ("0", "2")))
    given = small.problem(axes, trials=10)
    asked = small.run(given, start(given), most=10)
    assert asked[0] == (1, 0, 0)  # of the first stage there is this one alone
    gained = small.scored(given, asked[0])
    right = float((gained.scores.argmax(1) == given.task.test.targets).double().mean())
    base = 1 if gained.feasible and right > 0 else asked[1][0]
    search = start(given)
    assert "taken out before shrinkage: nothing; best reward inside budgets nan" in search.remarks()
    assert {tried[0] for tried in asked[1:]} == {base}
    assert len(set(asked)) == len(asked)


def test_the_same_seed_proposes_the_same_and_the_end_comes():
    given = small.problem(trials=100)
    one, two, other = (small.run(given, start(given, seed, misses=60), most=20) for seed in (1, 1, 2))
    assert one == two
    assert one != other
    little = small.problem((Axis(WIDTH, "0", small.SHARES),), trials=100)
    search = start(little)
    assert sorted(small.run(little, search)) == [(1,), (2,), (3,)]
    assert search.ask() is None
    only = small.problem((Axis(DEPTH, "2", ("", "drop")),), trials=100)
    assert small.run(only, start(only)) == [(1,)]


def test_it_learns_what_is_rewarded():
    given = small.problem((Axis(WIDTH, "0", small.SHARES), Axis(WIDTH, "2", small.SHARES)))
    stage = start(given, rate=0.05)._begun([0, 1], both=False)
    before = math.exp(float(stage._log_chance([3, 3]).detach()))
    for _ in range(200):
        chosen = stage.draw()
        stage.note(chosen, sum(chosen) / 6)
    assert math.exp(float(stage._log_chance([3, 3]).detach())) > max(0.5, 2 * before)
