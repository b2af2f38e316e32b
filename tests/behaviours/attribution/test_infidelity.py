import captum.metrics
import numpy as np
import pytest
import torch

from whatelse import subject
from whatelse.behaviours.attribution import _maps, infidelity


def drawn(net, rng):
    for p in net.parameters():
        torch.nn.init.normal_(p, 0, 0.5, generator=rng)
    return net


@pytest.fixture
def images(toy, rng):
    def make(flip=1):
        own = torch.Generator().manual_seed(2)
        layers = torch.nn.Conv2d(2, 3, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(24, 3)
        net = drawn(torch.nn.Sequential(*layers), own)
        x = torch.rand(5, 2, 4, 6, generator=own)
        evidence = toy.evidence_of(net, toy.task_of(x, torch.arange(5) % 3, classes=3))
        evidence.margin_gradient().mul_(flip)
        return evidence

    return make


@pytest.mark.known_answer
@pytest.mark.parametrize("kind", ["gradient x input", "gradient", "integrated gradients", "occlusion"])
def test_it_is_captums_with_the_same_perturbations(images, toy, rng, kind):
    evidence = images()
    x, y, net = evidence.split("test").inputs, evidence.predictions(), evidence.model
    maps = torch.cat([m for _, m in _maps.chunks(evidence, _maps.Asked(kind))]).float().view_as(x)
    draw = torch.Generator().manual_seed(infidelity._SEED)
    hidden = [(torch.rand(5, 24, generator=draw) < 0.25).view(5, 1, 4, 6) for _ in range(20)]
    fell = torch.stack([margin(net, x, y) - margin(net, x * ~h, y) for h in hidden])

    def perturb(inputs, baselines=None):
        given = hidden[len(asked)].expand_as(inputs)
        asked.append(1)
        # How much goes of a contribution is the whole of it, of a feature what is lost.
        return (inputs * given if kind == "gradient" else given.float()), inputs * ~given

    found = {}
    for normalize in (False, True):
        asked = []
        found[normalize] = captum.metrics.infidelity(
            lambda inputs: margin(net, inputs, y),
            perturb,
            x,
            maps,
            n_perturb_samples=20,
            max_examples_per_batch=5,
            normalize=normalize,
        )
    plain = infidelity.measure(evidence, infidelity.Config("plain", kind, samples=20), rng)
    assert torch.allclose(plain, found[False], rtol=1e-3, atol=1e-5)
    relative = infidelity.measure(evidence, infidelity.Config("relative", kind, samples=20), rng)
    assert torch.allclose(relative, found[True] / fell.square().mean(0), rtol=1e-3, atol=1e-5)
    expected = float(relative.mean())
    assert infidelity.summarise(relative.numpy(), toy.ones(relative)) == pytest.approx([expected], abs=1e-6)


def margin(net, x, y):
    with torch.no_grad():
        return subject.log_odds(net(x), y)


@pytest.mark.known_answer
def test_of_a_linear_model_contributions_foretell_everything(toy, rng):
    net = drawn(torch.nn.Linear(6, 2), rng)
    evidence = toy.evidence_of(net, toy.task_of(torch.randn(9, 6, generator=rng), torch.arange(9) % 2))
    for kind in ("gradient x input", "gradient", "integrated gradients"):
        for score in ("relative", "plain"):
            values = infidelity.measure(evidence, infidelity.Config(score, kind), rng)
            assert values.tolist() == pytest.approx([0] * 9, abs=1e-5)


def test_a_map_upside_down_explains_nothing(images, rng):
    own, other = images(), images(flip=-1)
    assert infidelity.measure(other, infidelity.Config(), rng).tolist() == [1] * 5
    assert bool((infidelity.measure(own, infidelity.Config(), rng) < 0.9).all())


def test_a_map_of_twice_the_size_explains_as_much(images, rng):
    own, other = images(), images(flip=2)
    values = [infidelity.measure(e, infidelity.Config(), rng) for e in (own, other)]
    assert torch.allclose(*values, atol=1e-6)


def test_a_map_that_is_not_finite_is_empty_and_counted(images, rng):
    evidence = images()
    evidence.margin_gradient()[2, 0, 0, 0] = float("nan")
    values = infidelity.measure(evidence, infidelity.Config(), rng)
    assert values[2] == 1
    assert evidence.notes == ["1 of 5 maps are not finite: counted as empty"]
    assert infidelity.summarise(values.numpy(), np.ones((2, 5))).shape == (2,)
