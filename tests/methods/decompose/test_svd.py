import numpy as np
import pytest
import torch

from whatelse.errors import RecipeError
from whatelse.methods.decompose import svd


@pytest.mark.known_answer
def test_a_linear_layer_becomes_its_best_approximation_of_that_rank(task, rng):
    # Eckart-Young: the error is the root of the squared singular values left out; here by numpy.
    layer = torch.nn.Linear(12, 10)
    small = svd.compress(layer, svd.Config(rank=0.3), task, rng)
    assert [tuple(p.shape) for p in small.parameters()] == [(3, 12), (10, 3), (10,)]
    product = (small.up.weight @ small.down.weight).detach()
    left = np.linalg.svd(layer.weight.detach().numpy(), compute_uv=False)[3:]
    assert float((product - layer.weight.detach()).norm()) == pytest.approx(np.sqrt((left**2).sum()), rel=1e-4)
    assert torch.equal(small.up.bias, layer.bias)


@pytest.mark.known_answer
def test_a_convolution_of_low_rank_is_reproduced_by_two_smaller_ones(task, rng):
    layer = torch.nn.Conv2d(4, 8, 3, stride=2, padding=1)
    with torch.no_grad():
        a, b = torch.randn(8, 2, generator=rng), torch.randn(2, 36, generator=rng)
        layer.weight.copy_((a @ b).view(8, 4, 3, 3))
    small = svd.compress(layer, svd.Config(rank=0.25), task, rng)
    x = torch.randn(3, 4, 8, 8, generator=rng)
    assert torch.allclose(small(x), layer(x), atol=1e-4)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in layer.parameters())


def test_a_layer_that_would_not_shrink_is_left_alone(task, rng):
    model = torch.nn.Sequential(torch.nn.Linear(30, 2), torch.nn.Linear(20, 20))
    small = svd.compress(model, svd.Config(rank=0.9), task, rng)
    assert isinstance(small[0], torch.nn.Linear)
    assert isinstance(small[1], torch.nn.Linear)
    assert isinstance(svd.compress(model, svd.Config(rank=0.4), task, rng)[1], torch.nn.Sequential)


def test_nothing_to_decompose_is_refused(task, rng):
    with pytest.raises(RecipeError, match="decompose before quantizing"):
        svd.compress(torch.nn.ReLU(), svd.Config(), task, rng)
