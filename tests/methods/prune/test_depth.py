import pytest
import torch
from torch import nn
from torch.nn import functional

from whatelse import recipe
from whatelse.errors import RecipeError
from whatelse.methods.prune import depth
from whatelse.modules import codec
from whatelse.modules.skip import skippable
from whatelse.nets import resnet, transformer


def drawn(model, seed=1):
    """Every tensor of the model random, running statistics too, so that no mistake cancels."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.is_floating_point():
                tensor.uniform_(0.2 if "running" in name else -0.5, 1.0 if "running" in name else 0.6, generator=rng)
    return model.eval().requires_grad_(requires_grad=False)


def residual(rng):
    return drawn(resnet.build(resnet.Config(depth=14, width=4), (2, 8, 8), 3, rng))


def images(toy, rng, count=20):
    return toy.task_of(torch.randn(count, 2, 8, 8, generator=rng), torch.arange(count) % 3, classes=3)


@pytest.mark.known_answer
def test_a_residual_net_without_two_blocks_is_the_one_called_by_hand_without_them(toy, rng):
    model, task = residual(rng), images(toy, rng)
    small = depth.compress(model, depth.Config(layers="layer1.1; layer3.1"), task, rng)
    x = functional.relu(model.bn1(model.conv1(task.train.inputs)))
    x = model.layer3[0](model.layer2[1](model.layer2[0](model.layer1[0](x))))
    assert torch.allclose(small(task.train.inputs), model.linear(x.mean((2, 3))), atol=1e-6)
    gone = sum(p.numel() for part in (model.layer1[1], model.layer3[1]) for p in part.parameters())
    assert sum(p.numel() for p in small.parameters()) == sum(p.numel() for p in model.parameters()) - gone
    again = codec.decode(*codec.encode(small))
    assert torch.equal(again(task.train.inputs), small(task.train.inputs))


@pytest.mark.known_answer
def test_of_a_saved_model_the_same_blocks_go_and_it_answers_the_same(toy, rng):
    model, task = residual(rng), images(toy, rng)
    saved = codec.decode(*codec.encode(model))
    small, of_saved = (depth.compress(m, depth.Config(layers="layer1.1; layer2.1"), task, rng) for m in (model, saved))
    assert torch.allclose(small(task.train.inputs), of_saved(task.train.inputs), atol=1e-6)
    count = [sum(p.numel() for p in m.parameters()) for m in (small, of_saved)]
    assert count[0] == count[1] < sum(p.numel() for p in model.parameters())
    once_more = codec.decode(*codec.encode(of_saved))
    assert torch.equal(once_more(task.train.inputs), of_saved(task.train.inputs))
    with pytest.raises(RecipeError, match=r"'layer2.0' cannot be left out: its calls do not begin and end with one"):
        depth.compress(saved, depth.Config(layers="layer2.0"), task, rng)
    # A shortcut beside a block ends in the block's shape, and is no layer that passes on what it is given.
    with pytest.raises(RecipeError, match=r"'layer2.0.shortcut' cannot be left out"):
        depth.compress(saved, depth.Config(layers="layer2.0.shortcut"), task, rng)


@pytest.mark.known_answer
def test_a_block_of_a_transformer_hands_on_the_first_of_what_it_is_given(toy, rng):
    config = transformer.Config(vocabulary=9, width=8, heads=2, depth=2, hidden=12)
    model = drawn(transformer.build(config, (6,), 3, rng))
    task = toy.task_of(torch.randint(1, 9, (20, 6), generator=rng).float(), torch.arange(20) % 3, classes=3)
    small = depth.compress(model, depth.Config(layers="blocks.0"), task, rng)
    ids = task.train.inputs.long()
    h = model.blocks[1](model.embedding(ids) + model.positions, torch.zeros(20, 1, 1, 6))
    assert torch.allclose(small(task.train.inputs), model.head(model.norm(h).mean(1)), atol=1e-5)
    saved = codec.decode(*codec.encode(model))
    of_saved = depth.compress(saved, depth.Config(layers="blocks.0"), task, rng)
    assert torch.allclose(small(task.train.inputs), of_saved(task.train.inputs), atol=1e-6)
    again = codec.decode(*codec.encode(small))
    assert torch.equal(again(task.train.inputs), small(task.train.inputs))


@pytest.mark.known_answer
def test_a_layer_of_a_chain_goes(toy, rng):
    model = drawn(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 3)))
    task = toy.task_of(torch.randn(20, 4, generator=rng), torch.arange(20) % 3, classes=3)
    assert skippable(model, task.train.inputs) == ["0", "2"]
    small = depth.compress(model, depth.Config(layers="2"), task, rng)
    assert torch.equal(small(task.train.inputs), model[3](model[1](model[0](task.train.inputs))))
    assert torch.equal(codec.decode(*codec.encode(small))(task.train.inputs), small(task.train.inputs))


def test_what_can_go_is_told_alike_of_a_model_and_of_what_was_saved_of_it(toy, rng):
    model, task = residual(rng), images(toy, rng)
    found = skippable(model, task.calibration.inputs)
    assert {"layer1.0", "layer1.1", "layer2.1", "layer3.1", "layer2.1.conv2"} <= set(found)
    assert not {"conv1", "layer2", "layer2.0", "layer2.0.conv1", "linear"} & set(found)
    assert set(skippable(codec.decode(*codec.encode(model)), task.calibration.inputs)) == set(found)


class Reads(nn.Module):
    """Reads the weight of a layer besides calling it, and never calls another."""

    def __init__(self):
        super().__init__()
        self.inner, self.idle, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.inner(x) * self.inner.weight.mean())


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ("", "layers is empty; give 'name; name'"),
        ("layer1.9", r"no part 'layer1.9'; did you mean layer1"),
        ("layer2.0", r"'layer2.0' cannot be left out: it makes \(8, 4, 4\) of \(4, 8, 8\)"),
        ("layer1; layer1.1", "'layer1.1' goes twice, inside 'layer1'"),
        ("layer1.1; layer1.1", "'layer1.1' goes twice, by its name"),
        ("linear", r"'linear' cannot be left out: it makes \(3,\) of \(16,\)"),
    ],
)
def test_what_cannot_be_done_is_one_line(layers, said, toy, rng):
    with pytest.raises(RecipeError, match=f"^prune.depth: .*{said}") as caught:
        depth.compress(residual(rng), depth.Config(layers=layers), images(toy, rng), rng)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("layers", "said"), [("inner", "the model takes more of it than"), ("idle", "no input reaches it")]
)
def test_a_layer_that_is_more_than_its_calls_stays(layers, said, toy, rng):
    task = toy.task_of(torch.randn(20, 4, generator=rng), torch.arange(20) % 3, classes=3)
    with pytest.raises(RecipeError, match=f"{layers!r} cannot be left out: {said}"):
        depth.compress(drawn(Reads()), depth.Config(layers=layers), task, rng)


def test_a_recipe_says_it_and_the_model_is_left_as_it_was(toy, rng):
    model, task = residual(rng), images(toy, rng)
    before = model(task.train.inputs)
    (step,) = recipe.parse("prune.depth(layers='layer1.1')")
    recipe.apply(step, model, task, rng)
    assert torch.equal(model(task.train.inputs), before)
