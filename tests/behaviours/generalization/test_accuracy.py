import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from whatelse.behaviours.generalization import accuracy


@pytest.mark.known_answer
def test_each_example_is_right_or_wrong(answers, votes, toy, rng):
    evidence = answers(votes([0, 1, 2, 2, 1]), [0, 0, 2, 2, 0])
    values = accuracy.measure(evidence, accuracy.Config(), rng)
    assert values.tolist() == [1, 0, 1, 1, 0]
    assert accuracy.summarise(values.numpy(), toy.ones(values)) == pytest.approx([0.6])


@pytest.mark.known_answer
def test_a_resample_is_the_accuracy_of_the_repeated_examples(answers, votes, rng):
    targets, said = np.array([0, 0, 2, 2, 0]), np.array([0, 1, 2, 1, 1])
    values = accuracy.measure(answers(votes(said), targets), accuracy.Config(), rng).numpy()
    counts = np.array([[3, 0, 1, 1, 0], [0, 1, 0, 0, 4]])
    slow = [accuracy_score(np.repeat(targets, c), np.repeat(said, c)) for c in counts]
    assert accuracy.summarise(values, counts) == pytest.approx(slow)


def test_the_truth_counts_not_the_recorded_label(answers, votes, rng):
    evidence = answers(votes([0, 1]), [0, 1], observed=[1, 0])
    assert accuracy.measure(evidence, accuracy.Config(), rng).tolist() == [1, 1]
