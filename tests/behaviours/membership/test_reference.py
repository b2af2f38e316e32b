import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from whatelse.behaviours.membership import loss, reference
from whatelse.errors import NotMeasurableError


def slow(recorded, scores, shadows, inside, a, gamma, *, online=False):
    """RMIA for each record by two loops, from equations 2 and 10 of the paper; online by the mean of in and out."""
    probability = torch.softmax(torch.as_tensor(scores).double(), -1)
    others = torch.softmax(torch.as_tensor(shadows).double(), -1)
    count = len(recorded)

    def likelihood_ratio(x):
        out = [float(others[k, x, recorded[x]]) for k in range(len(inside)) if not inside[k, x]]
        p_out, p_bar = np.mean(out), 0.5 * ((1 + a) * np.mean(out) + (1 - a))
        if online:
            p_bar = (
                p_out + np.mean([float(others[k, x, recorded[x]]) for k in range(len(inside)) if inside[k, x]])
            ) / 2
        return float(probability[x, recorded[x]]) / p_bar

    found = []
    for x in range(count):
        population = [z for z in range(count // 2, count) if z != x]
        found.append(np.mean([likelihood_ratio(x) / likelihood_ratio(z) >= gamma for z in population]))
    return found


@pytest.mark.known_answer
@pytest.mark.parametrize(("a", "gamma"), [(0.3, 1.0), (0.0, 1.0), (1.0, 1.5)])
def test_it_is_the_papers_double_loop(records, drawn, tempered, toy, rng, a, gamma):
    recorded, scores, shadows, inside = drawn
    evidence = records(scores, recorded, shadows, inside)
    answer = reference.measure(evidence, reference.Config(a=a, gamma=gamma), rng)
    expected = slow(recorded, *tempered(recorded, scores, shadows, inside), inside, a, gamma)
    assert answer.columns["score"].tolist() == pytest.approx(expected)
    assert answer.columns["member"].tolist() == [1.0] * 20 + [0.0] * 20
    area = reference.summarise(answer, reference.Config(), toy.ones(answer))
    assert area == pytest.approx([roc_auc_score(answer.columns["member"], expected)])
    assert area > 0.6
    assert answer.notes[0] == "6 shadow models, 20 members, 20 others"
    assert answer.notes[1].startswith("the share found at few false alarms is refused at 1 % below 1,000")
    points = reference.by_part(answer, reference.Config(), toy.ones(answer))[0]
    alarms, found, _ = roc_curve(answer.columns["member"], expected)
    assert points == pytest.approx([np.nan, np.nan, 0.5 + (found - alarms).max() / 2], nan_ok=True)
    assert len(answer.parts.names) == 3


@pytest.mark.known_answer
@pytest.mark.parametrize("gamma", [1.0, 1.5])
def test_online_the_models_that_had_the_record_count_too(records, drawn, tempered, rng, gamma):
    recorded, scores, shadows, inside = drawn
    evidence = records(scores, recorded, shadows, inside)
    answer = reference.measure(evidence, reference.Config(mode="online", gamma=gamma), rng)
    expected = slow(recorded, *tempered(recorded, scores, shadows, inside), inside, 0.3, gamma, online=True)
    assert answer.columns["score"].tolist() == pytest.approx(expected)


@pytest.mark.known_answer
def test_it_is_not_misled_by_how_hard_a_record_is(shifted, toy, rng):
    """The ratio takes a hardness of three sigmas away, which a plain threshold drowns in: Phi(2 / sqrt 20) = .67."""
    evidence = shifted(2.0, 3.0, members=300)
    answer = reference.measure(evidence, reference.Config(mode="online"), rng)
    plain = loss.measure(evidence, loss.Config(), rng)
    assert loss.summarise(plain, loss.Config(), toy.ones(plain)) == pytest.approx([norm.cdf(2 / 20**0.5)], abs=0.03)
    # The ideal is Phi(2 / sqrt 2) = .921; probabilities near zero and one hide some of it.
    assert 0.80 < reference.summarise(answer, reference.Config(), toy.ones(answer))[0] < 0.93


@pytest.mark.known_answer
def test_two_members_and_two_others_by_hand(records, rng):
    # p = .9 .6 | .5 .2 and p_out = .5 throughout, so that ratios rank as p does.
    odds = torch.tensor([0.9, 0.6, 0.5, 0.2]).logit()
    scores = torch.stack([odds, torch.zeros(4)], 1)
    evidence = records(scores, [0, 0, 0, 0], torch.zeros(2, 4, 2), [[True, False] * 2, [False, True] * 2])
    answer = reference.measure(evidence, reference.Config(), rng)
    # The others: .5 beats .2 and .2 beats nothing; neither is compared with itself.
    assert answer.matrix().tolist() == [[1, 1], [1, 1], [1, 0], [0, 0]]


@pytest.mark.known_answer
def test_resamples_are_weighted_as_scikit_learn_weighs(records, drawn, rng):
    recorded, scores, shadows, inside = drawn
    answer = reference.measure(records(scores, recorded, shadows, inside), reference.Config(), rng)
    counts = np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40), size=20).astype(np.float32)
    expected = [roc_auc_score(answer.columns["member"], answer.columns["score"], sample_weight=c) for c in counts]
    assert reference.summarise(answer, reference.Config(), counts) == pytest.approx(expected)


def test_a_shadow_that_had_the_record_does_not_count(records, drawn, rng):
    recorded, scores, shadows, inside = drawn
    other = torch.where(inside[..., None], 100 * torch.randn(shadows.shape, generator=rng), shadows)
    found = [reference.measure(records(scores, recorded, s, inside), reference.Config(), rng) for s in (shadows, other)]
    assert torch.equal(*(answer.columns["score"] for answer in found))


def test_logits_too_large_for_a_probability_still_rank(records, rng):
    scores = torch.tensor([[900.0, 0], [800, 0], [-800, 0], [-900, 0]])
    evidence = records(scores, [0, 0, 0, 0], torch.zeros(2, 4, 2), [[True, False] * 2, [False, True] * 2])
    answer = reference.measure(evidence, reference.Config(), rng)
    assert answer.columns["score"].tolist() == [1, 1, 1, 0]


def test_what_is_missing_is_said(records, drawn, rng):
    recorded, scores, shadows, inside = drawn
    with pytest.raises(NotMeasurableError, match="there are none"):
        reference.measure(records(scores, recorded), reference.Config(), rng)
    inside = inside.clone()
    inside[:, 3] = True
    with pytest.raises(NotMeasurableError, match="1 are inside all"):
        reference.measure(records(scores, recorded, shadows, inside), reference.Config(), rng)
    inside[:, 3] = False
    with pytest.raises(NotMeasurableError, match="inside 1 shadow models or more of 6; 1 are inside fewer"):
        reference.measure(records(scores, recorded, shadows, inside), reference.Config(mode="online"), rng)
    with pytest.raises(NotMeasurableError, match="they have 15 records"):
        reference.measure(records(scores, recorded, shadows[:, :15], inside[:, :15] & False), reference.Config(), rng)
