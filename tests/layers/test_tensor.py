import math

import pytest
import torch

from whatelse.layers.tensor import TensorLayer
from whatelse.modules import codec
from whatelse.training.initialize import initialize


@pytest.fixture
def layer(rng):
    made = TensorLayer((3, 4, 2), 5, (2, 3, 2, 4), bias=True)
    initialize(made, rng)
    return made


def kron(*parts):
    whole = torch.ones(1, 1)
    for part in parts:
        whole = torch.kron(whole, part)
    return whole


def test_it_is_the_linear_layer_of_its_weight(layer, rng):
    # vec of a Tucker tensor, in row-major order: the Kronecker product of all factors times vec of the core.
    full = kron(*layer.factors, layer.leave) @ layer.core.flatten()
    assert torch.allclose(layer.whole(), full.view(24, 5).mT, atol=1e-6)
    x = torch.randn(7, 6, 24, generator=rng)
    assert torch.allclose(layer(x), x @ full.view(24, 5) + layer.bias, atol=1e-5)


def test_the_gradient_of_a_factor_is_that_of_the_paper(layer, rng):
    # dE/dU_n = unfold_n(dE/dW) (kron of the other factors) G_(n)^T.
    x = torch.randn(7, 24, generator=rng)
    weight = layer.whole().detach().requires_grad_()
    (torch.nn.functional.linear(x, weight, layer.bias).sin().sum()).backward()
    layer(x).sin().sum().backward()
    slope = weight.grad.mT.reshape(3, 4, 2, 5)
    factors = [f.detach() for f in (*layer.factors, layer.leave)]
    for n, factor in enumerate((*layer.factors, layer.leave)):
        others = kron(*(f for m, f in enumerate(factors) if m != n))
        core = layer.core.detach().movedim(n, 0).flatten(1)
        expected = slope.movedim(n, 0).flatten(1) @ others @ core.mT
        assert torch.allclose(factor.grad, expected, atol=1e-5)


def test_a_drawn_layer_has_the_variance_of_a_linear_one(rng):
    made = TensorLayer((16, 16), 64, (8, 8, 16), bias=True)
    variances = []
    for _ in range(20):
        initialize(made, rng)
        variances.append(made.whole().var().item())
    assert sum(variances) / 20 == pytest.approx(1 / (3 * 256), rel=0.2)
    assert made.bias.abs().max().item() <= 1 / 16


def test_it_is_saved_and_counted(layer, rng):
    x = torch.randn(7, 24, generator=rng)
    again = codec.decode(*codec.encode(torch.nn.Sequential(layer, torch.nn.ReLU())))
    assert torch.equal(again[0](x), layer(x))
    assert sum(w.numel() for w in layer.weights()) == 3 * 2 + 4 * 3 + 2 * 2 + 5 * 4 + 2 * 3 * 2 * 4 + 5
    assert TensorLayer((4,), 3, (2, 2), bias=False)(torch.ones(2, 4)).shape == (2, 3)
    assert math.prod(layer.modes) == 24


def test_its_parameters_can_be_swapped_for_a_call(rng):
    # As torch.func does: what is put in place of a parameter is a plain tensor.
    layer = TensorLayer((2, 3), 4, (2, 2, 3), bias=True)
    given = {name: torch.rand(p.shape, generator=rng) for name, p in layer.named_parameters()}
    x = torch.rand(5, 6, generator=rng)
    said = torch.func.functional_call(layer, given, (x,))
    layer.load_state_dict(given)
    assert torch.equal(said, layer(x))
