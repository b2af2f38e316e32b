import numpy as np
import pytest

from whatelse.behaviours.fairness import flip_share

TARGETS = [0, 1, 2, 0, 1, 2, 0, 1]
BEFORE = [0, 1, 2, 0, 1, 0, 0, 1]  # row 5 is wrong already and cannot be harmed
AFTER = [0, 0, 2, 1, 2, 1, 0, 1]
STYLE = [0, 0, 0, 1, 1, 1, 2, 2]


@pytest.mark.known_answer
def test_the_harm_of_the_worst_hit_group_by_hand(answers, toy, rng):
    baseline, candidate = (answers(said, TARGETS, {"style": STYLE}) for said in (BEFORE, AFTER))
    values = flip_share.compare(baseline, candidate, flip_share.Config(least=1), rng)
    assert values[:, 0].tolist() == [0, 1, 0, 1, 1, 0, 0, 0]
    assert values[:, 1].tolist() == STYLE
    assert flip_share.summarise(values.numpy(), toy.ones(values)) == pytest.approx([2 / 3 - 3 / 8])
    # Group 0 hit hardest in this resample: 2 of 3 against 3 of 8.
    counts = np.array([[1, 2, 0, 1, 0, 2, 1, 1]])
    assert flip_share.summarise(values.numpy(), counts) == pytest.approx([2 / 3 - 3 / 8])
    assert candidate.notes == ["harmed: style 0 1 of 3, style 1 2 of 3, style 2 0 of 2"]


def test_a_small_group_stays_in_the_overall_share(answers, toy, rng):
    baseline, candidate = (answers(said, TARGETS, {"style": STYLE}) for said in (BEFORE, AFTER))
    values = flip_share.compare(baseline, candidate, flip_share.Config(least=3), rng)
    assert values[:, 1].tolist() == [0, 0, 0, 1, 1, 1, -1, -1]
    assert flip_share.summarise(values.numpy(), toy.ones(values)) == pytest.approx([2 / 3 - 3 / 8])


def test_even_harm_is_no_excess(answers, toy, rng):
    baseline = answers([0, 1, 0, 1], [0, 1, 0, 1], {"style": [0, 0, 1, 1]})
    candidate = answers([1, 1, 1, 1], [0, 1, 0, 1], {"style": [0, 0, 1, 1]})
    values = flip_share.compare(baseline, candidate, flip_share.Config(least=1), rng)
    assert flip_share.summarise(values.numpy(), toy.ones(values)) == pytest.approx([0])
