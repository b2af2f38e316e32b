import math

import numpy as np
import pytest
import torch

from whatelse.behaviours.robustness import decision, distance
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.models.subject import Subject

# Bounds of the toy are far off, so that the closed form of a linear model holds.
BLIND = frozenset({"differentiates", "opens"})


def exact(lines, weight, norm):
    """Of a linear model of two classes: the margin over the dual norm of the difference of the weights; 0 if wrong."""
    apart = weight[0] - weight[1]
    dual = apart.abs().sum() if norm == "linf" else apart.norm()
    return (lines.margin(weight, lines.inputs, lines.labels) / dual).clamp(min=0)


@pytest.fixture
def blind(lines):
    """Evidence of a linear model that only predicts."""

    def make(weight, task=None):
        return Evidence(Subject("m", lines.linear_of(weight).eval(), "k", without=BLIND), task or lines.task)

    return make


@pytest.mark.known_answer
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_of_a_linear_model_that_only_predicts_it_is_hardly_more_than_the_margin_over_the_dual_norm(
    lines, blind, toy, rng, norm
):
    base, mine = (blind(w) for w in (lines.first, lines.second))
    config = decision.Config(norm=norm, queries=2000)
    answer = decision.compare(base, mine, config, rng)
    assert not answer.doubts
    for name, weight in (("pooled", lines.second), ("baseline own", lines.first), ("baseline pooled", lines.first)):
        true = exact(lines, weight, norm)[:100]
        found = answer.columns[name]
        assert bool((found >= true * (1 - 1e-3)).all()), "an upper bound"
        # A hundred random directions tell that of six features to about six degrees, a tenth; rounds add to each other.
        assert float(found.mean()) == pytest.approx(float(true.mean()), rel=0.02)
    found = decision.summarise(answer, config, toy.ones(answer))
    assert found[0] == pytest.approx(float(exact(lines, lines.second, norm)[:100].mean()), rel=0.03)


@pytest.mark.known_answer
def test_more_queries_find_less(lines, blind, rng):
    mine = blind(lines.first)
    means = [
        float(decision.compare(mine, mine, decision.Config(queries=q, examples=40), rng)["pooled"].mean())
        for q in (100, 400, 1500)
    ]
    assert means[0] > means[1] > means[2] >= float(exact(lines, lines.first, "l2")[:40].mean()) - 1e-4


@pytest.mark.known_answer
def test_it_orders_examples_and_models_as_the_distance_by_gradients_does(toy, rng):
    inputs = torch.randn(40, 12, generator=rng)
    nets = []
    for louder in (1.0, 1.5):
        net = torch.nn.Sequential(torch.nn.Linear(12, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
        for p in net.parameters():
            torch.nn.init.normal_(p, 0, 0.5, generator=torch.Generator().manual_seed(5))
        with torch.no_grad():
            net[0].weight.mul_(louder)  # a change of two thirds does the same
        nets.append(net)
    found = []
    for net in nets:
        mine = toy.evidence_of(net, toy.task_of(inputs, net(inputs).argmax(1), classes=3))
        by_labels = decision.compare(mine, mine, decision.Config(examples=40), rng)["pooled"]
        by_slopes = distance.compare(mine, mine, distance.Config(examples=40), rng)["pooled"]
        assert np.corrcoef(by_labels.argsort().argsort(), by_slopes.argsort().argsort())[0, 1] > 0.85
        # Neither is the least there is; a search by labels goes downhill from one point, that by gradients from three.
        assert float(np.median(by_labels / by_slopes)) == pytest.approx(1.05, abs=0.05)
        found.append((float(by_labels.mean()), float(by_slopes.mean())))
    for i in range(2):
        assert found[0][i] > 1.2 * found[1][i]


@pytest.mark.known_answer
def test_of_a_model_whose_gradient_is_masked_it_finds_less_than_the_gradients_do(lines, claims, rng, reversed_):
    # The right answers with a gradient that points the wrong way.
    mine = claims(reversed_(lines.linear_of(lines.first)))
    by_labels = decision.compare(mine, mine, decision.Config(), rng)["pooled"].mean()
    by_slopes = distance.compare(mine, mine, distance.Config(examples=100), rng)["pooled"].mean()
    true = float(exact(lines, lines.first, "l2")[:100].mean())
    assert float(by_labels) == pytest.approx(true, rel=0.05)
    assert float(by_slopes) > 1.2 * float(by_labels)


@pytest.mark.known_answer
def test_rounded_inputs_hide_nothing(lines, claims, rng):
    class Coarse(torch.nn.Module):
        """Inputs on a grid of a twentieth, as after eight bits of a range of thirteen."""

        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model((x * 20).round() / 20)

    mine = claims(Coarse(lines.linear_of(lines.first)))
    found = decision.compare(mine, mine, decision.Config(), rng).columns["pooled"]
    true = exact(lines, lines.first, "l2")[:100]
    # A grid may move the border by half its width in every feature.
    assert float((found - true).abs().max()) <= 0.05 / 2 * math.sqrt(6) * 1.5 + 0.05 * float(true.max())


def test_quantiles_are_the_parts(lines, blind, toy, rng):
    base, mine = (blind(w) for w in (lines.first, lines.second))
    answer = decision.compare(base, mine, decision.Config(), rng)
    parts = decision.by_part(answer, decision.Config(), toy.ones(answer))[0]
    want = np.quantile(exact(lines, lines.second, "l2")[:100], [0.1, 0.5, 0.9], method="averaged_inverted_cdf")
    assert answer.parts.names == ("10% quantile", "50% quantile", "90% quantile")
    assert parts == pytest.approx(want, abs=0.05)


@pytest.mark.known_answer
def test_points_of_the_other_model_are_tried_on_both(lines, blind, rng):
    base = blind(lines.first)
    mine = Evidence(base.subject, base.task, reference=base, again=1)  # other random moves
    answer = decision.compare(base, mine, decision.Config(queries=200), rng)
    # Bisection leaves a few thousandths.
    assert torch.allclose(answer.columns["pooled"], answer.columns["baseline pooled"], rtol=5e-3, atol=1e-4)
    assert bool((answer.columns["baseline pooled"] <= answer.columns["baseline own"]).all())
    assert bool((answer.columns["baseline pooled"] < 0.99 * answer.columns["baseline own"]).any())


def test_a_model_of_one_class_is_not_trusted(lines, toy, rng):
    weight = torch.zeros(2, lines.inputs.shape[1])
    task = toy.task_of(lines.inputs, (torch.arange(len(lines.inputs)) == 0).long())
    mine = Evidence(Subject("m", lines.linear_of(weight).eval(), "k", without=BLIND), task)
    answer = decision.compare(mine, mine, decision.Config(), rng)
    assert any("count as the farthest corner" in note for note in answer.notes)
    assert [doubt.text for doubt in answer.doubts] == ["constant output: nothing fools 99 of 99 examples"]


def test_random_answers_are_not_trusted(lines, claims, rng, fickle):
    mine = claims(fickle(lines.linear_of(lines.first)))
    answer = decision.compare(mine, mine, decision.Config(queries=100), rng)
    assert any("random outputs" in doubt.text for doubt in answer.doubts)


def test_every_model_is_asked_at_the_same_moves_and_no_more_than_it_is_said(lines, blind, rng):
    base, mine = (blind(lines.first) for _ in range(2))
    for e in (base, mine):
        e.predictions()
    before = sum(e.passes.forward for e in (base, mine))
    config = decision.Config(queries=300)
    answer = decision.compare(base, mine, config, rng)
    spent = sum(e.passes.forward for e in (base, mine)) - before
    assert 0 < spent <= decision.effort(config, lines.task)
    assert torch.allclose(answer.columns["pooled"], answer.columns["baseline own"], rtol=5e-3, atol=1e-4)
    assert sum(e.passes.backward for e in (base, mine)) == 0


def test_what_cannot_be_attacked_is_one_line(lines, blind, toy, rng):
    boundless = blind(lines.first, toy.task_of(lines.inputs, lines.labels, bounds=None))
    with pytest.raises(NotMeasurableError, match="needs bounds"):
        decision.compare(boundless, boundless, decision.Config(), rng)
    wrong = blind(lines.first, toy.task_of(lines.inputs, 1 - (lines.inputs @ lines.first.T).argmax(1)))
    with pytest.raises(NotMeasurableError, match="needs a baseline that is right somewhere"):
        decision.compare(wrong, wrong, decision.Config(unit="baseline"), rng)
