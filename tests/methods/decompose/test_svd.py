import numpy as np
import pytest
import torch

from whatelse.errors import RecipeError
from whatelse.methods.decompose import svd
from whatelse.modules import codec


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


def correlated(rng, count=400, size=12):
    """Inputs most of whose variance lies in few directions."""
    mixed = torch.randn(size, size, generator=rng) * 2.0 ** -torch.arange(size)
    return torch.randn(count, size, generator=rng) @ mixed.mT


@pytest.mark.known_answer
@pytest.mark.parametrize("rank", [0.1, 0.3, 0.5])
def test_aware_of_activations_the_error_of_the_outputs_is_the_least_there_is(toy, rng, rank):
    # The outputs of a product of that rank are a matrix of that rank: by Eckart-Young their error is at least the root
    # of the squared singular values of the whole outputs left out, and this is reached.
    x = correlated(rng)
    task = toy.task_of(x, torch.arange(len(x)) % 2)
    layer = torch.nn.Linear(12, 10)
    outputs = x @ layer.weight.detach().T
    errors = {}
    for aware in (False, True):
        small = svd.compress(layer, svd.Config(rank=rank, aware=aware), task, rng)
        errors[aware] = float((small(x) - layer(x)).detach().norm())
    kept = small.down.weight.shape[0]
    least = np.linalg.svd(outputs.numpy().astype(float), compute_uv=False)[kept:]
    assert errors[True] == pytest.approx(np.sqrt((least**2).sum()), rel=1e-3)
    assert errors[True] < 0.9 * errors[False]
    assert torch.equal(small.up.bias, layer.bias)


@pytest.mark.known_answer
@pytest.mark.parametrize("mode", ["zeros", "reflect"])
def test_aware_of_activations_no_layer_has_a_larger_error_than_plain(toy, rng, mode):
    x = correlated(rng, 60, 64).view(60, 1, 8, 8)
    task = toy.task_of(x, torch.arange(60) % 2)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3, padding=1, padding_mode=mode),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 12, 3, stride=2, padding="valid", padding_mode=mode),
        torch.nn.Flatten(),
        torch.nn.Linear(108, 20),
    )
    entering = {name: model[: int(name)](x).detach() for name in ("0", "2", "4")}
    errors = {}
    for aware in (False, True):
        small = svd.compress(model, svd.Config(rank=0.3, aware=aware), task, rng)
        assert all(isinstance(small[int(n)], torch.nn.Sequential) for n in entering)
        errors[aware] = [
            float((small[int(n)](held) - model[int(n)](held)).detach().norm()) for n, held in entering.items()
        ]
    assert all(a < p for a, p in zip(errors[True], errors[False], strict=True))


@pytest.mark.parametrize("aware", [False, True])
def test_a_weight_of_low_rank_is_reproduced_even_where_inputs_were_never_seen(toy, rng, aware):
    layer = torch.nn.Linear(12, 16)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(16, 3, generator=rng) @ torch.randn(3, 12, generator=rng))
    seen = torch.zeros(20, 12)
    seen[:, :2] = torch.randn(20, 2, generator=rng)
    task = toy.task_of(seen, torch.arange(20) % 2)
    small = svd.compress(layer, svd.Config(rank=0.25, aware=aware), task, rng)
    x = torch.randn(5, 12, generator=rng)
    assert torch.allclose(small(x), layer(x), atol=1e-4)
    dead = toy.task_of(torch.zeros(4, 12), torch.tensor([0, 1, 0, 1]))
    assert torch.allclose(svd.compress(layer, svd.Config(rank=0.25, aware=aware), dead, rng)(x), layer(x), atol=1e-4)


@pytest.mark.known_answer
@pytest.mark.parametrize(("energy", "rank"), [(0.5, 1), (0.8, 1), (0.81, 2), (0.96, 2), (0.97, 3)])
def test_energy_picks_the_smallest_rank_that_keeps_it(task, rng, energy, rank):
    # Squared singular values 80, 16, 4 of 100.
    layer = torch.nn.Linear(20, 20)
    with torch.no_grad():
        left, right = (torch.linalg.qr(torch.randn(20, 20, generator=rng)).Q[:, :3] for _ in range(2))
        layer.weight.copy_(left * torch.tensor([80.0, 16.0, 4.0]).sqrt() @ right.mT)
    small = svd.compress(layer, svd.Config(energy=energy - 1e-4), task, rng)
    assert small.down.weight.shape == (rank, 20)


def test_grouped_and_tied_layers_are_left_alone_and_it_is_saved(toy, rng):
    task = toy.task_of(torch.randn(4, 8, 8, 8, generator=rng), torch.tensor([0, 1, 0, 1]))
    model = torch.nn.Sequential(
        torch.nn.Conv2d(8, 8, 3, groups=8), torch.nn.Conv2d(8, 16, 3, padding=1, padding_mode="circular")
    )
    tied = torch.nn.ModuleList([torch.nn.Linear(9, 9), torch.nn.Linear(9, 9), torch.nn.Linear(9, 9)])
    tied[1].weight = tied[0].weight
    small = svd.compress(model, svd.Config(rank=0.3, aware=True), task, rng)
    assert torch.equal(small[0].weight, model[0].weight)
    assert small[1].down.padding_mode == "circular"
    again = codec.decode(*codec.encode(small))
    assert torch.equal(again(task.test.inputs), small(task.test.inputs))
    kinds = [type(part).__name__ for part in svd.compress(tied, svd.Config(rank=0.3), task, rng)]
    assert kinds == ["Linear", "Linear", "Sequential"]
