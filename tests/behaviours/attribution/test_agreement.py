import copy

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from whatelse.behaviours.attribution import agreement
from whatelse.errors import NotMeasurableError
from whatelse.explainers import maps as _maps


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


def values_of(baseline, candidate, config, rng):
    return agreement.compare(baseline, candidate, config, rng).columns["agreement"]


def numbers(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.known_answer
def test_spearman_is_scipys_on_the_features_that_say_something(pair, rng):
    inputs = np.round(numbers(0, 12, 9), 1) * (numbers(1, 12, 9) > -0.5)  # zeros, as blank pixels are
    before, after = np.round(numbers(2, 9)), np.round(numbers(3, 9))  # ties, and zeros of each model alone
    baseline, candidate = pair(linear(before), linear(after), inputs)
    values = values_of(baseline, candidate, agreement.Config(), rng)
    x = inputs.astype(np.float32)
    maps = [(np.abs(row * before), np.abs(row * after)) for row in x]
    expected = [spearmanr(a[(a > 0) | (b > 0)], b[(a > 0) | (b > 0)]).statistic for a, b in maps]
    assert values.tolist() == pytest.approx(expected, abs=1e-6)
    few = values_of(baseline, candidate, agreement.Config(examples=5), rng)
    assert torch.equal(few, values[:5])
    answer = agreement.compare(baseline, candidate, agreement.Config(), rng)
    assert agreement.summarise(answer, agreement.Config(), np.ones((1, 12))) == pytest.approx(
        [np.mean(expected)], abs=1e-6
    )


@pytest.mark.known_answer
def test_cosine_is_signed_and_both_explain_the_baselines_class(pair, rng):
    before, after = numbers(2, 6), numbers(3, 6)
    inputs = numbers(0, 5, 6)
    config = agreement.Config(score="cosine")
    values = values_of(*pair(linear(before), linear(after), inputs), config, rng)
    expected = []
    for row in inputs:
        a, b = row * before, row * after
        expected.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert values.tolist() == pytest.approx(expected, abs=1e-5)
    # The opposite model predicts the other class; explaining that one would give +1.
    values = values_of(*pair(linear(before), linear(-before), inputs), config, rng)
    assert values.tolist() == pytest.approx([-1] * 5, abs=1e-5)


@pytest.mark.known_answer
def test_top_is_the_overlap_of_the_highest_tenth(pair, rng):
    before, after = np.arange(1, 21), np.arange(1, 21)
    after[[0, 18]] = after[[18, 0]]  # of the two highest of 20 one is replaced
    values = values_of(*pair(linear(before), linear(after), np.ones((3, 20))), agreement.Config(score="top"), rng)
    assert values.tolist() == pytest.approx([1 / 3] * 3)


def test_ties_at_the_edge_of_the_top_all_belong_to_it(pair, rng):
    before, after = np.ones(10), np.ones(10)
    after[:5] = 2  # top of the baseline: all ten; of the candidate: the five
    values = values_of(*pair(linear(before), linear(after), np.ones((2, 10))), agreement.Config(score="top"), rng)
    assert values.tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(("score", "worst"), [("spearman", -1), ("cosine", -1), ("top", 0)])
def test_a_map_that_says_nothing_is_worst_and_counted(pair, rng, score, worst):
    inputs = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [2.0, 1.0, 3.0]])
    baseline, candidate = pair(linear([1, 2, 3]), linear([1, 2, 4]), inputs)
    answer = agreement.compare(baseline, candidate, agreement.Config(score=score), rng)
    values = answer.columns["agreement"]
    assert values[1] == worst
    assert bool((values[[0, 2]] > worst).all())
    assert answer.notes[0] == "1 of 3 maps are all zero or not finite: scored as worst"
    assert answer.ends["worst"] == worst


def test_a_gradient_that_is_not_a_number_is_worst(pair, rng):
    baseline, candidate = pair(linear([1, 2]), linear([1, 2]), np.ones((2, 2)))
    candidate.margin_gradient("test")[0, 0] = float("nan")
    answer = agreement.compare(baseline, candidate, agreement.Config(), rng)
    assert answer["agreement"][0] == -1
    assert list(answer.notes) == ["1 of 2 maps are all zero or not finite: scored as worst"]


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
        values = values_of(baseline, candidate, agreement.Config(score=score), rng)
        assert values.tolist() == pytest.approx([1] * 10, abs=1e-5)


@pytest.mark.known_answer
@pytest.mark.parametrize(("score", "kept", "chance"), [("top 5", 2, 0.026), ("top 10", 4, 0.053), ("top", 4, 0.053)])
def test_top_shares_and_what_chance_gives(pair, rng, score, kept, chance):
    before, after, inputs = numbers(2, 40), numbers(3, 40), numbers(0, 6, 40)
    baseline, candidate = pair(linear(before), linear(after), inputs)
    answer = agreement.compare(baseline, candidate, agreement.Config(score=score), rng)
    expected = []
    for row in inputs:
        a, b = (set(np.argsort(-np.abs(row * w))[:kept]) for w in (before, after))
        expected.append(len(a & b) / len(a | b))
    assert answer["agreement"].tolist() == pytest.approx(expected)
    assert len(set(expected)) > 1
    assert list(answer.notes) == [f"two unrelated maps overlap by {chance} in their top {2.5 * kept:.0f} %"]


@pytest.mark.known_answer
def test_two_unrelated_maps_overlap_by_chance(pair, rng):
    baseline, candidate = pair(linear(np.ones(200)), linear(np.ones(200)), numbers(0, 400, 200))
    draw = torch.Generator().manual_seed(1)
    for evidence in (baseline, candidate):
        evidence.margin_gradient().normal_(generator=draw)
    for score, share in (("top 5", 0.05), ("top 10", 0.1)):
        config = agreement.Config(score=score, map="gradient")
        values = values_of(baseline, candidate, config, rng)
        assert float(values.mean()) == pytest.approx(share / (2 - share), abs=4 * float(values.std()) / 20)


@pytest.mark.known_answer
def test_sign_is_the_share_of_equal_signs_where_something_is_said(pair, rng):
    before, after = [1, -1, 2, 0, 0], [2, 1, 0, 0, -1]
    inputs = [[1.0, 1, 1, 1, 1], [1, 0, 0, 1, 0], [0, 1, 0, 0, 0], [0, 0, 0, 1, 0]]
    baseline, candidate = pair(linear(before), linear(after), inputs)
    values = values_of(baseline, candidate, agreement.Config(score="sign"), rng)
    # Features that say something: 0, 1, 2, 4 of which 0 agrees; 0 alone; 1 alone; none.
    assert values.tolist() == pytest.approx([1 / 4, 1, 0, 0])


def flat_nets(toy, rng, shape, n=6, noise=None):
    """Two models whose gradients are given pictures: agreement of what is put there."""
    layers = [torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(int(np.prod(shape)), 2)) for _ in range(2)]
    task = toy.task_of(torch.rand(n, *shape, generator=rng), torch.arange(n) % 2)
    baseline = toy.evidence_of(layers[0], task)
    candidate = toy.evidence_of(layers[1], task, reference=baseline)
    for evidence in (baseline, candidate):
        evidence.margin_gradient().normal_(generator=rng)
    if noise is not None:
        change = noise * candidate.margin_gradient()
        candidate.margin_gradient().copy_(baseline.margin_gradient() + change)
    return baseline, candidate


@pytest.mark.known_answer
@pytest.mark.parametrize(("shape", "factor"), [((3, 17, 20), 1), ((2, 32, 48), 2)])
def test_ssim_is_torchmetrics(toy, rng, shape, factor):
    from torchmetrics.functional.image import structural_similarity_index_measure as oracle

    baseline, candidate = flat_nets(toy, rng, shape, noise=0.5)
    values = values_of(baseline, candidate, agreement.Config(score="ssim", map="gradient"), rng)
    pictures = []
    for evidence in (baseline, candidate):
        seen = torch.nn.functional.avg_pool2d(evidence.margin_gradient().abs().sum(1, keepdim=True), factor)
        pictures.append(seen / seen.amax((2, 3), keepdim=True))
    expected = oracle(*pictures, data_range=1.0, reduction="none")
    assert values.tolist() == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.known_answer
def test_ssim_of_small_images_by_its_definition(toy, rng):
    baseline, candidate = flat_nets(toy, rng, (1, 4, 4))
    values = values_of(baseline, candidate, agreement.Config(score="ssim", map="gradient"), rng)
    bell = np.exp(-((np.arange(7) - 3) ** 2) / (2 * 1.5**2))  # 7 is the largest window that a reflection allows
    weight = np.outer(bell, bell) / bell.sum() ** 2
    expected = []
    for a, b in zip(baseline.margin_gradient(), candidate.margin_gradient(), strict=True):
        x, y = (np.pad(np.abs(m[0].numpy()) / np.abs(m.numpy()).max(), 3, "reflect") for m in (a, b))
        found = []
        for i in range(4):
            for j in range(4):
                p, q = x[i : i + 7, j : j + 7], y[i : i + 7, j : j + 7]
                mp, mq = (weight * p).sum(), (weight * q).sum()
                vp, vq = (weight * (p - mp) ** 2).sum(), (weight * (q - mq) ** 2).sum()
                both = (weight * (p - mp) * (q - mq)).sum()
                level = (2 * mp * mq + 1e-4) / (mp**2 + mq**2 + 1e-4)
                found.append(level * (2 * both + 9e-4) / (vp + vq + 9e-4))
        expected.append(np.mean(found))
    assert values.tolist() == pytest.approx(expected, abs=1e-5)


def test_ssim_needs_images(pair, rng):
    with pytest.raises(NotMeasurableError, match="ssim needs images; task toy is of table"):
        agreement.compare(*pair(linear([1, 2]), linear([1, 2]), np.ones((2, 2))), agreement.Config(score="ssim"), rng)


def network(rng, order=None):
    """A convolutional network of 6 channels and 8 hidden units, or the same with both in another order."""
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 6, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(6, 4, 3, stride=2, padding=1),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(64, 8),
        torch.nn.ReLU(),
        torch.nn.Linear(8, 3),
    )
    for p in net.parameters():
        torch.nn.init.normal_(p, 0, 0.3, generator=rng)
    return net


def permuted(net, rng):
    other = copy.deepcopy(net)
    channels, units = torch.randperm(6, generator=rng), torch.randperm(8, generator=rng)
    with torch.no_grad():
        for p, q, order in ((0, 2, channels), (5, 7, units)):
            other[p].weight.copy_(net[p].weight[order])
            other[p].bias.copy_(net[p].bias[order])
            other[q].weight.copy_(net[q].weight[:, order])
    return other


def compared(toy, before, after, config, rng):
    inputs = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(4))
    task = toy.task_of(inputs, torch.arange(40) % 3, classes=3)
    baseline = toy.evidence_of(before, task)
    return values_of(baseline, toy.evidence_of(after, task, reference=baseline), config, rng)


@pytest.mark.known_answer
@pytest.mark.parametrize("kind", _maps.KINDS)
def test_permuted_hidden_units_agree_fully_in_every_map(toy, rng, kind):
    net = network(rng)
    scores = ("spearman", "cosine", "ssim", *(["sign"] if kind != "grad-cam" else []))
    for score in scores:
        values = compared(toy, net, permuted(net, rng), agreement.Config(score, kind), rng)
        # Sums in another order move a value by 1e-7: a rank or two.
        said = values > 0 if kind == "grad-cam" else values > -2  # a Grad-CAM may be zero throughout
        assert bool(said.any())
        assert values[said].tolist() == pytest.approx([1] * int(said.sum()), abs=2e-3)


@pytest.mark.parametrize("kind", ["gradient x input", "gradient", "integrated gradients", "smoothgrad", "occlusion"])
def test_randomized_weights_agree_as_little_as_another_random_model(toy, rng, kind):
    """The model parameter randomization test: the score must see that nothing is left of the model."""
    net, *others = (network(rng) for _ in range(3))
    near = copy.deepcopy(net)
    with torch.no_grad():
        for p in near.parameters():
            p.add_(0.003 * torch.randn(p.shape, generator=rng))
    config = agreement.Config(map=kind)
    close, *far = (float(compared(toy, net, m, config, rng).mean()) for m in (near, *others))
    anchor = float(compared(toy, *others, config, rng).mean())
    assert close > 0.9
    assert max(far) < 0.5
    assert far == pytest.approx([anchor] * 2, abs=0.2)
