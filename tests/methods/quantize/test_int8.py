import sys

import pytest
import torch
from torch import nn

from whatelse.behaviours.leakage import labels
from whatelse.errors import MissingExtraError, NotMeasurableError, RecipeError
from whatelse.layers.kernel import Kernel
from whatelse.layers.quantized import Quantized
from whatelse.methods.quantize import int8
from whatelse.models import subject
from whatelse.modules import codec
from whatelse.nets import cnn


@pytest.fixture
def images(task, rng):
    split = type(task.test)(torch.rand(12, 1, 8, 8, generator=rng), torch.arange(12) % 3, torch.arange(12) % 3)
    return type(task)("t", 3, (0, 1), dict.fromkeys(task.splits, split))


@pytest.fixture
def model(rng):
    made = cnn.build(cnn.Config(width=4, hidden=8), (1, 8, 8), 3, rng).eval()
    return made.requires_grad_(requires_grad=False)


class Wide(nn.Module):
    """A residual block around one linear layer, and attention whose projections are read without being called."""

    def __init__(self):
        super().__init__()
        self.inner, self.norm = nn.Linear(2, 2), nn.LayerNorm(2)
        self.attention = nn.MultiheadAttention(2, 1, batch_first=True)

    def forward(self, x):
        x = x + self.inner(self.norm(x)).relu()
        return x + self.attention(x[:, None], x[:, None], x[:, None])[0][:, 0]


def slow(rows):
    scale = rows.abs().amax(1, keepdim=True) / 127.5
    return (rows * (1 / scale)).round().clamp(-128, 127) * scale


@pytest.mark.known_answer
@pytest.mark.parametrize("mode", ["dynamic", "weight"])
def test_layers_multiply_integers_worked_by_hand(mode, model, images, rng):
    small = int8.compress(model, int8.Config(mode=mode), images, rng)
    kinds = [type(p) for p in small if isinstance(p, Kernel | Quantized)]
    assert kinds == [Quantized] * 3 + [Kernel] * 2
    x = small[:7](images.test.inputs)
    rounded = slow(x) if mode == "dynamic" else x
    want = nn.functional.linear(rounded, slow(model.linear.weight), model.linear.bias)
    assert torch.allclose(small.linear(x), want, atol=1e-5)
    packed = model.conv1.weight.flatten(1)
    scale = packed.abs().amax(1, keepdim=True) / 127
    assert torch.allclose(small.conv1.weight.flatten(1), (packed / scale).round() * scale, atol=1e-6)
    assert not small.conv1.round_input.straight_through
    assert small.conv1.remark() == "stored packed, computed dequantized"


@pytest.mark.parametrize("mode", ["dynamic", "weight"])
def test_it_is_close_and_comes_back_from_disk_in_a_quarter(mode, model, images, rng):
    small = int8.compress(model, int8.Config(mode=mode), images, rng)
    x = images.test.inputs
    assert torch.allclose(small(x), model(x), atol=0.02)
    assert not torch.equal(small(x), model(x))
    tensors, spec = codec.encode(small)
    assert torch.equal(codec.decode(tensors, spec)(x), small(x))
    floats, _ = codec.encode(model)
    size = [sum(t.numel() * t.element_size() for t in stored.values()) for stored in (tensors, floats)]
    assert size[0] < 0.4 * size[1]


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("mode", ["dynamic", "weight"])
def test_kernels_that_drop_gradients_are_attacked_through_a_surrogate(mode, residual, model, images, task, rng):
    given, data = (Wide().eval(), task) if residual else (model, images)
    small = int8.compress(given, int8.Config(mode=mode), data, rng)
    found = subject.of(small, "m", "k", data.test.inputs[:8], rng)
    assert "differentiates" in found.offers
    assert (found.surrogate is not None) == (mode == "dynamic"), "only the kernels of activations drop them"
    if residual:
        assert type(small.attention.out_proj) is type(given.attention.out_proj), "left alone"


def test_kernels_do_not_pass_for_protection_against_leakage(model, images, toy, rng):
    small = int8.compress(model, int8.Config(mode="weight"), images, rng)
    with pytest.raises(NotMeasurableError, match="those in Kernel have none"):
        labels.measure(toy.evidence_of(small, images), labels.Config(), rng)


def test_without_torchao_it_says_what_to_install(model, images, rng, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(MissingExtraError, match=r"whatelse\[kernels\]"):
        int8.compress(model, int8.Config(), images, rng)


def test_nothing_to_quantize_is_refused(task, rng):
    with pytest.raises(RecipeError, match=r"quantize\.int8.*left to quantize"):
        int8.compress(nn.ReLU(), int8.Config(), task, rng)
