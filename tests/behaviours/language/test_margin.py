import pytest

from whatelse.behaviours.language import margin


@pytest.mark.known_answer
def test_it_is_how_far_the_right_choice_lies_above_the_best_wrong_one(said, ones, rng):
    evidence = said([[-1.0, -3.0, -2.5], [-4.0, -3.0, -1.0], [-2.0, -2.0, -float("inf")]], [0, 1, 1])
    answer = margin.measure(evidence, margin.Config(), rng)
    assert answer["margin"].tolist() == [1.5, -2.0, 0.0]
    assert margin.summarise(answer, margin.Config(), ones(answer)) == pytest.approx([-0.5 / 3])
