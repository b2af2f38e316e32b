import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from whatelse.behaviours.membership import loss


@pytest.mark.known_answer
def test_it_is_the_negative_cross_entropy_of_the_recorded_label(records, drawn, toy, rng):
    recorded, scores, _, _ = drawn
    evidence = records(scores, recorded)
    values = loss.measure(evidence, loss.Config(), rng)
    expected = -torch.nn.functional.cross_entropy(scores, recorded, reduction="none")
    assert torch.allclose(values[:, 0], expected, atol=1e-6)
    assert values[:, 1].tolist() == [1.0] * 20 + [0.0] * 20
    area = roc_auc_score(values[:, 1], expected)
    assert loss.summarise(values.numpy(), toy.ones(values)) == pytest.approx([area])
    assert evidence.notes == ["lower bound: a loss threshold, without references"]


@pytest.mark.known_answer
@pytest.mark.parametrize("shift", [0.0, 0.5, 1.5])
def test_gaussian_log_odds_shifted_by_mu_give_phi_of_mu_over_root_two(records, toy, rng, shift):
    count = 500
    at = torch.as_tensor(norm.ppf((np.arange(count) + 0.5) / count)).float()
    # Two classes: the score of class 0 is the log-odds, at the quantiles of a normal, with no chance left.
    odds = torch.cat([at + shift, at])
    values = loss.measure(records(torch.stack([odds, 0 * odds], 1), [0] * 2 * count), loss.Config(), rng)
    found = loss.summarise(values.numpy(), toy.ones(values))
    # The quantiles of 500 points leave out the tails: 1 in 1000.
    assert found == pytest.approx([norm.cdf(shift / math.sqrt(2))], abs=2e-3)


def test_losses_too_small_for_a_probability_still_rank(records, toy, rng):
    odds = torch.tensor([50.0, 60, 40, 30])
    values = loss.measure(records(torch.stack([odds, 0 * odds], 1), [0] * 4), loss.Config(), rng)
    assert loss.summarise(values.numpy(), toy.ones(values)) == pytest.approx([1])


def test_non_members_are_as_many_as_there_are(records, rng):
    scores = torch.zeros(10, 2)
    assert len(loss.measure(records(scores, [0] * 10, members=3), loss.Config(), rng)) == 6
    assert len(loss.measure(records(scores, [0] * 10, members=8), loss.Config(), rng)) == 10
