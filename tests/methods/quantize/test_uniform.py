import pytest
import torch

from whatelse.errors import RecipeError
from whatelse.methods.quantize import uniform
from whatelse.nets import _artifact, cnn


@pytest.mark.known_answer
def test_three_bits_give_seven_levels_a_channel(task, rng):
    model = torch.nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[3.0, 0.6], [-0.14, -0.04]]))
    small = uniform.compress(model, uniform.Config(bits=3), task, rng)
    # Row 0: scale 1, 0.6 rounds to 1. Row 1: scale .14 / 3, -.04 / scale = -.86 rounds to -1.
    assert small.weight[0].tolist() == [3.0, 1.0]
    assert small.weight[1].tolist() == pytest.approx([-0.14, -0.14 / 3])


@pytest.mark.known_answer
def test_activations_lie_on_the_calibrated_grid_and_gradients_pass_straight_through(task, rng):
    # Calibration inputs run from -2 to 2: two bits give the levels -2, -2/3, 2/3, 2.
    model = torch.nn.Linear(2, 2, bias=False)
    config = uniform.Config(bits=8, activation_bits=2, clip=0.0)
    small = uniform.compress(model, config, task, rng)
    x = torch.tensor([[0.5, -0.9], [-3.0, 1.9]], requires_grad=True)
    rounded = small.round_input(x)
    assert rounded.detach().flatten().tolist() == pytest.approx([2 / 3, -2 / 3, -2, 2])
    rounded.sum().backward()
    assert x.grad.tolist() == [[1, 1], [0, 1]], "clipped values have no gradient, all others pass it"


def test_the_file_shrinks_with_the_bits(task, rng):
    model = cnn.build(cnn.Config(), (1, 8, 8), 10, rng)
    inputs = torch.rand(20, 1, 8, 8, generator=rng)
    images = type(task)(
        "t",
        10,
        (0, 1),
        dict.fromkeys(task.splits, type(task.test)(inputs, torch.arange(20) % 10, torch.arange(20) % 10)),
    )
    sizes = []
    for bits in (8, 4, 2):
        tensors, _ = _artifact.encode(uniform.compress(model, uniform.Config(bits=bits), images, rng))
        sizes.append(sum(t.numel() * t.element_size() for n, t in tensors.items() if n.endswith("codes")))
    weights = sum(p.numel() for p in model.parameters() if p.dim() > 1)
    assert sizes == [weights, weights / 2, weights / 4]


def test_quantizing_twice_is_refused(task, rng, linear):
    small = uniform.compress(linear, uniform.Config(), task, rng)
    with pytest.raises(RecipeError, match="left to quantize"):
        uniform.compress(small, uniform.Config(), task, rng)
