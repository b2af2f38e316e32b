import math

import pytest
import torch

from whatelse import testing
from whatelse.searching.space import Axis, Space
from whatelse.testing import problems


@pytest.mark.known_answer
def test_the_baseline_spends_nothing_and_costs_all():
    problem = testing.problem()
    score = testing.scored(problem, problem.space.alone)
    assert (score.value, score.over) == (1.0, {"accuracy": -1.0, "flips": -1.0, "steadiness": -1.0})
    assert [problem.judge.over([]).shape, problem.judge.over([score.scores]).shape] == [(0, 3), (1, 3)]
    assert problem.judge.seen.tolist() == [True, True, False]


@pytest.mark.known_answer
@pytest.mark.parametrize("chosen", [(5, 0, 0), (3, 4, 1), (2, 5, 0)])
def test_parts_and_sizes_are_those_of_what_a_recipe_makes(chosen):
    problem = testing.problem()
    score, model = testing.scored(problem, chosen), testing.problem().model
    for at, option in enumerate(chosen):
        if option:
            setattr(model, problem.space.axes[at].name, problem.parts[at, option])
    test = problem.task.test
    assert torch.equal(model(test.inputs), score.scores)
    assert score.value == pytest.approx(
        1 + sum(float(sizes[o]) for sizes, o in zip(problem.sizes, chosen, strict=True))
    )
    said, now = problem.model(test.inputs).argmax(1), score.scores.argmax(1)
    assert score.over["flips"] == pytest.approx(float((said != now).float().mean()) / 0.05 - 1)
    lost = float((said == test.targets).float().mean() - (now == test.targets).float().mean())
    assert score.over["accuracy"] == pytest.approx(lost / 0.02 - 1, abs=1e-5)


def test_some_configurations_keep_all_budgets_and_some_break_each():
    problem = testing.problem()
    scores = [testing.scored(problem, (a, b, 0)) for a in range(6) for b in range(6)]
    assert 5 < sum(score.feasible for score in scores) < 31
    for name in problem.judge.names:
        assert any(score.over[name] > 0 for score in scores), name


def test_what_cannot_be_made_is_told_as_a_failure():
    packs = Axis("whole", "", ("", "quantize.uniform()"))
    problem = testing.problem(Space((packs, Axis("layer", "linear", problems.OPTIONS[:3]))))
    score = testing.scored(problem, (1, 2))
    assert math.isinf(score.value)
    assert score.why
    assert score.scores is None
