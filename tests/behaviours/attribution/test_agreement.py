import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from whatelse.behaviours.attribution import agreement


def linear(weight):
    """Two classes with logits ``-w x / 2`` and ``w x / 2``: the margin of class 1 is ``w x``, its gradient ``w``."""
    weight = torch.as_tensor(weight, dtype=torch.float32)
    model = torch.nn.Linear(len(weight), 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.stack([-weight / 2, weight / 2]))
    return model


@pytest.fixture
def pair(toy):
    def make(before, after, inputs):
        inputs = torch.as_tensor(inputs, dtype=torch.float32)
        task = toy.task_of(inputs, torch.arange(len(inputs)) % 2)
        baseline = toy.evidence_of(before, task)
        return baseline, toy.evidence_of(after, task, reference=baseline)

    return make


def numbers(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.known_answer
def test_spearman_is_scipys_on_the_features_that_say_something(pair, rng):
    inputs = np.round(numbers(0, 12, 9), 1) * (numbers(1, 12, 9) > -0.5)  # zeros, as blank pixels are
    before, after = np.round(numbers(2, 9)), np.round(numbers(3, 9))  # ties, and zeros of each model alone
    baseline, candidate = pair(linear(before), linear(after), inputs)
    values = agreement.compare(baseline, candidate, agreement.Config(), rng)
    x = inputs.astype(np.float32)
    maps = [(np.abs(row * before), np.abs(row * after)) for row in x]
    expected = [spearmanr(a[(a > 0) | (b > 0)], b[(a > 0) | (b > 0)]).statistic for a, b in maps]
    assert values.tolist() == pytest.approx(expected, abs=1e-6)
    assert agreement.summarise(values.numpy(), np.ones((1, 12))) == pytest.approx([np.mean(expected)], abs=1e-6)


@pytest.mark.known_answer
def test_cosine_is_signed_and_both_explain_the_baselines_class(pair, rng):
    before, after = numbers(2, 6), numbers(3, 6)
    inputs = numbers(0, 5, 6)
    config = agreement.Config(score="cosine")
    values = agreement.compare(*pair(linear(before), linear(after), inputs), config, rng)
    expected = []
    for row in inputs:
        a, b = row * before, row * after
        expected.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert values.tolist() == pytest.approx(expected, abs=1e-5)
    # The opposite model predicts the other class; explaining that one would give +1.
    values = agreement.compare(*pair(linear(before), linear(-before), inputs), config, rng)
    assert values.tolist() == pytest.approx([-1] * 5, abs=1e-5)


@pytest.mark.known_answer
def test_top_is_the_overlap_of_the_highest_tenth(pair, rng):
    before, after = np.arange(1, 21), np.arange(1, 21)
    after[[0, 18]] = after[[18, 0]]  # of the two highest of 20 one is replaced
    values = agreement.compare(
        *pair(linear(before), linear(after), np.ones((3, 20))), agreement.Config(score="top"), rng
    )
    assert values.tolist() == pytest.approx([1 / 3] * 3)


def test_ties_at_the_edge_of_the_top_all_belong_to_it(pair, rng):
    before, after = np.ones(10), np.ones(10)
    after[:5] = 2  # top of the baseline: all ten; of the candidate: the five
    values = agreement.compare(
        *pair(linear(before), linear(after), np.ones((2, 10))), agreement.Config(score="top"), rng
    )
    assert values.tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(("score", "worst"), [("spearman", -1), ("cosine", -1), ("top", 0)])
def test_a_map_that_says_nothing_is_worst_and_counted(pair, rng, score, worst):
    inputs = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [2.0, 1.0, 3.0]])
    baseline, candidate = pair(linear([1, 2, 3]), linear([1, 2, 4]), inputs)
    values = agreement.compare(baseline, candidate, agreement.Config(score=score), rng)
    assert values[1] == worst
    assert bool((values[[0, 2]] > worst).all())
    assert candidate.notes[0] == "1 of 3 maps are all zero or not finite: scored as worst"


def test_a_gradient_that_is_not_a_number_is_worst(pair, rng):
    baseline, candidate = pair(linear([1, 2]), linear([1, 2]), np.ones((2, 2)))
    candidate.margin_gradient("test")[0, 0] = float("nan")
    values = agreement.compare(baseline, candidate, agreement.Config(), rng)
    assert values[0] == -1
    assert candidate.notes == ["1 of 2 maps are all zero or not finite: scored as worst"]


def test_permuted_hidden_units_agree_fully(pair, rng):
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    other = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    order = torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
    for p in net.parameters():
        torch.nn.init.normal_(p, generator=rng)
    with torch.no_grad():
        other[1].weight.copy_(net[1].weight[order])
        other[1].bias.copy_(net[1].bias[order])
        other[3].weight.copy_(net[3].weight[:, order])
        other[3].bias.copy_(net[3].bias)
    baseline, candidate = pair(net, other, numbers(0, 10, 3, 2, 2))
    for score in ("spearman", "cosine", "top"):
        values = agreement.compare(baseline, candidate, agreement.Config(score=score), rng)
        assert values.tolist() == pytest.approx([1] * 10, abs=1e-5)
