import pytest
import torch
from torch import nn

from whatelse.errors import RecipeError
from whatelse.layers.quantized import Quantized
from whatelse.methods.quantize import int4
from whatelse.models import subject
from whatelse.modules import codec


@pytest.fixture
def images(task, rng):
    split = type(task.test)(torch.rand(9, 3, 4, 4, generator=rng), torch.arange(9) % 3, torch.arange(9) % 3)
    return type(task)("t", 3, (0, 1), dict.fromkeys(task.splits, split))


@pytest.fixture
def model(rng):
    made = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1, groups=3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 3)).eval()
    for layer in (made[0], made[3]):
        layer.weight.data = torch.randn(layer.weight.shape, generator=rng) / 3 + 0.2
    return made.requires_grad_(requires_grad=False)


def slow(row, *, symmetric):
    """Sixteen levels, or fifteen about zero, for the weights of one group."""
    if symmetric:
        scale = max(map(abs, row)) / 7
        return [scale * round(w / scale) for w in row]
    low, high = min(*row, 0), max(*row, 0)
    scale = (high - low) / 15
    zero = round(-low / scale)
    return [scale * (min(15, max(0, round(w / scale) + zero)) - zero) for w in row]


@pytest.mark.known_answer
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group", [32, 20])
def test_every_group_of_inputs_has_its_own_sixteen_levels(group, symmetric, model, images, rng):
    small = int4.compress(model, int4.Config(group=group, symmetric=symmetric), images, rng)
    for before, after in ((model[0], small[0]), (model[3], small[3])):
        rows = before.weight.flatten(1).tolist()
        want = [slow(row[i : i + group], symmetric=symmetric) for row in rows for i in range(0, len(row), group)]
        assert after.weight.flatten().tolist() == pytest.approx([w for part in want for w in part], abs=1e-5)
    x = images.test.inputs
    by_hand = nn.functional.conv2d(x, small[0].weight, model[0].bias, padding=1, groups=3).relu().flatten(1)
    assert torch.allclose(small(x), nn.functional.linear(by_hand, small[3].weight, model[3].bias), atol=1e-5)


def test_on_a_cpu_it_is_stored_packed_and_says_so(model, images, rng):
    small = int4.compress(model, int4.Config(), images, rng)
    assert all(isinstance(small[i], Quantized) for i in (0, 3))
    assert small[3].remark() == "stored packed, computed dequantized"
    tensors, spec = codec.encode(small)
    x = images.test.inputs
    assert torch.equal(codec.decode(tensors, spec)(x), small(x))
    stored = sum(t.numel() * t.element_size() for n, t in tensors.items() if n.startswith("3."))
    assert stored <= 3 * 96 / 2 + 9 * (4 + 1) + 3 * 4 + 8, "half a byte a weight, nine scales and zero points"


def test_no_activation_is_rounded_and_gradients_are_its_own(model, images, rng):
    small = int4.compress(model, int4.Config(), images, rng)
    found = subject.of(small, "m", "k", images.test.inputs, rng)
    assert "differentiates" in found.offers
    assert not found.straight_through


def test_a_kernel_is_used_where_the_device_has_one(model, images, rng, monkeypatch):
    """No GPU here: the choice is tested, the kernel is not."""
    asked = []
    monkeypatch.setattr(int4, "lacking", lambda *_: "")
    monkeypatch.setattr(int4.Kernel, "of", lambda *given: asked.append(given[1:]) or nn.Linear(96, 3))
    int4.compress(model, int4.Config(), images, rng)
    assert asked == [("int4_weight", 32)], "the linear layer, and not the convolution"
    int4.compress(model, int4.Config(group=20), images, rng)
    assert len(asked) == 1, "no kernel takes groups of 20"


def test_nothing_to_quantize_is_refused(task, rng):
    with pytest.raises(RecipeError, match=r"quantize\.int4.*left to quantize"):
        int4.compress(nn.ReLU(), int4.Config(), task, rng)
