import captum.metrics
import numpy as np
import pytest
import torch

from whatelse.behaviours.attribution import infidelity
from whatelse.errors import NotMeasurableError
from whatelse.explainers import maps as _maps
from whatelse.models import subject


def values_of(evidence, config, rng):
    return infidelity.measure(evidence, config, rng).columns["infidelity"]


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
    maps = maps / 2 if kind == "occlusion" else maps  # one value for both channels
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
    plain = values_of(evidence, infidelity.Config("plain", kind, samples=20), rng)
    assert torch.allclose(plain, found[False], rtol=1e-3, atol=1e-5)
    relative = values_of(evidence, infidelity.Config("relative", kind, samples=20), rng)
    assert torch.allclose(relative, found[True] / fell.square().mean(0), rtol=1e-3, atol=1e-5)
    answer = infidelity.measure(evidence, infidelity.Config("relative", kind, samples=20), rng)
    summary = infidelity.summarise(answer, infidelity.Config(), toy.ones(answer))
    assert summary == pytest.approx([float(relative.mean())], abs=1e-6)


def margin(net, x, y):
    with torch.no_grad():
        return subject.log_odds(net(x), y)


@pytest.mark.known_answer
def test_of_a_linear_model_contributions_foretell_everything(toy, rng):
    net = drawn(torch.nn.Linear(6, 2), rng)
    evidence = toy.evidence_of(net, toy.task_of(torch.randn(9, 6, generator=rng), torch.arange(9) % 2))
    for kind in ("gradient x input", "gradient", "integrated gradients"):
        for score in ("relative", "plain"):
            values = values_of(evidence, infidelity.Config(score, kind), rng)
            assert values.tolist() == pytest.approx([0] * 9, abs=1e-5)


@pytest.mark.known_answer
@pytest.mark.parametrize(("channels", "height", "width"), [(3, 8, 8), (3, 16, 16), (1, 16, 17)])
def test_of_a_linear_model_occlusion_foretells_everything_whatever_its_patches(toy, rng, channels, height, width):
    """Contributions are even within a patch, the last of which may be narrower: which pixel went does not matter."""
    x = torch.rand(6, channels, height, width, generator=rng)
    coarse = torch.randn(2, channels, 8, 9, generator=rng) / height
    weight = coarse.repeat_interleave(height // 8, 2).repeat_interleave(width // 8, 3)[..., :width]
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(x[0].numel(), 2))
    with torch.no_grad():
        net[1].weight.copy_(weight.flatten(1) / x[0].flatten())
    x = x[:1] * torch.rand(6, channels, 1, 1, generator=rng)
    evidence = toy.evidence_of(net, toy.task_of(x, torch.arange(6) % 2, bounds=(0.0, 1.0)))
    for kind in ("occlusion", "integrated gradients"):
        for score in ("relative", "plain"):
            values = values_of(evidence, infidelity.Config(score, kind, samples=8), rng)
            assert values.tolist() == pytest.approx([0] * 6, abs=1e-6)


@pytest.mark.known_answer
def test_grad_cam_counts_once_whatever_the_channels(toy, rng):
    """A network that reads the mean over channels: its map of gray images is that of the same in three channels."""
    x = torch.rand(5, 1, 6, 6, generator=rng)
    found = []
    for channels in (1, 3):
        own = torch.Generator().manual_seed(2)
        net = torch.nn.Sequential(torch.nn.Conv2d(channels, 3, 3), torch.nn.ReLU(), torch.nn.Flatten())
        net.append(torch.nn.Linear(48, 2))
        with torch.no_grad():
            net[0].weight.copy_((torch.randn(3, 1, 3, 3, generator=own) / channels).expand(3, channels, 3, 3))
            net[0].bias.zero_()
            net[3].weight.copy_(torch.randn(2, 48, generator=own))
        images = x.expand(5, channels, 6, 6).contiguous()
        evidence = toy.evidence_of(net, toy.task_of(images, torch.arange(5) % 2))
        found.append(values_of(evidence, infidelity.Config("plain", "grad-cam"), rng))
    assert torch.allclose(*found, rtol=1e-3)


def test_a_map_upside_down_explains_nothing(images, rng):
    own, other = images(), images(flip=-1)
    assert values_of(other, infidelity.Config(), rng).tolist() == [1] * 5
    assert bool((values_of(own, infidelity.Config(), rng) < 0.9).all())


def test_a_map_of_twice_the_size_explains_as_much(images, rng):
    own, other = images(), images(flip=2)
    values = [values_of(e, infidelity.Config(), rng) for e in (own, other)]
    assert torch.allclose(*values, atol=1e-6)


@pytest.mark.parametrize("score", ["relative", "plain"])
def test_maps_that_say_nothing_are_worst_and_counted(images, rng, score):
    evidence, config = images(), infidelity.Config(score)
    whole = values_of(images(), config, rng)
    evidence.margin_gradient()[2, 0, 0, 0] = float("nan")
    evidence.margin_gradient()[4] = 0
    answer = infidelity.measure(evidence, config, rng)
    values = answer.columns["infidelity"]
    assert values[[0, 1, 3]].tolist() == pytest.approx(whole[[0, 1, 3]].tolist())
    assert values[2] == values[4] == (1 if score == "relative" else values.max())
    assert answer.notes == ("2 of 5 maps are all zero or not finite: counted as worst",)
    assert answer.ends == {"worst": 1.0 if score == "relative" else None}
    assert infidelity.summarise(answer, config, np.ones((2, 5))).shape == (2,)


def test_a_constant_model_is_not_the_best(toy, rng):
    net = torch.nn.Linear(6, 2)
    torch.nn.init.zeros_(net.weight)
    evidence = toy.evidence_of(net, toy.task_of(torch.randn(9, 6, generator=rng), torch.arange(9) % 2))
    answer = infidelity.measure(evidence, infidelity.Config(), rng)
    assert answer["infidelity"].tolist() == [1] * 9
    assert answer.notes == ("9 of 9 maps are all zero or not finite: counted as worst",)
    with pytest.raises(NotMeasurableError, match="plain needs a map that says something; of model none does"):
        values_of(evidence, infidelity.Config("plain"), rng)
