import pytest
import torch

from whatelse.errors import RecipeError
from whatelse.methods.quantize import uniform
from whatelse.modules import codec
from whatelse.nets import cnn


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
    # Calibration inputs run from -2 to 2, in two bits a step of 4/3; -2 lies 1.5 steps below zero, the zero point is 2:
    # the levels are -8/3, -4/3, 0, 4/3.
    model = torch.nn.Linear(2, 2, bias=False)
    config = uniform.Config(bits=8, activation_bits=2, clip=0.0)
    small = uniform.compress(model, config, task, rng)
    x = torch.tensor([[0.5, -0.9], [-3.0, 1.9]], requires_grad=True)
    rounded = small.round_input(x)
    assert rounded.detach().flatten().tolist() == pytest.approx([0, -4 / 3, -8 / 3, 4 / 3])
    rounded.sum().backward()
    assert x.grad.tolist() == [[1, 1], [0, 0]], "clipped values have no gradient, all others pass it"


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
        tensors, _ = codec.encode(uniform.compress(model, uniform.Config(bits=bits), images, rng))
        sizes.append(sum(t.numel() * t.element_size() for n, t in tensors.items() if "codes" in n))
    weights = sum(p.numel() for p in model.parameters() if p.dim() > 1)
    assert sizes[:2] == [weights, weights / 2]
    assert 0.2 * weights < sizes[2] <= weights / 4, "with two bits a layer of many zeros is stored as a mask and values"


def test_quantizing_twice_is_refused(task, rng, linear):
    small = uniform.compress(linear, uniform.Config(), task, rng)
    with pytest.raises(RecipeError, match="left to quantize"):
        uniform.compress(small, uniform.Config(), task, rng)


@pytest.mark.known_answer
@pytest.mark.parametrize(("grid", "group"), [("tensor", 32), ("channel", 32), ("group", 3)])
@pytest.mark.parametrize("symmetric", [True, False])
def test_weights_are_those_that_torch_rounds_to_the_same_grid(grid, group, symmetric, task, rng):
    model = torch.nn.Linear(6, 4, bias=False)
    model.weight.data = torch.randn(4, 6, generator=rng) + 0.5
    images = wide(task, rng)
    config = uniform.Config(bits=3, activation_bits=32, grid=grid, group=group, symmetric=symmetric)
    small = uniform.compress(model, config, images, rng)
    blocks = {"tensor": [model.weight], "channel": model.weight.split(1), "group": model.weight.view(-1, 3).split(1)}
    want = [by_torch(block.detach(), symmetric=symmetric) for block in blocks[grid]]
    assert torch.allclose(small.weight.flatten(), torch.cat([w.flatten() for w in want]), atol=1e-6)
    x = images.calibration.inputs
    assert torch.equal(small(x), torch.nn.functional.linear(x, small.weight)), "32 bits round no activation"


def by_torch(block, *, symmetric):
    if symmetric:
        return torch.fake_quantize_per_tensor_affine(block, float(block.abs().max() / 3), 0, -3, 3)
    low, high = block.min().clamp(max=0), block.max().clamp(min=0)
    scale = float((high - low) / 7)
    return torch.fake_quantize_per_tensor_affine(block, scale, round(float(-low) / scale), 0, 7)


def wide(task, rng):
    split = type(task.test)(torch.randn(600, 6, generator=rng), torch.arange(600) % 4, torch.arange(600) % 4)
    return type(task)("t", 4, (-9, 9), dict.fromkeys(task.splits, split))


@pytest.mark.known_answer
@pytest.mark.parametrize("clip", [0.0, 0.001, 0.2])
def test_bounds_are_the_quantiles_of_all_calibration_inputs_at_once(clip, task, rng):
    images = wide(task, rng)
    small = uniform.compress(torch.nn.Linear(6, 4), uniform.Config(clip=clip), images, rng)
    flat = images.calibration.inputs.flatten().sort().values
    beyond = int(clip * (len(flat) - 1))
    assert small.round_input.low == flat[beyond]
    assert small.round_input.high == flat[-1 - beyond]


class Odd(torch.nn.Module):
    """A residual block with a depthwise convolution, a batch norm, odd padding, tied weights, and a layer unused."""

    def __init__(self):
        super().__init__()
        self.deep = torch.nn.Conv2d(4, 4, 3, padding="same", groups=4)
        self.norm = torch.nn.BatchNorm2d(4)
        self.ring = torch.nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular")
        self.one, self.two = torch.nn.Linear(16, 16), torch.nn.Linear(16, 16)
        self.two.weight = self.one.weight
        self.head, self.unused = torch.nn.Linear(16, 3), torch.nn.Linear(2, 2)

    def forward(self, x):
        x = x + self.norm(self.deep(x))
        return self.head(self.two(self.one(self.ring(x).mean((2, 3)).repeat(1, 4))).relu())


def test_odd_layers_are_left_alone_and_the_others_treated(task, rng):
    split = type(task.test)(torch.rand(9, 4, 6, 6, generator=rng), torch.arange(9) % 3, torch.arange(9) % 3)
    images = type(task)("t", 3, (0, 1), dict.fromkeys(task.splits, split))
    model = Odd().eval().requires_grad_(requires_grad=False)
    small = uniform.compress(model, uniform.Config(), images, rng)
    kinds = {n: type(p).__name__ for n, p in small.named_children()}
    assert [n for n, kind in kinds.items() if kind == "Quantized"] == ["deep", "head"]
    assert torch.allclose(small(split.inputs), model(split.inputs), atol=0.05)
    del small.unused  # a graph is saved without the parts that it never calls
    assert torch.equal(codec.decode(*codec.encode(small))(split.inputs), small(split.inputs))


@pytest.mark.known_answer
def test_a_transformer_layer_calls_the_layers_that_it_would_read_past(task, rng):
    """In evaluation torch's layer passes the weights of its linear layers to one fused call."""
    model = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval().requires_grad_(requires_grad=False)
    labels = torch.arange(12) % 2
    split = type(task.test)(torch.randn(12, 3, 8, generator=rng), labels, labels)
    images = type(task)("t", 2, (-9, 9), dict.fromkeys(task.splits, split))
    small = uniform.compress(model, uniform.Config(bits=3), images, rng)
    called = []
    for layer in (small.linear1, small.linear2):
        whole = layer.round_input.forward
        layer.round_input.forward = lambda x, whole=whole: called.append(1) or whole(x)
    small(split.inputs)
    assert len(called) == 2
