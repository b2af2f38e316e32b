import itertools
import math

import pytest
import torch
from torch import nn

from whatelse.artifacts import formats
from whatelse.layers.quantized import FakeQuantize, Quantized, fits, pack, unpack
from whatelse.modules import codec

GRIDS = [("tensor", 0), ("channel", 0), ("group", 4), ("group", 7), ("group", 64)]


def slow_levels(row, bits, *, symmetric):
    """One grid for a list of weights, worked number by number."""
    if symmetric:
        top = 2 ** (bits - 1) - 1
        scale = max(abs(w) for w in row) / top
        return [scale * max(-top, min(top, round(w / scale))) for w in row]
    low, high = min(*row, 0), max(*row, 0)
    scale = (high - low) / (2**bits - 1)
    zero = round(-low / scale)
    return [scale * (max(0, min(2**bits - 1, round(w / scale) + zero)) - zero) for w in row]


@pytest.mark.known_answer
@pytest.mark.parametrize("bits", [2, 3, 5, 8])
@pytest.mark.parametrize(("grid", "group"), GRIDS)
@pytest.mark.parametrize("symmetric", [True, False])
def test_weights_lie_on_grids_worked_number_by_number(bits, grid, group, symmetric, rng):
    layer = nn.Linear(10, 3)
    layer.weight.data = torch.randn(3, 10, generator=rng, dtype=torch.float64).float() + 0.3
    tight = Quantized.of(layer, bits, 8, grid=grid, group=group, symmetric=symmetric)
    rows = [layer.weight.flatten().tolist()] if grid == "tensor" else layer.weight.tolist()
    cut = group if grid == "group" else 30
    want = [slow_levels(row[i : i + cut], bits, symmetric=symmetric) for row in rows for i in range(0, len(row), cut)]
    assert tight.weight.flatten().tolist() == pytest.approx(list(itertools.chain(*want)), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(("grid", "group"), GRIDS)
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("sparse", [True, False])
def test_it_comes_back_bit_for_bit_and_zeros_stay_zero(grid, group, symmetric, sparse, rng):
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, groups=2, bias=False), nn.Flatten(), nn.Linear(100, 5))
    for layer in (model[0], model[2]):
        layer.weight.data = torch.randn(layer.weight.shape, generator=rng) + 0.5
        if sparse:
            layer.weight.data[torch.rand(layer.weight.shape, generator=rng) < 0.9] = 0
    zero = [layer.weight == 0 for layer in (model[0], model[2])]
    for i in (0, 2):
        model[i] = Quantized.of(model[i], 4, 32, grid=grid, group=group, symmetric=symmetric)
    x = torch.randn(6, 2, 5, 5, generator=rng)
    tensors, spec = codec.encode(model)
    again = codec.decode(tensors, spec)
    assert torch.equal(again(x), model(x))
    assert all(bool((again[i].weight[z] == 0).all()) for i, z in zip((0, 2), zero, strict=True))
    assert any(name.endswith("codes.mask") for name in tensors) == sparse, "mostly zero codes are stored as such"


def test_a_sparse_grid_with_a_zero_point_takes_little_on_disk(rng):
    layer = nn.Linear(1000, 10, bias=False)
    layer.weight.data = torch.rand(10, 1000, generator=rng) * (torch.rand(10, 1000, generator=rng) < 0.1)
    tensors, _ = codec.encode(Quantized.of(layer, 8, 32, symmetric=False))
    # 10,000 bits of mask, 1,000 codes, 10 scales of four bytes, 10 zero points, 2 bounds.
    assert sum(t.numel() * t.element_size() for t in tensors.values()) == pytest.approx(1250 + 1000 + 58, rel=0.05)


@pytest.mark.parametrize("bits", range(1, 9))
def test_packing_loses_nothing(bits, rng):
    codes = torch.randint(2**bits, (37,), generator=rng, dtype=torch.uint8)
    packed = pack(codes, bits)
    assert len(packed) == -(-37 * bits // 8)
    assert torch.equal(unpack(packed, bits, 37), codes)


@pytest.mark.parametrize("symmetric", [True, False])
def test_it_takes_levels_chosen_outside(symmetric, rng):
    layer = nn.Linear(12, 4)
    layer.weight.data = torch.randn(4, 12, generator=rng) - 0.4
    tight = Quantized.of(layer, 3, 8, grid="group", group=5, symmetric=symmetric)
    grid = tight.levels()
    levels = (grid.low + (torch.rand(4, 12, generator=rng) * (grid.high - grid.low)).round()).round()
    tight.take(levels)
    assert torch.equal(tight.weight, levels * grid.scale)


@pytest.mark.known_answer
@pytest.mark.parametrize("bits", [2, 3, 8])
@pytest.mark.parametrize(("low", "high"), [(-0.9, 2.1), (-2.0, 2.0), (0.0, 1.7), (-1.3, 0.0), (-0.01, 5.0)])
def test_activations_are_rounded_as_torch_does_with_an_integer_zero_point(bits, low, high, rng):
    step = (high - low) / (2**bits - 1)
    zero = math.floor(-low / step + 0.5 + 1e-6)  # half of an odd number goes up
    x = torch.cat([3 * torch.randn(1000, generator=rng), torch.zeros(1)]).requires_grad_()
    rounded = bounded(bits, low, high)(x)
    theirs = torch.fake_quantize_per_tensor_affine(x.detach(), step, zero, 0, 2**bits - 1)
    assert torch.allclose(rounded, theirs, atol=1e-5)
    assert rounded[-1] == 0, "zero is on the grid exactly"
    rounded.sum().backward()
    inside = (x > -zero * step + 1e-6) & (x < (2**bits - 1 - zero) * step - 1e-6)
    outside = (x < -zero * step - 1e-6) | (x > (2**bits - 1 - zero) * step + 1e-6)
    assert bool((x.grad[inside] == 1).all())
    assert bool((x.grad[outside] == 0).all())


@pytest.mark.known_answer
def test_the_zero_point_worked_by_hand_and_bounds_from_zero_as_ever(rng):
    # A step of 1, and -0.9 is nearest to one step below zero: the levels are -1, 0, 1, 2.
    x = torch.tensor([-3.0, -0.6, -0.4, 0.0, 0.6, 1.9, 2.1, 9.0])
    assert bounded(2, -0.9, 2.1)(x).tolist() == pytest.approx([-1, -1, 0, 0, 1, 2, 2, 2])
    x, high = torch.randn(1000, generator=rng), torch.tensor(1.7)
    inside = x.clamp(0, 1.7)
    old = inside + ((inside / (high / 15)).round() * (high / 15) - inside)
    assert torch.equal(bounded(4, 0.0, 1.7)(x), old)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_a_zero_point_between_the_bounds_is_exported_and_reloaded(kind, rng, tmp_path):
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).eval().requires_grad_(requires_grad=False)
    for i in (0, 2):
        model[i] = Quantized.of(model[i], 4, 5)
        model[i].round_input.low.fill_(-0.7)
    x = torch.randn(8, 6, generator=rng)
    assert torch.equal(codec.decode(*codec.encode(model))(x), model(x))
    assert formats.write(kind, model, tmp_path / "model", x) <= formats.TOLERANCE


def bounded(bits, low, high):
    rounding = FakeQuantize(bits)
    rounding.low.fill_(low)
    rounding.high.fill_(high)
    return rounding


def test_thirty_two_bits_round_no_activation_and_pass_no_surrogate(rng):
    x = torch.randn(5, generator=rng)
    assert FakeQuantize(32)(x) is x
    assert not FakeQuantize(32).straight_through
    assert FakeQuantize(8).straight_through


@pytest.mark.parametrize(
    ("given", "fit"),
    [
        ({"padding": "same"}, True),
        ({"padding": "valid"}, True),
        ({"padding": "same", "kernel_size": 2}, False),
        ({"padding": 1, "padding_mode": "circular"}, False),
        ({"padding": (0, 1), "stride": 2, "dilation": (1, 2), "kernel_size": (3, 2)}, True),
    ],
)
def test_convolutions_of_every_kind_compute_the_same_or_are_said_not_to_fit(given, fit, rng):
    conv = nn.Conv2d(4, 6, **{"kernel_size": 3, "groups": 2} | given)
    conv.weight.data = torch.randint(-127, 128, conv.weight.shape, generator=rng).float()
    conv.weight.data[:, 0, 0, 0] = 127
    assert fits(conv) == fit
    if not fit:
        with pytest.raises(TypeError, match="padding"):
            Quantized.of(conv, 8, 32)
        return
    x = torch.randn(2, 4, 9, 9, generator=rng)
    assert torch.equal(Quantized.of(conv, 8, 32)(x), conv(x)), "integers up to 127 lie on the grid"


def test_a_row_of_zeros_and_another_kind_of_layer():
    layer = nn.Linear(3, 2)
    layer.weight.data = torch.tensor([[0.0, 0, 0], [1, 2, 3]])
    for symmetric in (True, False):
        assert Quantized.of(layer, 4, 8, symmetric=symmetric).weight[0].tolist() == [0, 0, 0]
    assert not fits(nn.Linear(3, 2).double())
    with pytest.raises(TypeError, match="allowed are Conv2d and Linear"):
        Quantized.of(nn.ReLU(), 8, 8)
