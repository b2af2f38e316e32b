import sys

import pytest
import torch
from torch import nn

from whatelse.errors import MissingExtraError, RecipeError
from whatelse.methods.decompose import cp
from whatelse.modules import codec

tensorly = pytest.importorskip("tensorly")


def of_rank(rank, shape, rng):
    return torch.einsum("ar,br,cr,dr->abcd", *(torch.randn(size, rank, generator=rng) for size in shape))


@pytest.mark.known_answer
@pytest.mark.parametrize(
    "options",
    [
        {"stride": (2, 1), "padding": 1},
        {"padding": "same", "padding_mode": "reflect", "bias": False},
        {"padding": (2, 0), "dilation": (2, 1), "padding_mode": "circular"},
    ],
)
def test_a_kernel_of_known_rank_is_recovered(task, rng, options):
    layer = nn.Conv2d(8, 10, 3, **options)
    with torch.no_grad():
        layer.weight.copy_(of_rank(3, (10, 8, 3, 3), rng))
    # Rank 3 of four layers holds 3 * 24 of 720 weights: the share 0.1.
    small = cp.compress(layer, cp.Config(rank=0.1, sweeps=300), task, rng)
    shapes = [(3, 8, 1, 1), (3, 1, 3, 1), (3, 1, 1, 3), (10, 3, 1, 1)]
    assert [tuple(p.shape) for p in small.parameters() if p.dim() > 1] == shapes
    a, b, c, d = (small.out.weight, small.into.weight, small.down.weight, small.across.weight)
    found = torch.einsum("ar,rb,rc,rd->abcd", *(w.flatten(1).detach() for w in (a, b, c, d)))
    assert float((found - layer.weight.detach()).norm() / layer.weight.detach().norm()) < 1e-3
    x = torch.randn(2, 8, 9, 9, generator=rng)
    assert torch.allclose(small(x), layer(x), atol=0.02)
    norms = [w.flatten(1).norm(dim=0 if w is a else 1) for w in (a, b, c, d)]
    assert all(torch.allclose(norms[0], n, rtol=1e-4) for n in norms), "norms are shared evenly"
    again = codec.decode(*codec.encode(small))
    assert torch.equal(again(x), small(x))


@pytest.mark.known_answer
def test_it_is_tensorlys_decomposition_in_the_backend_that_the_process_had(task, rng):
    layer = nn.Conv2d(4, 6, 3)
    before = tensorly.get_backend()
    small = cp.compress(layer, cp.Config(rank=0.5, starts=1, sweeps=20), task, torch.Generator().manual_seed(0))
    assert tensorly.get_backend() == before
    seed = int(torch.randint(2**31 - 1, (), generator=torch.Generator().manual_seed(0)))
    kernel = layer.weight.detach().double().numpy()
    norm = tensorly.norm(kernel)
    from tensorly.decomposition import parafac

    with pytest.warns(UserWarning, match="larger than min"):
        theirs = tensorly.cp_to_tensor(parafac(kernel / norm, 6, 20, "svd", l2_reg=1e-9, tol=1e-10, random_state=seed))
    parts = (small.out.weight, small.into.weight, small.down.weight, small.across.weight)
    whole = torch.einsum("ar,rb,rc,rd->abcd", *(w.flatten(1).detach().double() for w in parts))
    assert torch.allclose(whole, norm * torch.from_numpy(theirs), atol=1e-5)


def test_more_starts_are_never_worse(task, rng):
    layer = nn.Conv2d(4, 6, 3)
    errors = []
    for starts in (1, 4):
        config = cp.Config(rank=0.4, starts=starts, sweeps=20)
        factors = cp._fitted(layer.weight.detach(), 5, config, torch.Generator().manual_seed(0))
        errors.append(float((torch.einsum("ar,br,cr,dr->abcd", *factors) - layer.weight.detach()).norm()))
    assert errors[1] <= errors[0]


def test_what_is_left_alone(task, rng):
    model = nn.Sequential(
        nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, (1, 3)), nn.Conv2d(8, 8, 3), nn.Linear(4, 4), nn.Conv2d(1, 1, 2)
    )
    small = cp.compress(model, cp.Config(rank=0.2, sweeps=3), task, rng)
    assert [type(part).__name__ for part in small] == ["Conv2d", "Conv2d", "Sequential", "Linear", "Conv2d"]
    with torch.no_grad():
        model[2].weight.zero_()
    assert isinstance(cp.compress(model, cp.Config(rank=0.2), task, rng)[2], nn.Conv2d)


@pytest.mark.parametrize("starts", [1, 2])
def test_a_kernel_of_less_rank_than_is_asked_for_is_fitted_all_the_same(task, rng, starts):
    # Plain least squares stops here with a singular matrix.
    layer = nn.Conv2d(6, 8, 3)
    with torch.no_grad():
        layer.weight.zero_()[0] = 1
    small = cp.compress(layer, cp.Config(rank=0.5, starts=starts), task, rng)
    x = torch.randn(2, 6, 5, 5, generator=rng)
    assert torch.allclose(small(x), layer(x), atol=1e-4)


def test_what_cannot_be_decomposed_is_refused(task, rng, linear, monkeypatch):
    with pytest.raises(RecipeError, match="no ungrouped convolution"):
        cp.compress(linear, cp.Config(), task, rng)
    monkeypatch.setitem(sys.modules, "tensorly", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'whatelse\[tensors\]'"):
        cp.compress(nn.Conv2d(4, 4, 3), cp.Config(), task, rng)
