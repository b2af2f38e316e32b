import pytest
import torch
from torch import nn
from torch.nn import functional

from whatelse import hooks
from whatelse.nets import resnet, transformer


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.head = nn.Linear(2, 3), nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(functional.relu(self.two(functional.relu(self.one(x)))))


class Wrapped(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


def names(model):
    return [name for name, _ in hooks.watched(model)]


def test_nonlinearities_come_first():
    assert names(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2), nn.Tanh())) == ["1", "3"]


@pytest.mark.parametrize("wrap", [0, 1, 2])
def test_blocks_stand_for_nonlinearities_that_are_functions(rng, wrap):
    net = resnet.build(resnet.Config(depth=8, width=2), (1, 8, 8), 2, rng)
    text = transformer.build(transformer.Config(vocabulary=9, width=8, heads=2, depth=3), (5,), 2, rng)
    for model, found in ((net, ["layer1.0", "layer2.0", "layer3.0"]), (text, ["blocks.0", "blocks.1", "blocks.2"])):
        whole = model
        for _ in range(wrap):
            whole = Wrapped(whole)
        assert names(whole) == ["inner." * wrap + n for n in found]


def test_without_blocks_all_linear_maps_but_the_last():
    assert names(Functional()) == ["one", "two"]


@pytest.mark.known_answer
def test_texts_are_averaged_over_tokens_that_are_not_padding():
    output = torch.tensor([[[1.0, 10.0], [3.0, 30.0], [100.0, 100.0]]])
    seen = {}
    hooks.keeper("layer", seen, torch.tensor([[True, True, False]]))(nn.Identity(), None, (output, "more"))
    assert seen["layer"].tolist() == [[2.0, 20.0]]
    hooks.keeper("image", seen, None)(nn.Identity(), None, torch.arange(8.0).view(1, 2, 2, 2))
    assert seen["image"].tolist() == [[1.5, 5.5]]


def test_an_edit_changes_the_tensor_and_leaves_what_comes_with_it():
    change = hooks.editor(lambda h: h * 0)
    out, more = change(nn.Identity(), None, (torch.ones(2), "state"))
    assert out.tolist() == [0, 0]
    assert more == "state"


def test_the_hook_of_the_embedding_is_gone_after_an_error():
    model = nn.Sequential(nn.Embedding(3, 2))
    with pytest.raises(ValueError, match="broken"), hooks.entering(model):
        raise ValueError("broken")
    assert not model[0]._forward_hooks
