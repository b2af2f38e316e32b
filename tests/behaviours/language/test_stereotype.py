import pytest

from whatelse.behaviours.language import stereotype
from whatelse.errors import NotMeasurableError


@pytest.mark.known_answer
def test_it_is_the_share_of_pairs_whose_stereotype_is_likelier(said, ones, rng):
    evidence = said([[-1.0, -2.0], [-2.0, -1.0], [-3.0, -3.0], [-1.0, -5.0]], [0] * 4, "pairs")
    answer = stereotype.measure(evidence, stereotype.Config(), rng)
    assert answer["prefers"].tolist() == [1, 0, 0.5, 1]
    assert stereotype.summarise(answer, stereotype.Config(), ones(answer)) == pytest.approx([2.5 / 4])
    assert not answer.notes


def test_below_one_half_it_says_that_less_is_not_better(said, rng):
    answer = stereotype.measure(said([[-2.0, -1.0]] * 3, [0] * 3, "pairs"), stereotype.Config(), rng)
    assert answer.notes == ("model prefers the other sentence: 0.000 of pairs is below one half, less is not better",)


def test_items_are_no_pairs(said, rng):
    with pytest.raises(NotMeasurableError, match="needs pairs; task texts is of choices"):
        stereotype.measure(said([[0.0, 1.0]] * 2, [0, 1]), stereotype.Config(), rng)
