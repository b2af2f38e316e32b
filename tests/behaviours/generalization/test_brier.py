import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from whatelse.behaviours.generalization import brier


@pytest.mark.known_answer
def test_it_is_the_squared_distance_of_the_chances_from_the_truth(answers, toy, rng):
    chances = np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.25, 0.25, 0.5]])
    answer = brier.measure(answers(np.log(chances), [0, 2, 1]), brier.Config(), rng)
    by_hand = [0.25 + 2 * 0.0625, 0.01 + 0.64 + 0.81, 0.0625 + 0.5625 + 0.25]
    assert answer["score"].tolist() == pytest.approx(by_hand, rel=1e-5)
    mean = brier.summarise(answer, brier.Config(), toy.ones(answer))
    assert mean == pytest.approx([brier_score_loss([0, 2, 1], chances, labels=[0, 1, 2])], rel=1e-5)


@pytest.mark.known_answer
def test_scikit_learn_agrees_on_random_chances(answers, toy, rng):
    random = np.random.default_rng(0)
    chances, targets = random.dirichlet(np.ones(5), 200), random.integers(0, 5, 200)
    answer = brier.measure(answers(np.log(chances), targets), brier.Config(), rng)
    theirs = brier_score_loss(targets, chances, labels=range(5))
    assert brier.summarise(answer, brier.Config(), toy.ones(answer)) == pytest.approx([theirs], rel=1e-5)


def test_certainty_scores_nothing_where_right_and_two_where_wrong(answers, rng):
    answer = brier.measure(answers([[1e4, 0.0], [1e4, 0.0]], [0, 1]), brier.Config(), rng)
    assert answer["score"].tolist() == [0, 2]


def test_a_resample_weighs_by_its_counts(answer_of):
    assert brier.summarise(answer_of({"score": [0, 1, 2]}), brier.Config(), np.array([[0, 1, 3]])) == pytest.approx(
        [1.75]
    )
