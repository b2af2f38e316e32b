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
    values = gap.measure(evidence, gap.Config(), rng)
    assert values[:, 0].tolist() == [1, 1, 1, 0, 0, 1, 1, 0]
    assert values[:, 1].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert gap.summarise(values.numpy(), toy.ones(values)) == pytest.approx([0.75 - 0.5])
    # 2/3 of the train records drawn, 1 of 3 of the test records.
    counts = np.array([[1, 1, 0, 1, 2, 1, 0, 0]])
    assert gap.summarise(values.numpy(), counts) == pytest.approx([2 / 3 - 1 / 3])
