import pytest
import torch
from torch import nn

from whatelse import items, recipe
from whatelse.errors import RecipeError, SettingError, UnknownItemError
from whatelse.layers.quantized import Quantized
from whatelse.methods.mixed import layers
from whatelse.nets import cnn
from whatelse.training import initialize


def mixed(model, text, task, rng):
    return layers.compress(model, layers.Config(text), task, rng)


def at_rest(model, rng):
    initialize.initialize(model, rng)
    return model.eval().requires_grad_(requires_grad=False)


def images(toy, rng, count=40):
    inputs = torch.rand(count, 1, 8, 8, generator=rng)
    return toy.task_of(inputs, torch.arange(count) % 3, classes=3, bounds=(0.0, 1.0))


@pytest.fixture
def net(rng):
    return at_rest(cnn.build(cnn.Config(width=4, hidden=8), (1, 8, 8), 3, rng), rng)


@pytest.mark.known_answer
def test_each_layer_by_its_own_recipe_by_hand(task, rng):
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False), nn.Linear(2, 2))
    model.requires_grad_(requires_grad=False)
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.5, -0.1], [0.2, -0.9]]))
        model[2].weight.copy_(torch.tensor([[0.8, -0.3], [0.1, -0.6]]))
    model[3].weight.data = torch.ones(2, 2)
    small = mixed(model, "0: prune.magnitude(sparsity=0.5); 2: quantize.uniform(bits=2)", task, rng)
    # The half of the smallest; two bits are -1, 0, 1 times the largest of a row.
    assert small[0].weight.tolist() == [pytest.approx([0.5, 0]), pytest.approx([0, -0.9])]
    assert torch.allclose(small[2].weight, torch.tensor([[0.8, 0], [0, -0.6]]))
    assert isinstance(small[2], Quantized)
    assert torch.equal(small[3].weight, torch.ones(2, 2))
    assert float(model[0].weight[0, 1]) == pytest.approx(-0.1), "the model that it was given is as it was"


@pytest.mark.known_answer
@pytest.mark.parametrize(
    "steps",
    [
        "prune.wanda(sparsity=0.6)",
        "prune.sparsegpt(sparsity=0.5)",
        "quantize.gptq(bits=3)",
        "decompose.svd(rank=0.5)",
        "prune.magnitude(sparsity=0.7) > quantize.uniform(bits=4)",
    ],
)
def test_every_layer_is_what_the_methods_make_of_it_alone(steps, net, toy, rng):
    """The inputs of each layer are worked out by hand, and are those of the whole model, not of the smaller one."""
    task = images(toy, rng)
    small = mixed(net, f"conv2: {steps}; linear: {steps}", task, rng)
    x = task.calibration.inputs
    given = {"conv2": net.relu1(net.conv1(x))}
    given["linear"] = net.flatten(net.relu3(net.conv3(net.relu2(net.conv2(given["conv2"])))))
    for name, inputs in given.items():
        part = net.get_submodule(name)
        for step in recipe.parse(steps):
            alone = toy.task_of(inputs, torch.arange(len(inputs)) % 2)
            item = items.method(step.name)
            part = item.compress(part, item.configure(dict(step.given)), alone, rng)
        assert torch.equal(small.get_submodule(name)(inputs), part(inputs))
        assert not torch.equal(part(inputs), net.get_submodule(name)(inputs))
    for name in ("conv1", "conv3", "head"):
        assert torch.equal(small.get_submodule(name).weight, net.get_submodule(name).weight)


def test_a_layer_that_is_called_twice_sees_the_inputs_of_both_calls(toy, rng):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, x):
            return self.layer(self.layer(x).relu() - 3)

    model = at_rest(Twice(), rng)
    x = torch.randn(50, 6, generator=rng) * torch.tensor([9, 3, 1, 1, 0.3, 0.1])
    small = mixed(model, "layer: prune.wanda(sparsity=0.5)", toy.task_of(x, torch.arange(50) % 2), rng)
    both = torch.cat([x, model.layer(x).relu() - 3])
    score = model.layer.weight.abs() * both.norm(dim=0)
    kept = score >= score.topk(3).values[:, -1:]
    assert torch.equal(small.layer.weight, model.layer.weight * kept)
    first = model.layer.weight.abs() * x.norm(dim=0)
    assert not torch.equal(kept, first >= first.topk(3).values[:, -1:]), "or this shows nothing"


def test_what_inputs_are_held_at_once_changes_nothing(net, toy, rng, monkeypatch):
    task, text = images(toy, rng), "conv1: quantize.gptq(bits=3); conv3: quantize.gptq(bits=3); head: quantize.gptq()"
    one = mixed(net, text, task, rng)
    monkeypatch.setattr(layers, "_HELD", 1)
    two = mixed(net, text, task, rng)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def test_a_part_that_stands_in_place_of_a_layer_can_be_treated(net, toy, rng):
    task = images(toy, rng)
    thin = mixed(net, "linear: decompose.svd(rank=0.4)", task, rng)
    small = mixed(thin, "linear: quantize.uniform(bits=4)", task, rng)
    assert [type(part) for part in small.linear] == [Quantized, Quantized]


class Reads(nn.Module):
    """Takes more of a layer than its calls."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(2, 4), nn.Linear(4, 2)

    def forward(self, x):
        return nn.functional.linear(self.first(x), self.second.weight) + self.second(self.first(x)) * 0


def test_a_layer_that_the_model_reads_stays_and_is_named(task, rng):
    model = at_rest(Reads(), rng)
    (step,) = recipe.parse("mixed.layers(layers='first: decompose.svd(rank=0.3); second: decompose.svd(rank=0.3)')")
    small = recipe.apply(step, model, task, rng)
    assert isinstance(small.second, nn.Linear)
    assert not isinstance(small.first, nn.Linear)
    assert [line for line in recipe.left_alone(step, model, small) if line.startswith("second")]


class Skips(nn.Module):
    """Has a layer that no input reaches."""

    def __init__(self):
        super().__init__()
        self.used, self.spare = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x):
        return self.used(x)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", RecipeError, "mixed.layers: layers is empty; give 'name: recipe; name: recipe'"),
        ("used", RecipeError, "parts 'used': not of the form 'name: recipe; name: recipe'"),
        ("used:", RecipeError, "not of the form"),
        ("used: quantize.uniform(); used: decompose.svd()", RecipeError, "'used' stands twice; join its steps with"),
        ("usd: quantize.uniform()", RecipeError, "mixed.layers: the model has no part 'usd'; did you mean used"),
        (
            "used: train.finetune()",
            RecipeError,
            r"train.finetune\(\) does not go by a layer's weights and inputs alone",
        ),
        ("used: prune.structured()", RecipeError, r"prune.structured\(\) does not go by a layer's weights"),
        ("used: prune.magnitude(schedule='gradual')", RecipeError, "does not go by a layer's .*; put it before or aft"),
        ("used: mixed.layers()", RecipeError, "does not go by a layer's weights"),
        ("spare: quantize.uniform()", RecipeError, "no calibration input reaches 'spare'; leave it out, or give other"),
        ("used: decompose.tucker()", RecipeError, "mixed.layers: used: decompose.tucker: no ungrouped convolution"),
        ("used: quantize.unifrm()", UnknownItemError, "did you mean quantize.uniform"),
        ("used: quantize.uniform(bits=99)", SettingError, r"bits=99 is outside \[2, 8\]"),
        ("used: quantize.uniform() > decompose.svd()", RecipeError, "put decompose.svd before quantize.uniform"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(text, error, message, task, rng):
    with pytest.raises(error, match=message) as told:
        mixed(at_rest(Skips(), rng), text, task, rng)
    assert "\n" not in str(told.value)
