import pytest
import torch
from torch import nn

from whatelse.errors import RecipeError
from whatelse.layers.quantized import Quantized
from whatelse.methods.quantize import gptq
from whatelse.modules import calibration, codec, walk
from whatelse.nets import cnn


def task_with(task, inputs, classes=3):
    labels = torch.arange(len(inputs)) % classes
    split = type(task.test)(inputs, labels, labels)
    return type(task)("t", classes, (-99, 99), dict.fromkeys(task.splits, split))


def correlated(rng, count, width):
    return torch.randn(count, width, generator=rng) @ torch.randn(width, width, generator=rng)


def slow(weight, x, tight, order, damp):
    """Optimal brain quantization in a given order: the paper's equations (1) to (3), one weight after another."""
    gram = (x.double().T @ x.double()) / len(x)
    gram += damp * gram.diagonal().mean() * torch.eye(len(gram))
    columns = gram.diagonal().argsort(descending=True).tolist() if order == "activation" else list(range(len(gram)))
    grid = [part.double() for part in tight.levels()]
    made = []
    for row, scale, low, high in zip(weight.double(), *grid, strict=True):
        w, inverse = row.clone(), torch.linalg.inv(gram)
        for j in columns:
            level = (w[j] / scale[j]).round().clamp(low[j], high[j])
            change = (w[j] - scale[j] * level) / inverse[j, j] * inverse[:, j]
            w -= change
            w[j] = scale[j] * level
            inverse = inverse - torch.outer(inverse[:, j], inverse[j]) / inverse[j, j]
            inverse[j], inverse[:, j] = 0, 0
            inverse[j, j] = 1  # done: nothing flows to or from it any more
        made.append(w)
    return torch.stack(made)


@pytest.mark.known_answer
@pytest.mark.parametrize("order", ["plain", "activation"])
@pytest.mark.parametrize(
    ("grid", "symmetric", "block"),
    [("channel", True, 128), ("channel", False, 4), ("group", True, 3), ("tensor", True, 1)],
)
def test_it_agrees_with_one_weight_after_another(order, grid, symmetric, block, task, rng):
    x = correlated(rng, 300, 10)
    model = nn.Linear(10, 3, bias=False)
    model.weight.data = torch.randn(3, 10, generator=rng)
    config = gptq.Config(bits=3, order=order, grid=grid, group=4, symmetric=symmetric, block=block)
    small = gptq.compress(model, config, task_with(task, x), rng)
    plain = Quantized.of(model, 3, 32, grid=grid, group=4, symmetric=symmetric)
    want, nearest = slow(model.weight.detach(), x, plain, order, 0.01), plain.weight.double()
    gram = x.double().T @ x.double()
    errors = [(((w - model.weight.double()) @ gram) * (w - model.weight.double())).sum(1) for w in (want, nearest)]
    want = torch.where((errors[0] < errors[1])[:, None], want, nearest)
    assert torch.allclose(small.weight.double(), want, atol=1e-5)
    assert bool((errors[0] < errors[1]).any()), "compensation won somewhere, or this shows nothing"


def error(layer, weight, gram):
    change = (weight - layer.weight.detach()).flatten(1).double().view(len(gram), -1, gram.shape[1])
    return float(((change @ gram) * change).sum())


@pytest.mark.known_answer
@pytest.mark.parametrize("order", ["plain", "activation"])
@pytest.mark.parametrize("bits", [2, 4])
def test_no_layer_errs_more_than_rounding_to_the_nearest(order, bits, task, rng):
    inputs = torch.rand(60, 1, 8, 8, generator=rng).cumsum(3) / 8
    images = task_with(task, inputs)
    model = cnn.build(cnn.Config(width=6, hidden=12), (1, 8, 8), 3, rng)
    small = gptq.compress(model, gptq.Config(bits=bits, order=order), images, rng)
    # Each layer is judged by the inputs that it gets in the quantized model.
    entered = {}
    calibration.watch(small, dict(small.named_children()), inputs, entered.__setitem__)
    gains = []
    for name, layer in walk.layers(model).items():
        columns = calibration.columns(layer, entered[name]).double()
        gram = columns @ columns.mT
        nearest = error(layer, Quantized.of(layer, bits, 32).weight, gram)
        made = error(layer, small.get_submodule(name).weight, gram)
        assert made <= nearest * (1 + 1e-9), name
        gains.append(made / nearest)
    assert min(gains) < 0.8


@pytest.mark.parametrize("seed", range(5))
def test_random_matrices_with_correlated_inputs_err_less(seed, task):
    rng = torch.Generator().manual_seed(seed)
    x = correlated(rng, 500, 24)
    model = nn.Linear(24, 8)
    model.weight.data = torch.randn(8, 24, generator=rng)
    small = gptq.compress(model, gptq.Config(bits=3), task_with(task, x, 8), rng)
    gram = (x.double().T @ x.double())[None]
    assert error(model, small.weight, gram) < 0.9 * error(model, Quantized.of(model, 3, 32).weight, gram)


@pytest.mark.known_answer
def test_a_depthwise_convolution_is_so_many_single_ones(task, rng):
    inputs = torch.rand(20, 3, 6, 6, generator=rng).cumsum(2)
    deep = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1, groups=3), nn.Flatten())
    small = gptq.compress(deep, gptq.Config(bits=3), task_with(task, inputs), rng)
    for i in range(3):
        one = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten())
        one[0].weight.data = deep[0].weight.data[2 * i : 2 * i + 2]
        alone = gptq.compress(one, gptq.Config(bits=3), task_with(task, inputs[:, i : i + 1]), rng)
        assert torch.allclose(small[0].weight[2 * i : 2 * i + 2], alone[0].weight)


@pytest.mark.parametrize("dead", [slice(0, 3), slice(0, 8)])
def test_inputs_that_are_always_zero_are_rounded_to_the_nearest(dead, task, rng):
    x = correlated(rng, 50, 8)
    x[:, dead] = 0
    model = nn.Linear(8, 4)
    small = gptq.compress(model, gptq.Config(), task_with(task, x, 4), rng)
    assert torch.equal(small.weight[:, dead], Quantized.of(model, 4, 32).weight[:, dead])


def test_it_comes_back_from_disk_and_leaves_activations_alone(task, rng):
    inputs = torch.rand(12, 1, 8, 8, generator=rng)
    model = cnn.build(cnn.Config(width=4, hidden=8), (1, 8, 8), 3, rng)
    config = gptq.Config(grid="group", group=8, symmetric=False)
    small = gptq.compress(model, config, task_with(task, inputs), rng)
    assert torch.equal(codec.decode(*codec.encode(small))(inputs), small(inputs))
    assert not small.conv1.round_input.straight_through
    rounded = gptq.compress(model, gptq.Config(activation_bits=8), task_with(task, inputs), rng)
    assert rounded.conv1.round_input.high == inputs.flatten().sort().values[-1]


def test_nothing_to_quantize_is_refused(task, rng):
    with pytest.raises(RecipeError, match=r"quantize\.gptq.*left to quantize"):
        gptq.compress(nn.ReLU(), gptq.Config(), task, rng)
