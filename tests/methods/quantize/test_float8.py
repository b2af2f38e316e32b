import math

import pytest
import torch
from torch import nn

from whatelse.errors import MissingHardwareError, RecipeError
from whatelse.layers.kernel import Kernel
from whatelse.methods.quantize import float8
from whatelse.modules import codec


@pytest.fixture
def images(task, rng):
    split = type(task.test)(torch.rand(9, 1, 4, 4, generator=rng), torch.arange(9) % 3, torch.arange(9) % 3)
    return type(task)("t", 3, (0, 1), dict.fromkeys(task.splits, split))


@pytest.fixture
def model(rng):
    made = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)).eval()
    made[3].weight.data = torch.randn(3, 32, generator=rng) / 3
    return made.requires_grad_(requires_grad=False)


@pytest.fixture
def capable(monkeypatch):
    """As on hardware with float8 arithmetic; of the two modes ``weight`` multiplies floats, which any machine can."""
    monkeypatch.setattr(float8, "lacking", lambda *_: "")


def slow(row):
    """Four bits of exponent and three of mantissa, the largest weight at 448."""
    scale = max(map(abs, row)) / 448
    made = []
    for w in row:
        exponent = max(math.floor(math.log2(abs(w / scale))), -6) if w else 0
        step = 2.0 ** (exponent - 3)
        made.append(round(w / scale / step) * step * scale)
    return made


@pytest.mark.known_answer
def test_weights_are_floats_of_eight_bits(model, images, rng, capable):
    small = float8.compress(model, float8.Config(mode="weight"), images, rng)
    weight, bias = small[3].weights()
    want = torch.tensor([slow(row) for row in model[3].weight.tolist()])
    assert torch.allclose(weight, want, atol=1e-6)
    assert torch.equal(bias, model[3].bias)
    x = images.test.inputs
    assert torch.allclose(small(x), nn.functional.linear(model[:3](x), want, bias), atol=1e-5)
    assert type(small[0]) is nn.Conv2d, "left alone"


def test_it_comes_back_from_disk_in_one_byte_a_weight(model, images, rng, capable):
    small = float8.compress(model, float8.Config(mode="weight"), images, rng)
    assert isinstance(small[3], Kernel)
    tensors, spec = codec.encode(small)
    x = images.test.inputs
    assert torch.equal(codec.decode(tensors, spec)(x), small(x))
    assert sum(t.numel() * t.element_size() for n, t in tensors.items() if n.startswith("3.")) == 96 + 2 * 12


@pytest.mark.parametrize("mode", ["dynamic", "weight"])
def test_a_machine_without_float8_arithmetic_is_refused(mode, model, images, rng):
    with pytest.raises(MissingHardwareError, match=r"no float8 arithmetic \(found a model on cpu\); use quantize.int8"):
        float8.compress(model, float8.Config(mode=mode), images, rng)


def test_layers_that_no_kernel_takes_are_refused(model, images, rng, capable):
    with pytest.raises(RecipeError, match="no linear layer suits"):
        float8.compress(model, float8.Config(), images, rng)
    with pytest.raises(RecipeError, match="left to quantize"):
        float8.compress(nn.ReLU(), float8.Config(), images, rng)
