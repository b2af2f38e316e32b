import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax

from whatelse.evidence import loudness

CHANGES = {
    "times 1000": lambda z: 1000 * z,
    "by 1000": lambda z: z / 1000,
    "times 1024, shifted": lambda z: 1024 * (z + torch.arange(len(z))[:, None] % 7),
}


def drawn(classes, n=300, skill=2.0):
    rng = torch.Generator().manual_seed(classes)
    labels = torch.randint(classes, (n,), generator=rng)
    scores = torch.randn(n, classes, generator=rng) + skill * torch.nn.functional.one_hot(labels, classes)
    return 1.7 * scores, labels


@pytest.mark.parametrize(("right", "of"), [(70, 100), (99, 100), (100, 100), (51, 100), (7, 8)])
def test_of_one_margin_the_temperature_is_a_logit(right, of):
    # One example more, half of either class: the likelihood is largest where p is (right + 1/2) / (of + 1).
    scores = torch.tensor([[3.0, 0.0]]).expand(of, 2)
    labels = (torch.arange(of) >= right).long()
    p = (right + 0.5) / (of + 1)
    # Ten spreads are the flattest that is looked at.
    assert loudness.fitted(scores, labels) == pytest.approx(min(3 / math.log(p / (1 - p)), 15), rel=1e-9)
    assert loudness.spread(scores) == pytest.approx(1.5)


@pytest.mark.parametrize("classes", [2, 5, 40])
def test_it_is_the_least_cross_entropy_that_scipy_finds(classes):
    scores, labels = drawn(classes)
    z, n = scores.double().numpy(), len(scores)
    meant = (n * np.eye(classes)[labels] + 1 / classes) / (n + 1)

    def loss(cold):
        return (logsumexp(cold * z, axis=1) - (meant * cold * z).sum(1)).mean()

    best = minimize_scalar(loss, bounds=(0.01, 10), method="bounded", options={"xatol": 1e-12})
    found = loudness.fitted(scores, labels)
    assert found == pytest.approx(1 / best.x, rel=1e-5)
    slope = ((softmax(z / found, axis=1) - meant) * z).sum(1).mean()
    assert abs(slope) < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("skill", [0.0, 2.0, 60.0])
@pytest.mark.parametrize("change", CHANGES)
def test_it_grows_as_scores_do_also_where_nothing_or_everything_is_right(dtype, classes, skill, change):
    scores, labels = drawn(classes, skill=skill)
    scores = scores.to(dtype)
    other = CHANGES[change](scores)
    times = {"times 1000": 1000, "by 1000": 1e-3, "times 1024, shifted": 1024}[change]
    near = 1e-4 if dtype == torch.float32 else 1e-9  # the shift costs single precision some digits
    assert loudness.fitted(other, labels) == pytest.approx(times * loudness.fitted(scores, labels), rel=near)
    assert loudness.spread(other) == pytest.approx(times * loudness.spread(scores), rel=near)


def test_the_temperature_of_probabilities_is_that_of_their_scores():
    scores, labels = drawn(4)
    assert loudness.fitted(scores.softmax(1).log(), labels) == pytest.approx(loudness.fitted(scores, labels), rel=1e-5)


def test_classes_that_are_ruled_out_do_not_count_and_broken_scores_are_left_out():
    scores, labels = drawn(3)
    wide = torch.cat([scores, torch.full((len(scores), 1), -torch.inf)], 1)
    assert loudness.fitted(wide, labels) == pytest.approx(loudness.fitted(scores, labels))
    assert loudness.spread(wide) == pytest.approx(loudness.spread(scores))
    broken = torch.cat([scores, torch.tensor([[torch.nan, 0, 1], [torch.inf, 0, 1]])])
    more = torch.cat([labels, torch.tensor([0, 1])])
    assert loudness.fitted(broken, more) == pytest.approx(loudness.fitted(scores, labels))
    assert loudness.spread(broken) == pytest.approx(loudness.spread(scores))


def test_scores_that_say_nothing_have_no_scale():
    assert loudness.fitted(torch.ones(5, 3), torch.zeros(5, dtype=torch.long)) == 1
    assert loudness.fitted(torch.full((5, 3), torch.nan), torch.zeros(5, dtype=torch.long)) == 1
    assert loudness.spread(torch.ones(5, 3)) == 0
    assert loudness.ratio(0.0, 2.0) == loudness.ratio(2.0, 0.0) == 1


def test_no_single_example_decides_the_spread():
    scores, _ = drawn(3)
    wild = torch.cat([scores, 1e6 * scores[:1]])
    assert loudness.spread(wild) == pytest.approx(loudness.spread(scores), rel=0.06)


@pytest.fixture
def pair(toy):
    """A linear baseline, and the same with its scores multiplied."""
    rng = torch.Generator().manual_seed(3)
    task = toy.task_of(torch.randn(40, 4, generator=rng), torch.arange(40) % 3, classes=3)
    weight = torch.randn(3, 4, generator=rng)

    def make(times, dtype=torch.float32):
        found = []
        for factor in (1.0, times):
            model = torch.nn.Linear(4, 3, bias=False)
            model.weight.data = factor * weight
            found.append(toy.evidence_of(model, task, reference=found[0] if found else None))
        return found

    return make


@pytest.mark.parametrize("times", [0.001, 0.3, 7.0, 1000.0])
def test_a_candidate_is_brought_to_the_loudness_of_its_baseline(pair, times):
    base, mine = pair(times)
    assert loudness.louder(base) == 1
    assert loudness.louder(mine) == pytest.approx(times, rel=1e-6)
    assert loudness.matched(base, base.logits()) is base.logits()
    assert torch.allclose(loudness.matched(mine, mine.logits()), base.logits(), rtol=1e-5, atol=1e-6)
    assert torch.allclose(mine.margin_gradient(), base.margin_gradient(), rtol=1e-4, atol=1e-6)
    assert torch.allclose(
        loudness.margin(mine, mine.logits(), base.predictions()),
        loudness.margin(base, base.logits(), base.predictions()),
        rtol=1e-4,
        atol=1e-5,
    )
    assert torch.allclose(
        mine.sensitivity(base.task.test.inputs), base.sensitivity(base.task.test.inputs), rtol=1e-2, atol=1e-4
    )
