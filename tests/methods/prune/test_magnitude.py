import pytest
import torch

from whatelse.errors import RecipeError
from whatelse.methods.prune import magnitude


def layered():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.1, -3.0], [2.0, 0.2]]))
        model[1].weight.copy_(torch.tensor([[5.0, -0.3], [0.4, -6.0]]))
    return model


@pytest.mark.known_answer
def test_smallest_weights_go_first_over_all_layers(task, rng):
    small = magnitude.compress(layered(), magnitude.Config(sparsity=0.5), task, rng)
    assert small[0].weight.tolist() == [[0.0, -3.0], [2.0, 0.0]]
    assert small[1].weight.tolist() == [[5.0, 0.0], [0.0, -6.0]]


def test_biases_stay(task, rng):
    model = layered()
    small = magnitude.compress(model, magnitude.Config(sparsity=1.0), task, rng)
    assert not any(bool(layer.weight.any()) for layer in small)
    assert all(torch.equal(a.bias, b.bias) for a, b in zip(small, model, strict=True))


def test_nothing_to_prune_is_refused(task, rng):
    with pytest.raises(RecipeError, match="prune before quantize"):
        magnitude.compress(torch.nn.ReLU(), magnitude.Config(), task, rng)
