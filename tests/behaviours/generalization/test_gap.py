import numpy as np
import pytest

from whatelse.behaviours.generalization import gap


@pytest.mark.known_answer
def test_train_is_scored_on_recorded_labels_and_test_on_the_truth(answers, votes, toy, rng):
    evidence = answers(
        votes([1, 0, 2, 1, 0, 0, 2, 1]),
        [0, 0, 2, 1, 1, 0, 2, 0],
        observed=[1, 0, 2, 2, 0, 0, 2, 1],
        members=4,
    )
    answer = gap.measure(evidence, gap.Config(), rng)
    assert answer["correct"].tolist() == [1, 1, 1, 0, 0, 1, 1, 0]
    assert answer["member"].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert gap.summarise(answer, gap.Config(), toy.ones(answer)) == pytest.approx([0.75 - 0.5])
    # 2/3 of the train records drawn, 1 of 3 of the test records.
    counts = np.array([[1, 1, 0, 1, 2, 1, 0, 0]])
    assert gap.summarise(answer, gap.Config(), counts) == pytest.approx([2 / 3 - 1 / 3])
