import pytest
import torch
from torch import nn

from whatelse.methods.distill import _features
from whatelse.methods.distill._features import Point


def test_points_lie_between_the_first_layer_with_weights_and_the_last(taught):
    found = _features.points(taught.models["chain"], taught.inputs)
    names = ["conv1", "relu1", "conv2", "relu2", "conv3", "relu3", "flatten", "linear", "relu4"]
    assert [p.name for p in found] == names
    assert [round(5 * p.depth) for p in found] == [1, 1, 2, 2, 3, 3, 3, 4, 4]
    assert (found[5].shape, found[5].places, found[6].places) == ((8, 2, 2), 4, 1)


def test_parts_called_twice_and_tuples_are_no_points(taught):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.relu, self.attend = nn.Linear(8, 8), nn.ReLU(), nn.MultiheadAttention(8, 2, batch_first=True)
            self.two, self.head = nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, x):
            x = self.relu(self.one(x[:, 0]))
            x = self.attend(x, x, x)[0]
            return self.head(self.relu(self.two(x.transpose(0, 1)).transpose(0, 1)).mean(1))

    # `two` has the tokens first; attention returns a pair; `relu` is called twice.
    found = _features.points(Twice().eval(), taught.inputs)
    assert [(p.name, p.depth, p.shape) for p in found] == [("one", 0.25, (8, 8))]


def test_partners_have_one_name_or_the_nearest_depth():
    mine = [
        Point("a", 0.2, (2, 4, 4)),
        Point("b", 0.5, (2, 4, 4)),
        Point("b.relu", 0.5, (2, 4, 4)),
        Point("v", 0.6, (8,)),
    ]
    assert _features.partner(Point("a", 0.5, (4, 4, 4)), mine).name == "a"
    assert _features.partner(Point("z", 0.6, (4, 4, 4)), mine).name == "b.relu"
    assert _features.partner(Point("b", 0.2, (16,)), mine).name == "v"
    assert _features.partner(Point("z", 0.2, (4, 4)), mine) is None


def test_a_layer_that_writes_in_place_does_not_change_what_was_read(taught):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(inplace=True), nn.Linear(8, 3))
    told = _features.reader(model, ["1"])(taught.inputs)
    assert torch.equal(told["1"], model[1](taught.inputs.flatten(1)).detach())
    assert torch.equal(told[""], model(taught.inputs).detach())
    assert bool((told["1"] < 0).any())


def watch(model, inputs):
    with _features.watched(model, ["1"]):
        model(inputs)


READS = {"watched": watch, "up_to": lambda model, x: _features.up_to(model, "2", x), "points": _features.points}


@pytest.mark.parametrize("reads", READS)
def test_no_hook_stays_behind_an_exception(reads, taught):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Linear(5, 3))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        READS[reads](model, taught.inputs)
    assert not any(m._forward_hooks for m in model.modules())


@pytest.mark.parametrize("room", [0, 2**30])
def test_what_is_remembered_is_what_is_read(room, rng):
    inputs = torch.randn(600, 3, generator=rng)
    calls = []

    def see(x):
        calls.append(len(x))
        return {"twice": 2 * x}

    told = _features.remembered(see, inputs, room)
    for batch in (torch.tensor([0, 599, 300]), torch.tensor([5])):
        assert torch.equal(told(batch)["twice"], 2 * inputs[batch])
    assert calls == ([2, 3, 1] if room == 0 else [2, 256, 256, 88])
