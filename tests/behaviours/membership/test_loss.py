import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy, norm
from sklearn.metrics import roc_auc_score

from whatelse.behaviours.membership import loss


@pytest.mark.known_answer
def test_it_ranks_as_the_cross_entropy_of_the_recorded_label_at_the_models_temperature(
    records, drawn, tempered, toy, rng
):
    recorded, scores, _, _ = drawn
    evidence = records(scores, recorded)
    answer = loss.measure(evidence, loss.Config(), rng)
    expected = -torch.nn.functional.cross_entropy(tempered(recorded, scores), recorded, reduction="none")
    assert torch.allclose(torch.nn.functional.logsigmoid(answer.columns["score"]), expected, atol=1e-6)
    assert answer.columns["member"].tolist() == [1.0] * 20 + [0.0] * 20
    area = roc_auc_score(answer.columns["member"], expected)
    assert loss.summarise(answer, loss.Config(), toy.ones(answer)) == pytest.approx([area])
    assert answer.notes[0] == "lower bound: a threshold on the loss, without references"
    assert answer.parts.names[-1] == "balanced accuracy"


@pytest.mark.known_answer
@pytest.mark.parametrize("shift", [0.0, 0.5, 1.5])
def test_gaussian_log_odds_shifted_by_mu_give_phi_of_mu_over_root_two(records, toy, rng, shift):
    count = 500
    at = torch.as_tensor(norm.ppf((np.arange(count) + 0.5) / count)).float()
    # Two classes: the score of class 0 is the log-odds, at the quantiles of a normal, with no chance left.
    odds = torch.cat([at + shift, at])
    answer = loss.measure(records(torch.stack([odds, 0 * odds], 1), [0] * 2 * count), loss.Config(), rng)
    found = loss.summarise(answer, loss.Config(), toy.ones(answer))
    # The quantiles of 500 points leave out the tails: 1 in 1000.
    assert found == pytest.approx([norm.cdf(shift / math.sqrt(2))], abs=2e-3)


def test_losses_too_small_for_a_probability_still_rank(records, toy, rng):
    odds = torch.tensor([50.0, 60, 40, 30])
    answer = loss.measure(records(torch.stack([odds, 0 * odds], 1), [0] * 4), loss.Config(), rng)
    assert loss.summarise(answer, loss.Config(), toy.ones(answer)) == pytest.approx([1])


def test_non_members_are_as_many_as_there_are(records, rng):
    scores = torch.zeros(10, 2)
    assert len(loss.measure(records(scores, [0] * 10, members=3), loss.Config(), rng)) == 6
    assert len(loss.measure(records(scores, [0] * 10, members=8), loss.Config(), rng)) == 10


def slow(chances, recorded, signal):
    """The scores from the definitions by loops; the modified entropy from equation 8 of Song & Mittal."""
    found = []
    for p, y in zip(chances, recorded, strict=True):
        if signal == "confidence":
            found.append(math.log(max(p) / (1 - max(p))))
        elif signal == "entropy":
            found.append(-float(entropy(p)))
        else:
            others = [q * math.log(1 - q) for i, q in enumerate(p) if i != y]
            found.append((1 - p[y]) * math.log(p[y]) + sum(others))
    return found


@pytest.mark.known_answer
@pytest.mark.parametrize("signal", ["confidence", "entropy", "modified entropy"])
def test_signals_are_their_definitions(records, drawn, tempered, rng, signal):
    recorded, scores, _, _ = drawn
    evidence = records(scores, recorded)
    answer = loss.measure(evidence, loss.Config(signal=signal), rng)
    expected = slow(tempered(recorded, scores).softmax(1).tolist(), recorded.tolist(), signal)
    assert answer.columns["score"].tolist() == pytest.approx(expected, rel=1e-5)
    assert answer.notes[0] == f"lower bound: a threshold on the {signal}, without references"


@pytest.mark.known_answer
@pytest.mark.parametrize("signal", ["loss", "confidence", "entropy", "modified entropy"])
def test_the_surest_still_rank_and_classes_of_no_chance_are_numbers(records, toy, rng, signal):
    odds = torch.tensor([50.0, 60, 40, 30])
    scores = torch.stack([odds, 0 * odds, torch.full((4,), -torch.inf)], 1)
    answer = loss.measure(records(scores, [0] * 4), loss.Config(signal=signal), rng)
    assert np.isfinite(answer.matrix()).all()
    assert loss.summarise(answer, loss.Config(), toy.ones(answer)) == pytest.approx([1])


@pytest.mark.known_answer
def test_being_sure_of_another_label_counts_for_membership_only_without_the_label(records, rng):
    scores = torch.tensor([[9.0, 0], [0, 9], [1, 0], [0, 1]])
    evidence = records(scores, [0] * 4)
    ranks = {
        signal: loss.measure(evidence, loss.Config(signal=signal), rng)
        .columns["score"]
        .argsort(descending=True)
        .tolist()
        for signal in ("loss", "entropy", "modified entropy")
    }
    assert ranks["loss"] == ranks["modified entropy"] == [0, 2, 3, 1]
    assert set(ranks["entropy"][:2]) == {0, 1}


@pytest.mark.known_answer
def test_operating_points_of_a_shifted_normal(shifted, toy, rng):
    evidence = shifted(2.0, 0.0)
    answer = loss.measure(evidence, loss.Config(), rng)
    (found,) = loss.by_part(answer, loss.Config(), toy.ones(answer))
    # Of 1,000 others ten lie above the highest 1 %; the best threshold lies half way.
    expected = [norm.cdf(2 - norm.ppf(0.99)), np.nan, norm.cdf(1)]
    assert found == pytest.approx(expected, abs=2e-2, nan_ok=True)
    assert any("of 1000 members, 95 % Clopper-Pearson interval" in note for note in answer.notes)
