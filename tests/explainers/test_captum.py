"""Every map against Captum on random networks, or against a slow rewrite where Captum computes it."""

import copy
import re
import sys

import captum.attr
import pytest
import torch

from whatelse.behaviours.attribution import agreement
from whatelse.errors import MissingExtraError, NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.evidence.loudness import louder
from whatelse.explainers import captum as _captum
from whatelse.explainers import maps as _maps
from whatelse.models import subject
from whatelse.nets import transformer
from whatelse.tasks.task import Split, Task


def convolutional(rng, width=3, kernel=3):
    net = torch.nn.Sequential(
        torch.nn.Conv2d(2, width, kernel, padding=kernel // 2),
        torch.nn.ReLU(),
        torch.nn.Conv2d(width, width, 3, stride=2, padding=1),
        torch.nn.Tanh(),
        torch.nn.Flatten(),
        torch.nn.Linear(width * 9 * 5, 3),
    )
    return drawn(net, rng)


def drawn(net, rng):
    for p in net.parameters():
        torch.nn.init.normal_(p, 0, 0.4, generator=rng)
    return net


@pytest.fixture
def seen(toy, rng):
    def make(net, shape=(2, 17, 9), bounds=(-10.0, 10.0), reference=None):
        inputs = torch.randn(6, *shape, generator=torch.Generator().manual_seed(1))
        task = toy.task_of(inputs, torch.arange(6) % 3, classes=3, bounds=bounds)
        return toy.evidence_of(net, task, reference=reference)

    return make


def maps(evidence, kind, **settings):
    parts = list(_maps.chunks(evidence, _maps.Asked(kind, **settings)))
    return torch.cat([m for _, m in parts]).view(-1, *evidence.task.shape)


def margin(evidence):
    return lambda x, y: subject.log_odds(evidence.model(x), y)


def inputs_of(evidence):
    return evidence.split("test").inputs.clone().requires_grad_()


@pytest.mark.known_answer
@pytest.mark.parametrize("kind", ["gradient", "gradient x input", "integrated gradients"])
def test_gradients_are_captums(seen, rng, kind):
    evidence = seen(convolutional(rng))
    methods = {
        "gradient": lambda f: captum.attr.Saliency(f).attribute,
        "gradient x input": lambda f: captum.attr.InputXGradient(f).attribute,
        "integrated gradients": lambda f: captum.attr.IntegratedGradients(f).attribute,
    }
    more = {"gradient": {"abs": False}, "integrated gradients": {"n_steps": 32}}.get(kind, {})
    x = inputs_of(evidence)
    expected = methods[kind](margin(evidence))(x, additional_forward_args=evidence.predictions(), **more)
    assert torch.allclose(maps(evidence, kind).float(), expected, atol=1e-5)


@pytest.mark.known_answer
def test_integrated_gradients_begin_at_the_bound_next_to_zero(seen, rng):
    evidence = seen(convolutional(rng), bounds=(0.5, 10.0))
    assert torch.equal(_captum.start(evidence), torch.full((2, 17, 9), 0.5))
    method = captum.attr.IntegratedGradients(margin(evidence))
    expected = method.attribute(
        inputs_of(evidence), torch.full((1, 2, 17, 9), 0.5), additional_forward_args=evidence.predictions(), n_steps=40
    )
    assert torch.allclose(maps(evidence, "integrated gradients", steps=40).float(), expected, atol=1e-5)


@pytest.mark.known_answer
def test_of_a_linear_model_integrated_gradients_are_gradient_times_input(toy, rng):
    weight = torch.randn(5, generator=rng)
    net = torch.nn.Linear(5, 2, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.stack([-weight / 2, weight / 2]))
    x = torch.randn(8, 5, generator=rng)
    evidence = toy.evidence_of(net, toy.task_of(x, torch.arange(8) % 2, bounds=None))
    side = evidence.predictions()[:, None] * 2 - 1
    for kind in ("gradient x input", "integrated gradients"):
        assert torch.allclose(maps(evidence, kind).float(), side * x * weight, atol=1e-5)
    # A column hidden by its mean: the margin falls by w (x - mean).
    assert torch.allclose(maps(evidence, "occlusion").float(), side * (x - x.mean(0)) * weight, atol=1e-5)
    assert torch.allclose(maps(evidence, "smoothgrad").float(), (side * weight).expand(8, 5), atol=1e-5)
    assert torch.allclose(_maps.completeness(evidence, _maps.Asked())[:, 0], torch.zeros(8).double(), atol=1e-5)


@pytest.mark.known_answer
def test_smoothgrad_averages_captums_gradients_over_one_noise_for_all(seen, rng):
    evidence = seen(convolutional(rng))
    draw, expected = torch.Generator().manual_seed(_captum._SEED), []
    gradient = captum.attr.Saliency(margin(evidence))
    for x, y in zip(evidence.split("test").inputs, evidence.predictions(), strict=True):
        noisy = x + 0.15 * (x.max() - x.min()) * torch.randn(8, *x.shape, generator=draw)
        slopes = gradient.attribute(noisy.requires_grad_(), abs=False, additional_forward_args=y.expand(8))
        expected.append(slopes.mean(0))
    assert torch.allclose(maps(evidence, "smoothgrad").float(), torch.stack(expected), atol=1e-5)


@pytest.mark.known_answer
def test_grad_cam_by_its_definition(seen, rng):
    net = convolutional(rng)
    evidence = seen(net)
    x, y = evidence.split("test").inputs, evidence.predictions()
    features = net[:3](x).requires_grad_()
    (slope,) = torch.autograd.grad(subject.log_odds(net[3:](features), y).sum(), features)
    seen_by = torch.stack([sum(s.mean() * f for s, f in zip(*pair, strict=True)) for pair in zip(slope, features)])  # noqa: B905
    expected = torch.nn.functional.interpolate(seen_by.relu()[:, None], (17, 9), mode="bilinear")
    assert torch.allclose(maps(evidence, "grad-cam").float(), expected.expand_as(x), atol=1e-5)


@pytest.mark.known_answer
def test_occlusion_by_its_definition(seen, rng):
    evidence = seen(convolutional(rng))
    x, y, ask = evidence.split("test").inputs, evidence.predictions(), margin(evidence)
    expected = torch.zeros_like(x)
    for top in range(0, 17, 2):  # an eighth of 17 is 2, of 9 is 1
        for left in range(9):
            hidden = x.clone()
            hidden[:, :, top : top + 2, left] = 0
            expected[:, :, top : top + 2, left] = (ask(x, y) - ask(hidden, y)).detach()[:, None, None]
    assert torch.allclose(maps(evidence, "occlusion").float(), expected, atol=1e-5)


@pytest.mark.parametrize("kind", _maps.KINDS)
def test_maps_do_not_depend_on_chunks_and_batches(seen, rng, kind, monkeypatch):
    net = convolutional(rng)
    whole = maps(seen(net), kind, examples=0)
    for room in (_maps, _captum):
        monkeypatch.setattr(room, "_VALUES", 700)
    few = seen(net)
    few.batch = 2
    assert torch.allclose(maps(few, kind), whole, atol=1e-5)
    assert torch.allclose(maps(seen(net), kind, examples=3), whole[:3], atol=1e-5)


@pytest.mark.parametrize("kind", ["integrated gradients", "smoothgrad", "grad-cam", "occlusion"])
def test_maps_are_made_once_and_passes_are_counted(seen, rng, kind):
    evidence = seen(convolutional(rng))
    evidence.predictions()
    before = evidence.passes.forward
    maps(evidence, kind)
    spent = evidence.passes.forward - before
    # Grad-CAM asks one example for its convolutions; occlusion has 9 x 9 patches, and the whole.
    assert spent == {"integrated gradients": 6 * 32, "smoothgrad": 6 * 8, "grad-cam": 7, "occlusion": 6 * 82}[kind]
    maps(evidence, kind)
    assert evidence.passes.forward - before == spent


def test_a_candidate_explains_the_class_of_the_baseline_in_every_map(seen, rng):
    base = seen(convolutional(rng))
    other = convolutional(rng)
    mine = seen(other, reference=base)
    # Its scores are matched to the loudness of the baseline's: alone it is turned down by as much.
    quiet = copy.deepcopy(other)
    *_, head = (part for part in quiet.modules() if isinstance(part, torch.nn.Linear))
    with torch.no_grad():
        for part in head.parameters():
            part.div_(louder(mine))
    alone = seen(quiet)
    differs = mine.explained() != alone.explained()
    assert bool(differs.any())
    for kind in _maps.KINDS:
        a, b = maps(mine, kind).flatten(1), maps(alone, kind).flatten(1)
        assert bool(((a - b).abs().amax(1) > 1e-6)[differs].any())
        assert torch.allclose(a[~differs], b[~differs], rtol=1e-4, atol=1e-6)


def test_grad_cam_is_refused_between_other_convolutions(seen, rng):
    base = seen(convolutional(rng))
    assert maps(seen(convolutional(rng, width=5), reference=base), "grad-cam").shape == (6, 2, 17, 9)
    said = "needs the convolutions of the baseline: model has 5x5 at 17x9, 3x3 at 9x5, model has 3x3 at 17x9"
    with pytest.raises(NotMeasurableError, match=re.escape(said)):
        maps(seen(convolutional(rng, kernel=5), reference=base), "grad-cam")
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2 * 17 * 9, 3))
    with pytest.raises(NotMeasurableError, match="a convolution with more than one position; model has none"):
        maps(seen(drawn(flat, rng)), "grad-cam")


def test_a_model_that_only_predicts_has_occlusion_alone(seen, rng):
    full = seen(convolutional(rng))
    blind = Evidence(subject.Subject("m", full.model, "k", without=frozenset({"differentiates", "opens"})), full.task)
    assert torch.allclose(maps(blind, "occlusion"), maps(full, "occlusion"))
    for kind in ("gradient", "gradient x input", "integrated gradients", "smoothgrad", "grad-cam"):
        with pytest.raises(NotMeasurableError, match="needs a model that differentiates"):
            maps(blind, kind)


def test_without_captum_the_extra_is_named(seen, rng, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    evidence = seen(convolutional(rng))
    for kind in ("integrated gradients", "grad-cam", "occlusion"):
        with pytest.raises(MissingExtraError, match=re.escape("pip install 'whatelse[attribution]'")):
            maps(evidence, kind)
    for kind in ("gradient", "gradient x input", "smoothgrad"):
        assert maps(evidence, kind).shape == (6, 2, 17, 9)


@pytest.fixture
def texts(rng):
    ids = torch.randint(1, 20, (8, 7), generator=rng).float()
    ids[:4, 4:] = 0
    split = Split(ids, torch.arange(8) % 2, torch.arange(8) % 2)
    task = Task("texts", 2, None, dict.fromkeys(("train", "calibration", "select", "test"), split), vocabulary=20)
    net = transformer.build(transformer.Config(vocabulary=20, width=8, heads=2), (7,), 2, rng)
    return Evidence(subject.of(net, "m", "k", ids, rng, tokens=True), task)


@pytest.mark.known_answer
def test_maps_of_tokens_hold_one_value_each_and_none_of_padding(texts):
    slopes, vectors = texts.margin_gradient(), texts.embedded()
    ids = texts.split("test").inputs
    real = (ids != 0).double()
    length = torch.stack([torch.stack([v.norm() for v in row]) for row in slopes])
    assert torch.allclose(maps(texts, "gradient"), length.double() * real, atol=1e-6)
    product = torch.stack([torch.stack([a @ b for a, b in zip(*p, strict=True)]) for p in zip(slopes, vectors)])  # noqa: B905
    assert torch.allclose(maps(texts, "gradient x input"), product.double() * real, atol=1e-6)
    y, expected = texts.predictions(), torch.zeros_like(ids)
    for t in range(7):
        hidden = ids.clone()
        hidden[:, t] = 0
        fell = subject.log_odds(texts.logits(), y) - subject.log_odds(texts.answers(hidden), y)
        expected[:, t] = fell * real[:, t]
    assert torch.allclose(maps(texts, "occlusion").float(), expected, atol=1e-5)


def test_of_tokens_some_maps_and_scores_are_refused(texts, rng):
    for kind in ("integrated gradients", "smoothgrad"):
        with pytest.raises(NotMeasurableError, match=f"{kind} needs inputs that can be scaled"):
            maps(texts, kind)
    for config in (agreement.Config(score="ssim"), agreement.Config(score="sign", map="gradient")):
        with pytest.raises(NotMeasurableError, match="needs"):
            agreement.compare(texts, texts, config, rng)
    for score in ("spearman", "cosine", "top", "sign"):
        answer = agreement.compare(texts, texts, agreement.Config(score=score), rng)
        assert answer["agreement"].tolist() == pytest.approx([1] * 8, abs=1e-6)


def test_integrated_gradients_that_miss_are_not_trusted(seen, rng):
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2 * 17 * 9, 8), torch.nn.ReLU())
    evidence = seen(drawn(net.append(torch.nn.Linear(8, 3)), rng))
    fine, rough = _maps.Asked("integrated gradients", 32), _maps.Asked("integrated gradients", 1)
    checked = _maps.check(evidence, fine)
    assert checked.notes[0].startswith("integrated gradients of model miss")
    assert checked.doubts == ()
    (doubt,) = _maps.check(evidence, rough).doubts
    assert doubt.text.endswith("at most 5 % may be: too few steps, or gradients of a surrogate")
    assert not doubt.one_sided
    assert _maps.check(evidence, _maps.Asked()) == ((), ())
