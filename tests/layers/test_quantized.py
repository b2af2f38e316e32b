import itertools

import pytest
import torch
from torch import nn

from whatelse.layers.quantized import FakeQuantize, Quantized, fits, pack, unpack
from whatelse.nets import _artifact

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
    tensors, spec = _artifact.encode(model)
    again = _artifact.decode(tensors, spec)
    assert torch.equal(again(x), model(x))
    assert all(bool((again[i].weight[z] == 0).all()) for i, z in zip((0, 2), zero, strict=True))
    assert any(name.endswith("codes.mask") for name in tensors) == sparse, "mostly zero codes are stored as such"


def test_a_sparse_grid_with_a_zero_point_takes_little_on_disk(rng):
    layer = nn.Linear(1000, 10, bias=False)
    layer.weight.data = torch.rand(10, 1000, generator=rng) * (torch.rand(10, 1000, generator=rng) < 0.1)
    tensors, _ = _artifact.encode(Quantized.of(layer, 8, 32, symmetric=False))
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
