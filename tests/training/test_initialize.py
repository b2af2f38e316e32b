import math

import pytest
import torch
from torch import nn

from whatelse.training.initialize import initialize


class Bare(nn.Module):
    """Parameters that belong to no layer."""

    def __init__(self):
        super().__init__()
        self.places = nn.Parameter(torch.full((1, 100, 100), 7.0))
        self.scale = nn.Parameter(torch.full((5,), 7.0))
        self.bias = nn.Parameter(torch.full((5,), 7.0))


class Tied(nn.Module):
    """An embedding whose weights are those of a linear layer."""

    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(50, 16), nn.Linear(16, 50)
        self.head.weight = self.words.weight


def drawn(model, seed=0):
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.fill_(7)
    initialize(model, torch.Generator().manual_seed(seed))
    return model


@pytest.mark.known_answer
@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.BatchNorm1d(4),
        lambda: nn.BatchNorm2d(4),
        lambda: nn.BatchNorm2d(4, affine=False),
        lambda: nn.BatchNorm2d(4, track_running_stats=False),
        lambda: nn.LayerNorm((2, 3)),
        lambda: nn.GroupNorm(2, 4),
        lambda: nn.RMSNorm(4),
        lambda: nn.PReLU(),
    ],
)
def test_norms_start_as_torch_makes_them(make):
    mine, theirs = drawn(make()).state_dict(), make().state_dict()
    assert all(torch.equal(mine[k], theirs[k]) for k in theirs)


@pytest.mark.known_answer
@pytest.mark.parametrize(
    ("make", "name", "spread"),
    [
        (lambda: nn.Embedding(200, 100), "weight", 1.0),
        (lambda: nn.LSTM(64, 64), "weight_ih_l0", 1 / 8 / math.sqrt(3)),
        (lambda: nn.Conv1d(16, 64, 9), "weight", 1 / 12 / math.sqrt(3)),
        (lambda: nn.ConvTranspose2d(64, 16, 3), "weight", 1 / 12 / math.sqrt(3)),
        (lambda: nn.MultiheadAttention(64, 2), "in_proj_weight", math.sqrt(2 / (64 + 192))),
        (Bare, "places", 0.02),
        (Tied, "words.weight", 1 / 4 / math.sqrt(3)),
    ],
)
def test_weights_have_the_spread_of_their_law(make, name, spread):
    # At least 800 draws: their standard deviation is known to 2.5 % (normal; less if uniform); four of these.
    weight = drawn(make()).get_parameter(name).detach()
    assert float(weight.std()) == pytest.approx(spread, rel=0.1)
    assert abs(float(weight.mean())) < 0.15 * spread


def test_the_padding_of_an_embedding_is_zero_and_bare_vectors_are_neutral():
    assert not drawn(nn.Embedding(5, 3, padding_idx=2)).weight[2].any()
    bare = drawn(Bare())
    assert bare.scale.tolist() == [1.0] * 5
    assert bare.bias.tolist() == [0.0] * 5


def test_draws_depend_on_the_generator_alone_and_move_it():
    one, two, three = nn.LSTM(3, 4), nn.LSTM(3, 4), nn.LSTM(3, 4)
    state, rng = torch.get_rng_state(), torch.Generator().manual_seed(0)
    initialize(one, rng)
    initialize(two, rng)
    initialize(three, torch.Generator().manual_seed(0))
    assert torch.equal(one.weight_ih_l0, three.weight_ih_l0)
    assert not torch.equal(one.weight_ih_l0, two.weight_ih_l0)
    assert torch.equal(state, torch.get_rng_state())
