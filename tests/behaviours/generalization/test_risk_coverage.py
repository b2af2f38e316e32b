from itertools import permutations

import numpy as np
import pytest

from whatelse.behaviours.generalization import risk_coverage


def slowly(sure, wrong):
    """The mean over all orders of equals of the mean risk over coverages."""
    found = []
    for order in permutations(range(len(sure))):
        if all(sure[a] >= sure[b] for a, b in zip(order, order[1:], strict=False)):
            errors = np.cumsum(np.asarray(wrong)[list(order)])
            found.append(np.mean(errors / np.arange(1, len(sure) + 1)))
    return np.mean(found)


@pytest.fixture
def area(answer_of):
    def make(sure, wrong, counts=None, kind="area"):
        answer = answer_of({"confidence": sure, "correct": 1 - np.asarray(wrong, float)})
        counts = np.ones((1, len(sure))) if counts is None else counts
        return risk_coverage.summarise(answer, risk_coverage.Config(kind=kind), counts)

    return make


@pytest.mark.known_answer
def test_three_answers_by_hand(answers, toy, rng):
    # By confidence .9 (right), .7 (wrong), .5 (right): risks 0, 1/2, 1/3.
    chances = np.array([[0.5, 0.25, 0.25], [0.05, 0.05, 0.9], [0.7, 0.2, 0.1]])
    evidence = answers(np.log(chances), [0, 2, 1])
    answer = risk_coverage.measure(evidence, risk_coverage.Config(), rng)
    assert list(answer.columns) == ["confidence", "correct"]
    assert answer.table() == pytest.approx(np.array([[0.5, 1], [0.9, 1], [0.7, 0]]), abs=1e-6)
    assert risk_coverage.summarise(answer, risk_coverage.Config(), toy.ones(answer)) == pytest.approx(
        [(1 / 2 + 1 / 3) / 3]
    )
    excess = risk_coverage.Config(kind="excess")
    answer = risk_coverage.measure(evidence, excess, rng)
    # The best order has the error last: risks 0, 0, 1/3.
    assert risk_coverage.summarise(answer, excess, toy.ones(answer)) == pytest.approx([1 / 2 / 3])


@pytest.mark.known_answer
@pytest.mark.parametrize("sure", [[0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [0.9, 0.9, 0.7, 0.7, 0.7, 0.4], [0.5] * 6])
def test_ties_are_the_mean_over_their_orders(area, sure):
    for wrong in ([0, 1, 0, 1, 1, 0], [1, 0, 0, 0, 1, 1], [0] * 6, [1] * 6):
        found = area(sure, wrong)
        assert found == pytest.approx([slowly(sure, wrong)])


@pytest.mark.known_answer
def test_a_resample_is_the_area_of_the_repeated_examples(area):
    sure, wrong = [0.9, 0.7, 0.7, 0.4], [0, 1, 0, 1]
    counts = np.array([[2, 0, 1, 3], [1, 2, 2, 0], [0, 0, 4, 0]])
    slow = [slowly(np.repeat(sure, c), np.repeat(wrong, c)) for c in counts]
    assert area(sure, wrong, counts) == pytest.approx(slow)


def test_a_model_that_is_equally_sure_of_everything_scores_its_error_rate(area):
    wrong = (np.arange(50) % 5 == 0).astype(float)
    assert area(np.full(50, 0.3), wrong) == pytest.approx([0.2])


def test_the_best_order_has_no_excess(area):
    wrong = np.r_[np.zeros(40), np.ones(10)]
    sure = np.linspace(1, 0, 50)
    found = area(sure, wrong, kind="excess")
    assert found == pytest.approx([0], abs=1e-12)
    # Any order of no errors at all, or of nothing but errors, is the best.
    for wrong in (np.zeros(50), np.ones(50)):
        found = area(sure, wrong, kind="excess")
        assert found == pytest.approx([0], abs=1e-12)


def test_joining_neighbors_of_many_confidences_moves_the_area_little(area):
    rng = np.random.default_rng(0)
    sure = rng.random(20_000)
    wrong = (rng.random(20_000) > sure).astype(float)
    errors = wrong[np.argsort(-sure)].cumsum() / np.arange(1, 20_001)
    # Ties of 9 after rank 2,048: less than one part in 400 of what they add, and as often up as down.
    assert area(sure, wrong) == pytest.approx([errors.mean()], rel=1e-4)
