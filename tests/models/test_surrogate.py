import warnings

import pytest
import torch
from torch import nn

from whatelse.evidence.cache import Evidence
from whatelse.layers.kernel import Kernel
from whatelse.models import subject
from whatelse.models.subject import log_odds
from whatelse.models.surrogate import StraightThrough, surrogate


def net(rng, width=12):
    made = nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3))
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(torch.randn(p.shape, generator=rng))
    return made.eval()


def torch_dynamic(model):
    from torch.ao.quantization import quantize_dynamic

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)


def torchao_dynamic(model):
    quantization = pytest.importorskip("torchao.quantization", reason="kernels of few bits need torchao")
    quantization.quantize_(model, quantization.Int8DynamicActivationInt8WeightConfig(set_inductor_config=False))
    return model


def ours(model):
    pytest.importorskip("torchao", reason="kernels of few bits need torchao")
    return nn.Sequential(Kernel.of(model[0], "int8_dynamic"), model[1], Kernel.of(model[2], "int8_dynamic"))


class Beside(nn.Module):
    """A kernel beside a residual path: its lost gradient raises nothing, the rest is a plausible vector."""

    def __init__(self, inner, rng):
        super().__init__()
        self.inner, self.head = inner, nn.Linear(6, 3)
        self.head.weight.data = torch.randn(3, 6, generator=rng)

    def forward(self, x):
        return self.head(x) + self.inner(x)


class Reversed(nn.Module):
    """Passes on what it was given, and a gradient that points the other way."""

    def forward(self, x):
        return 2 * x.detach() - x


KINDS = [torch_dynamic, torchao_dynamic, ours]


@pytest.mark.known_answer
@pytest.mark.parametrize("made_by", KINDS)
def test_it_answers_as_the_kernel_and_slopes_as_the_dequantized_layer(made_by, rng):
    model = made_by(net(rng))
    found = surrogate(model)
    x = torch.randn(40, 6, generator=rng)
    assert found.layers == 2
    assert torch.allclose(found.straight(x), model(x), atol=1e-5)
    # The gradient by hand: through the weights that the kernels multiply, at the signs of the real hidden layer.
    first, last = (part for part in found.straight if isinstance(part, StraightThrough))
    active = (model[0](x) > 0).float()
    y = torch.zeros(40, dtype=torch.long)
    logits = model(x).detach().requires_grad_()
    (outer,) = torch.autograd.grad(log_odds(logits, y).sum(), logits)
    want = (outer @ last.weight * active) @ first.weight
    start = x.clone().requires_grad_()
    (got,) = torch.autograd.grad(log_odds(found.straight(start), y).sum(), start)
    assert torch.allclose(got, want, atol=1e-4)


@pytest.mark.parametrize("made_by", KINDS)
@pytest.mark.parametrize("beside", [False, True])
def test_a_kernel_that_drops_gradients_is_asked_through_its_surrogate(made_by, beside, toy, rng):
    inner = made_by(net(rng))
    model = Beside(inner, rng) if beside else inner
    probe = torch.randn(64, 6, generator=rng)
    found = subject.of(model, "small", "key", probe, rng)
    assert "differentiates" in found.offers
    assert found.straight_through
    assert found.model is model
    assert "drop gradients" in found.remarks[-1]
    # Torch's kernel scales the activations of a batch together: an answer is rounded as the others are.
    assert found.mixes == (made_by is torch_dynamic)
    assert not found.alone
    task = toy.task_of(probe, torch.arange(64) % 3, classes=3)
    seen = Evidence(found, task)
    assert torch.equal(seen.logits(), model(probe).detach())
    assert seen.slopes is found.surrogate
    start = probe.clone().requires_grad_()
    scores = found.surrogate(start)
    (want,) = torch.autograd.grad(log_odds(scores, seen.predictions()).sum(), start)
    assert torch.allclose(seen.margin_gradient(), want, atol=1e-5)
    assert bool((seen.margin_gradient() != 0).any())


def test_what_no_surrogate_is_known_for_only_predicts(rng):
    model = nn.Sequential(Reversed(), *net(rng))
    found = subject.of(model, "small", "key", torch.randn(64, 6, generator=rng), rng)
    assert "differentiates" not in found.offers
    assert found.surrogate is None


@pytest.mark.parametrize("made_by", KINDS)
def test_a_kernel_beside_another_break_only_predicts(made_by, rng):
    found = subject.of(nn.Sequential(Reversed(), made_by(net(rng))), "small", "key", torch.randn(64, 6), rng)
    assert "differentiates" not in found.offers


def test_a_sound_model_has_no_surrogate(rng):
    model = net(rng)
    assert surrogate(model) is None
    assert subject.of(model, "base", "key", torch.randn(64, 6, generator=rng), rng).surrogate is None
