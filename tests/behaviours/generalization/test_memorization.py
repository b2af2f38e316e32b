import numpy as np
import pytest

from whatelse.behaviours.generalization import memorization
from whatelse.errors import NotMeasurableError

TARGETS, OBSERVED = [0, 0, 1, 2, 2, 1], [1, 0, 2, 0, 2, 0]


@pytest.mark.known_answer
def test_only_wrong_labels_count_and_only_their_repetition(answers, votes, toy, rng):
    # Wrongly labelled are rows 0, 2, 3, 5: repeated, true class said, repeated, a third class said.
    evidence = answers(votes([1, 0, 1, 0, 2, 2]), TARGETS, observed=OBSERVED)
    answer = memorization.measure(evidence, memorization.Config(), rng)
    assert answer["repeated"].tolist() == [1, 0, 1, 0]
    assert memorization.summarise(answer, memorization.Config(), toy.ones(answer)) == pytest.approx([0.5])
    assert memorization.summarise(answer, memorization.Config(), np.array([[3, 1, 0, 0]])) == pytest.approx([0.75])


def test_true_labels_cannot_be_memorized(answers, votes, rng):
    with pytest.raises(NotMeasurableError, match="needs wrong labels in train; task toy has none"):
        memorization.measure(answers(votes([0, 1]), [0, 1]), memorization.Config(), rng)
