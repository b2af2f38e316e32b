import gzip
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from whatelse import recipe
from whatelse.errors import RecipeError
from whatelse.layers.tensor import TensorLayer
from whatelse.methods.decompose import tensor_layer
from whatelse.methods.train import finetune
from whatelse.modules import codec
from whatelse.training.initialize import initialize
from whatelse.training.loop import Schedule, fit, hard_labels

FASHION = Path(os.environ.get("WHATELSE_DATA", Path(__file__).parents[4] / "shared" / "data")) / "fashion-mnist"


def of_ranks(modes, out, ranks, rng):
    """A linear layer whose weight has a Tucker form of these ranks, and the tensor layer that it is."""
    held = TensorLayer(modes, out, ranks, bias=True)
    initialize(held, rng)
    layer = nn.Linear(math.prod(modes), out)
    with torch.no_grad():
        layer.weight.copy_(held.whole())
    return layer


@pytest.mark.known_answer
@pytest.mark.parametrize(("modes", "ranks"), [((4, 6), (2, 3, 4)), ((4, 3, 2), (2, 2, 1, 4)), ((24,), (4, 4))], ids=str)
def test_a_weight_of_that_form_is_reproduced(task, rng, modes, ranks):
    layer = of_ranks(modes, 10, ranks, rng)
    config = tensor_layer.Config(modes="x".join(map(str, modes)), ranks="x".join(map(str, ranks)))
    small = tensor_layer.compress(layer, config, task, rng)
    assert isinstance(small, TensorLayer)
    x = torch.randn(7, 24, generator=rng)
    assert torch.allclose(small(x), layer(x), atol=1e-5)
    # in * out over prod R + sum I_n R_n, the bias aside.
    held = math.prod(ranks) + sum(r * size for r, size in zip(ranks, (*modes, 10), strict=True))
    assert sum(w.numel() for w in small.weights()) == held + 10
    again = codec.decode(*codec.encode(small))
    assert torch.equal(again(x), small(x))


@pytest.mark.known_answer
def test_iteration_is_tensorlys_and_never_worse_than_the_hosvd(task, rng):
    tensorly = pytest.importorskip("tensorly")
    from tensorly.decomposition import tucker

    layer = nn.Linear(24, 10)
    errors = []
    for rounds in (0, 1, 40):
        config = tensor_layer.Config(modes="4x6", ranks="2x3x4", rounds=rounds)
        small = tensor_layer.compress(layer, config, task, rng)
        errors.append(float((small.whole() - layer.weight).detach().norm()))
    assert errors[0] >= errors[1] >= errors[2]
    tensor = layer.weight.detach().double().mT.reshape(4, 6, 10).numpy()
    theirs = tensorly.norm(tensor - tensorly.tucker_to_tensor(tucker(tensor, [2, 3, 4], n_iter_max=40, tol=0)))
    assert errors[2] == pytest.approx(float(theirs), rel=1e-4)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, stride=2, padding=1)
        self.wide = nn.Linear(6 * 4 * 4, 30)
        self.norm = nn.BatchNorm1d(30)
        self.head = nn.Linear(30, 2)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.wide(torch.relu(self.conv(x)).flatten(1)))))


@pytest.fixture
def images(toy, rng):
    return toy.task_of(torch.randn(12, 1, 8, 8, generator=rng), torch.arange(12) % 2)


def test_modes_are_those_of_the_map_that_enters(images, rng):
    model = Net().eval()
    small = tensor_layer.compress(model, tensor_layer.Config(rank=0.5), images, rng)
    assert (small.wide.modes, small.wide.ranks) == ((6, 4, 4), (3, 2, 2, 15))
    assert isinstance(model.wide, nn.Linear)
    assert torch.equal(small.head.weight, model.head.weight)
    assert not small.conv._forward_hooks
    again = codec.decode(*codec.encode(small))
    assert torch.equal(again(images.test.inputs), small(images.test.inputs))
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 2)).eval()
    assert tensor_layer.compress(flat, tensor_layer.Config(rank=0.25), images, rng)[1].modes == (8, 8)
    config = tensor_layer.Config(rank=0.25, layer="3")
    assert tensor_layer.compress(flat, config, images, rng)[3].modes == (5, 4)


def test_what_would_not_shrink_is_left_alone(images, rng):
    small = tensor_layer.compress(Net().eval(), tensor_layer.Config(rank=1.0), images, rng)
    assert isinstance(small.wide, nn.Linear)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (tensor_layer.Config(layer="hed"), "no linear layer 'hed'; did you mean head"),
        (tensor_layer.Config(modes="7x9"), "modes 7x9 do not multiply to 96, the inputs of 'wide'"),
        (tensor_layer.Config(modes="6 x 16"), "modes='6 x 16' is not of the form 28x28"),
        (tensor_layer.Config(ranks="3x3"), "ranks 3x3 do not fit 'wide'; at most 6x4x4x30"),
        (tensor_layer.Config(ranks="3x5x2x9"), "at most 6x4x4x30"),
    ],
)
def test_what_does_not_fit_is_refused(images, rng, config, message):
    with pytest.raises(RecipeError, match=message):
        tensor_layer.compress(Net().eval(), config, images, rng)


def test_nothing_to_decompose_is_refused(images, rng):
    with pytest.raises(RecipeError, match="no linear layer to decompose"):
        tensor_layer.compress(nn.Conv2d(1, 1, 1), tensor_layer.Config(), images, rng)


def test_it_can_be_trained_in_that_form_from_random_weights(images, rng):
    model = Net().eval()
    for step in recipe.parse("decompose.tensor_layer(rank=0.5) > train.scratch(epochs=0)"):
        before, model = model, recipe.apply(step, model, images, rng)
    assert all(not torch.equal(a, b) for a, b in zip(before.wide.parameters(), model.wide.parameters(), strict=True))
    assert float(model.wide.whole().var()) == pytest.approx(1 / (3 * 96), rel=0.5)
    (step,) = recipe.parse("train.scratch(epochs=20)")
    trained = recipe.apply(step, model, images, rng)
    assert isinstance(trained.wide, TensorLayer)
    assert (trained(images.train.inputs).argmax(1) == images.train.observed).all()


def fashion(name, count):
    with (
        gzip.open(FASHION / f"{name}-images-idx3-ubyte.gz") as images,
        gzip.open(FASHION / f"{name}-labels-idx1-ubyte.gz") as labels,
    ):
        x = np.frombuffer(images.read(16 + count * 784), np.uint8, offset=16).reshape(-1, 1, 28, 28)
        y = np.frombuffer(labels.read(8 + count), np.uint8, offset=8)
    return torch.tensor(x, dtype=torch.float32) / 255, torch.tensor(y, dtype=torch.int64)


@pytest.mark.slow
@pytest.mark.skipif(not FASHION.exists(), reason=f"{FASHION} is not there; WHATELSE_DATA names the folder of data")
def test_a_layer_of_fifty_times_fewer_weights_is_within_a_point(toy, rng):
    # Calvi et al. state 66.63 times at comparable performance. Measured here on Fashion-MNIST, 10,000 images, at 51.6
    # times, three seeds: .851, .852, .851 before, .847, .849, .850 after; the whole model trained on for as long (the
    # placebo) comes to .861, .859, .859, and the layer trained in this form from random weights to .831, .830, .826.
    train, test = (toy.split_of(*fashion(name, 10_000)) for name in ("train", "t10k"))
    task = toy.task_of(test.inputs, test.targets, classes=10, bounds=(0, 1), train=train)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)
    )
    initialize(model, rng)
    fit(model, train.inputs, hard_labels(train.observed), Schedule(6, 2e-3, 100), rng)
    small = tensor_layer.compress(model, tensor_layer.Config(ranks="10x10x10"), task, rng)
    assert small[1].modes == (28, 28)
    assert model[1].weight.numel() / sum(w.numel() for w in small[1].weights() if w.dim() > 1) > 50
    config = finetune.Config(epochs=4, rate=2e-3, batch=100)
    tuned = finetune.compress(small, config, task, rng)
    placebo = finetune.compress(model, config, task, rng)
    whole, tensor, control = (
        float((m(test.inputs).argmax(1) == test.targets).float().mean()) for m in (model, tuned, placebo)
    )
    assert whole > 0.83
    assert tensor > whole - 0.01
    assert tensor > control - 0.025
