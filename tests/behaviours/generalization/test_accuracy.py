import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from whatelse.behaviours.generalization import accuracy


@pytest.mark.known_answer
def test_each_example_is_right_or_wrong(answers, votes, toy, rng):
    evidence = answers(votes([0, 1, 2, 2, 1]), [0, 0, 2, 2, 0])
    answer = accuracy.measure(evidence, accuracy.Config(), rng)
    assert answer["correct"].tolist() == [1, 0, 1, 1, 0]
    assert accuracy.summarise(answer, accuracy.Config(), toy.ones(answer)) == pytest.approx([0.6])


@pytest.mark.known_answer
def test_a_resample_is_the_accuracy_of_the_repeated_examples(answers, votes, rng):
    targets, said = np.array([0, 0, 2, 2, 0]), np.array([0, 1, 2, 1, 1])
    answer = accuracy.measure(answers(votes(said), targets), accuracy.Config(), rng)
    counts = np.array([[3, 0, 1, 1, 0], [0, 1, 0, 0, 4]])
    slow = [accuracy_score(np.repeat(targets, c), np.repeat(said, c)) for c in counts]
    assert accuracy.summarise(answer, accuracy.Config(), counts) == pytest.approx(slow)


def test_the_truth_counts_not_the_recorded_label(answers, votes, rng):
    evidence = answers(votes([0, 1]), [0, 1], observed=[1, 0])
    assert accuracy.measure(evidence, accuracy.Config(), rng)["correct"].tolist() == [1, 1]


def test_a_baseline_that_answers_blindly_is_noted_and_nothing_is_left_on_its_evidence(answers, votes, rng):
    evidence = answers(votes([0] * 8), [0, 1] * 4)
    answer = accuracy.measure(evidence, accuracy.Config(), rng)
    told = "the baseline is not shown to be better than chance: right on 0.500, its answers dealt out blindly would be"
    assert [note.startswith(told) for note in answer.notes] == [True]
    assert accuracy.measure(answers(votes([0, 1] * 4), [0, 1] * 4), accuracy.Config(), rng).notes == ()
