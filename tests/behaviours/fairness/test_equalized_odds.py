import numpy as np
import pytest
from fairlearn.metrics import equalized_odds_difference

from whatelse.behaviours.fairness import equalized_odds
from whatelse.errors import NotMeasurableError


@pytest.mark.known_answer
def test_the_wider_gap_by_hand(answers, toy, rng):
    said, targets, style = [1, 0, 1, 1, 1, 0, 0], [1, 1, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 1, 1]
    evidence = answers(said, targets, {"style": style}, classes=2)
    answer = equalized_odds.measure(evidence, equalized_odds.Config(least=1), rng)
    assert answer["group"].tolist() == style
    assert answer["truth"].tolist() == [0, 0, -1, -1, 0, -1, -1]
    # True positives 1/2 against 1, false positives 1 against 0.
    assert equalized_odds.summarise(answer, equalized_odds.Config(), toy.ones(answer)) == pytest.approx([1])
    # A resample without the false positives of group 0, or the true ones of group 1, is not judged by the other half.
    counts = np.array([[1, 1, 0, 0, 1, 1, 1], [1, 1, 1, 1, 0, 1, 1], [1, 1, 0, 1, 1, 1, 1]])
    expected = pytest.approx([np.nan, np.nan, 1], nan_ok=True)
    assert equalized_odds.summarise(answer, equalized_odds.Config(), counts) == expected
    assert equalized_odds.by_part(answer, equalized_odds.Config(), counts)[:, 0] == expected
    assert answer.parts.names == ("class 1",)


@pytest.mark.known_answer
@pytest.mark.parametrize("seed", range(3))
def test_of_two_classes_it_is_fairlearns(drawn, toy, rng, seed):
    evidence, said, target, code = drawn(400, 2, seed=seed)
    answer = equalized_odds.measure(evidence, equalized_odds.Config(), rng)
    expected = equalized_odds_difference(target, said, sensitive_features=code)
    assert equalized_odds.summarise(answer, equalized_odds.Config(), toy.ones(answer)) == pytest.approx([expected])


@pytest.mark.known_answer
def test_of_more_classes_it_is_the_mean_of_fairlearns_one_against_the_rest(drawn, toy, rng):
    evidence, said, target, code = drawn(500, 4)
    answer = equalized_odds.measure(evidence, equalized_odds.Config(), rng)
    each = [equalized_odds_difference(target == c, said == c, sensitive_features=code) for c in range(4)]
    assert equalized_odds.by_part(answer, equalized_odds.Config(), toy.ones(answer))[0] == pytest.approx(each)
    assert equalized_odds.summarise(answer, equalized_odds.Config(), toy.ones(answer)) == pytest.approx([np.mean(each)])


def test_a_group_of_one_class_is_left_out_of_the_rate_it_has_not(answers, toy, rng):
    # Group 1 has no example of class 0, so no false positives; recall is 1/2 against 1.
    evidence = answers([1, 0, 1, 1, 1], [1, 1, 0, 1, 1], {"style": [0, 0, 0, 1, 1]}, classes=2)
    answer = equalized_odds.measure(evidence, equalized_odds.Config(least=1), rng)
    # What the sample itself lacks, no resample needs.
    counts = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 1, 1], [0, 3, 0, 1, 0]])
    assert equalized_odds.summarise(answer, equalized_odds.Config(), counts) == pytest.approx([1 / 2, 1 / 2, 1])


def test_groups_that_share_no_rate_are_refused(answers, rng):
    evidence = answers([0, 0, 1, 1], [0, 0, 1, 1], {"style": [0, 0, 1, 1]}, classes=2)
    with pytest.raises(NotMeasurableError, match="some but not all examples of two groups of style"):
        equalized_odds.measure(evidence, equalized_odds.Config(least=1), rng)
