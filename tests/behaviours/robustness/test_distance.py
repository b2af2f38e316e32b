import numpy as np
import pytest
import torch

from whatelse.behaviours.robustness import distance
from whatelse.errors import NotMeasurableError

# Bounds of the toy are far off, so that the closed form of a linear model holds.


def exact(lines, weight, norm):
    """Of a linear model of two classes: the margin over the dual norm of the difference of the weights; 0 if wrong."""
    apart = weight[0] - weight[1]
    dual = apart.abs().sum() if norm == "linf" else apart.norm()
    return (lines.margin(weight, lines.inputs, lines.labels) / dual).clamp(min=0)


@pytest.mark.known_answer
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_of_a_linear_model_it_is_the_margin_over_the_dual_norm(lines, toy, rng, norm):
    base, mine = (toy.evidence_of(lines.linear_of(w), lines.task) for w in (lines.first, lines.second))
    config = distance.Config(norm=norm)
    answer = distance.compare(base, mine, config, rng)
    assert not answer.doubts
    for name, weight in (("pooled", lines.second), ("baseline own", lines.first), ("baseline pooled", lines.first)):
        assert torch.allclose(answer.columns[name], exact(lines, weight, norm), atol=2e-3, rtol=2e-3)
    found = distance.summarise(answer, config, toy.ones(answer))
    assert found[0] == pytest.approx(float(exact(lines, lines.second, norm).mean()), rel=5e-3)


@pytest.mark.known_answer
def test_quantiles_are_the_parts(lines, toy, rng):
    base, mine = (toy.evidence_of(lines.linear_of(w), lines.task) for w in (lines.first, lines.second))
    answer = distance.compare(base, mine, distance.Config(), rng)
    parts = distance.by_part(answer, distance.Config(), toy.ones(answer))[0]
    want = np.quantile(exact(lines, lines.second, "l2"), [0.1, 0.5, 0.9], method="averaged_inverted_cdf")
    assert answer.parts.names == ("10% quantile", "50% quantile", "90% quantile")
    assert parts == pytest.approx(want, abs=5e-3)


@pytest.mark.known_answer
def test_of_a_small_network_it_is_seldom_longer_than_a_search_of_the_whole_plane_finds(toy, rng):
    net = torch.nn.Sequential(torch.nn.Linear(2, 12), torch.nn.Tanh(), torch.nn.Linear(12, 3))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=rng))
    inputs = torch.randn(25, 2, generator=rng)
    labels = net(inputs).argmax(1)
    mine = toy.evidence_of(net, toy.task_of(inputs, labels, classes=3))
    found = distance.compare(mine, mine, distance.Config(steps=40, starts=5), rng)["pooled"]
    # The plane in two dimensions can be searched whole: rings of directions, lengths rising.
    angle = torch.linspace(0, 2 * torch.pi, 721)[:-1]
    ways = torch.stack([angle.cos(), angle.sin()], 1)
    lengths = torch.linspace(0.005, 6, 1200)
    longer = []
    for x, y, d in zip(inputs, labels, found, strict=True):
        grid = x + lengths[:, None, None] * ways
        wrong = (net(grid.view(-1, 2)).argmax(1) != y).view(len(lengths), -1).any(1)
        slow = lengths[wrong.nonzero()[0, 0]] if bool(wrong.any()) else torch.tensor(float("inf"))
        assert float(d) >= float(slow) - 0.02, "never nearer than the border"
        longer.append(float(d) > float(slow) * 1.02 + 0.01)
    assert np.mean(longer) <= 0.1


def test_points_of_the_other_model_are_tried_on_both(lines, toy, claims, rng, reversed_):
    base = toy.evidence_of(lines.linear_of(lines.first), lines.task)
    mine = claims(reversed_(lines.linear_of(lines.first)))
    answer = distance.compare(base, mine, distance.Config(), rng)
    assert torch.allclose(answer.columns["pooled"], exact(lines, lines.first, "l2"), atol=1e-2)
    assert any("masked gradient" in doubt.text and doubt.one_sided for doubt in answer.doubts)


def test_a_step_without_gradient_is_not_trusted(lines, claims, rng, stepped):
    mine = claims(stepped(lines.linear_of(lines.first)))
    answer = distance.compare(mine, mine, distance.Config(), rng)
    assert any("exactly zero" in doubt.text and doubt.one_sided for doubt in answer.doubts)


def test_a_model_without_gradients_and_a_task_without_bounds_are_one_line_each(lines, toy, rng):
    class Rounded(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model(2 * x.detach() - x)

    blind = toy.evidence_of(Rounded(lines.linear_of(lines.first)), lines.task)
    with pytest.raises(NotMeasurableError, match="needs a model that differentiates"):
        distance.compare(blind, blind, distance.Config(), rng)
    boundless = toy.evidence_of(lines.linear_of(lines.first), toy.task_of(lines.inputs, lines.labels, bounds=None))
    with pytest.raises(NotMeasurableError, match="needs bounds"):
        distance.compare(boundless, boundless, distance.Config(), rng)


def test_it_costs_no_more_than_it_says(lines, toy, rng):
    base, mine = (toy.evidence_of(lines.linear_of(w), lines.task) for w in (lines.first, lines.second))
    for e in (base, mine):
        e.margin_gradient()
    before = sum(e.passes.forward + e.passes.backward for e in (base, mine))
    distance.compare(base, mine, distance.Config(), rng)
    spent = sum(e.passes.forward + e.passes.backward for e in (base, mine)) - before
    assert 0 < spent <= distance.effort(distance.Config(), lines.task)


@pytest.mark.known_answer
def test_logits_1024_times_larger_are_as_far_and_not_trusted(lines, toy, rng):
    def made(scale, base=None):
        with torch.no_grad():
            net = lines.linear_of(lines.first)
            net.weight.mul_(scale)
        return toy.evidence_of(net, lines.task, reference=base)

    base = made(1)
    candidate = made(1024, base)
    answer = distance.compare(base, candidate, distance.Config(), rng)
    assert torch.allclose(answer.columns["pooled"], answer.columns["baseline own"], rtol=0.02)
    assert [doubt.text.split(":")[0] for doubt in answer.doubts] == ["masked for cross-entropy attacks"]


@pytest.mark.known_answer
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_in_units_of_the_baseline_the_ratio_is_taken_anew_on_every_resample(lines, toy, rng, norm):
    base, mine = (toy.evidence_of(lines.linear_of(w), lines.task) for w in (lines.first, lines.second))
    ratio, plain = distance.Config(norm=norm, unit="baseline"), distance.Config(norm=norm)
    answer = distance.compare(base, mine, ratio, rng)
    theirs, own = (exact(lines, w, norm).numpy() for w in (lines.first, lines.second))
    counts = np.random.default_rng(3).multinomial(len(own), np.full(len(own), 1 / len(own)), 5)
    assert distance.summarise(answer, ratio, counts) == pytest.approx((counts @ own) / (counts @ theirs), rel=0.01)
    assert distance.summarise(answer, plain, counts) == pytest.approx(counts @ own / counts.sum(1), rel=0.01)
    parts = distance.by_part(answer, ratio, toy.ones(answer)) * theirs.mean()
    assert parts == pytest.approx(distance.by_part(answer, plain, toy.ones(answer)), rel=0.01, abs=1e-3)
    itself = distance.compare(base, base, ratio, rng)
    assert distance.summarise(itself, ratio, counts) == pytest.approx(1.0)


def test_a_baseline_that_is_wrong_everywhere_is_no_unit(lines, toy, rng):
    labels = 1 - (lines.inputs @ lines.first.T).argmax(1)
    mine = toy.evidence_of(lines.linear_of(lines.first), toy.task_of(lines.inputs, labels))
    with pytest.raises(NotMeasurableError, match="needs a baseline that is right somewhere"):
        distance.compare(mine, mine, distance.Config(unit="baseline"), rng)
