import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm

from whatelse.errors import RecipeError
from whatelse.layers.quantized import Quantized
from whatelse.methods.decompose import svd
from whatelse.methods.prune import magnitude
from whatelse.methods.quantize import aware, uniform
from whatelse.methods.train import finetune, scratch
from whatelse.modules import codec
from whatelse.modules.walk import copied, layers, swap

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")


class Shared(nn.Module):
    """A layer under two names and four places of a list, in a block that is itself shared."""

    def __init__(self):
        super().__init__()
        self.a, self.head = nn.Linear(6, 6), nn.Linear(6, 3)
        self.b = self.a
        self.block = nn.ModuleList([nn.Sequential(nn.Linear(6, 6), nn.ReLU())] * 4)

    def forward(self, x):
        x = self.b(self.a(x).relu())
        for part in self.block:
            x = part(x)
        return self.head(x)


def shared():
    return Shared().eval().requires_grad_(requires_grad=False)


@pytest.fixture
def wide(toy, rng):
    return toy.task_of(torch.randn(30, 6, generator=rng), torch.arange(30) % 3, classes=3)


def test_a_part_is_replaced_under_every_name(rng):
    model = shared()
    assert list(layers(model)) == ["a", "head", "block.0.0"]
    one, two = nn.Linear(6, 6), nn.Linear(6, 6)
    swap(model, "a", one)
    swap(model, "block.2.0", two)
    assert model.a is one
    assert model.b is one
    assert all(part is model.block[0] for part in model.block)
    assert all(part[0] is two for part in model.block)
    x = torch.randn(5, 6, generator=rng)
    y = one(one(x).relu())
    for _ in range(4):
        y = two(y).relu()
    assert torch.equal(model(x), model.head(y))


@pytest.mark.parametrize(
    ("method", "config"),
    [
        (uniform, uniform.Config(bits=4)),
        (aware, aware.Config(bits=4, epochs=1)),
        (svd, svd.Config(rank=0.2)),
        (magnitude, magnitude.Config(sparsity=0.5)),
    ],
)
def test_a_layer_that_stands_twice_stays_one_and_is_stored_once(method, config, wide, rng):
    model = shared()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    small = method.compress(model, config, wide, rng)
    assert small.a is small.b
    assert small.a is not model.a
    assert len({id(part[0]) for part in small.block}) == 1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    tensors, spec = codec.encode(small)
    again = codec.decode(tensors, spec)
    assert torch.equal(again(wide.test.inputs), small(wide.test.inputs))
    kinds = {name.split(".")[0] for name in tensors}
    assert "b" not in kinds
    assert sum(name.startswith("block") for name in tensors) <= 6, "one layer of four places"
    assert isinstance(small.b, {uniform: Quantized, aware: Quantized, svd: nn.Sequential, magnitude: nn.Linear}[method])


def reparametrized(kind):
    """A chain whose first layer computes its weight anew at every pass, after a pass with gradients."""
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    {
        "weight_norm, old": nn.utils.weight_norm,
        "spectral_norm, old": spectral_norm,
        "weight_norm": parametrizations.weight_norm,
        "mask": lambda layer: prune.random_unstructured(layer, "weight", 0.5),
    }[kind](model[0])
    model(torch.ones(2, 6))
    return model.eval()


KINDS = ["weight_norm, old", "spectral_norm, old", "weight_norm", "mask"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("method", "config"),
    [(uniform, uniform.Config()), (magnitude, magnitude.Config()), (finetune, finetune.Config(epochs=1))],
)
def test_weights_that_are_computed_anew_are_left_alone_and_can_be_copied(kind, method, config, wide, rng):
    model = reparametrized(kind)
    assert list(layers(model)) == ["2"]
    small = method.compress(model, config, wide, rng)
    again = [copied(part) for part in (model, small)]
    assert torch.equal(again[0](wide.test.inputs), model(wide.test.inputs))
    assert torch.equal(again[1](wide.test.inputs), small(wide.test.inputs))
    assert torch.equal(again[0][0].weight, again[1][0].weight) == (method is not finetune)


@pytest.mark.parametrize("kind", KINDS)
def test_where_no_other_layer_is_left_the_message_says_what_to_do(kind, wide, rng):
    model = reparametrized(kind)[:2]
    said = (
        r"the weight of '0' is computed anew.*parametrize\.remove_parametrizations.*remove_weight_norm.*prune\.remove"
    )
    for method in (uniform, magnitude, svd, scratch):
        with pytest.raises(RecipeError, match=said):
            method.compress(model, method.Config(), wide, rng)
    if kind == "weight_norm":
        parametrize.remove_parametrizations(model[0], "weight")
        assert list(layers(model)) == ["0"]
