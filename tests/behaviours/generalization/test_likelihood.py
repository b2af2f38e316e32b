import math

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from whatelse.behaviours.generalization import likelihood


@pytest.mark.known_answer
def test_it_is_minus_the_log_of_the_true_class_chance(answers, toy, rng):
    chances = np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.25, 0.25, 0.5]])
    answer = likelihood.measure(answers(np.log(chances), [0, 2, 1]), likelihood.Config(), rng)
    assert answer["loss"].tolist() == pytest.approx([math.log(2), math.log(10), math.log(4)], rel=1e-5)
    mean = likelihood.summarise(answer, likelihood.Config(), toy.ones(answer))
    assert mean == pytest.approx([log_loss([0, 2, 1], chances)], rel=1e-5)


def test_huge_logits_stay_finite(answers, rng):
    evidence = answers(torch.tensor([[1e4, 0.0], [0.0, 1e4]]), [1, 0])
    answer = likelihood.measure(evidence, likelihood.Config(), rng)
    assert answer["loss"].tolist() == pytest.approx([1e4, 1e4])


def test_a_resample_weighs_by_its_counts(answer_of):
    answer = answer_of({"loss": [1, 2, 4]})
    assert likelihood.summarise(answer, likelihood.Config(), np.array([[0, 1, 3]])) == pytest.approx([3.5])
