import copy
import math

import pytest
import torch
from torch import nn

from whatelse.errors import RecipeError
from whatelse.methods.train import scratch, weight_decay
from whatelse.training.initialize import initialize


class Blind(nn.Module):
    """The loss depends neither on unit 0 of the body, nor on what the norm makes of unit 2."""

    def __init__(self):
        super().__init__()
        self.body, self.norm, self.head = nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 2)

    def forward(self, x):
        h = self.norm(self.body(x) * torch.tensor([0.0, 1.0, 1.0]))
        return self.head(h * torch.tensor([1.0, 1.0, 0.0]))


def rates(steps, top):
    """The one-cycle schedule of Smith & Topin: a cosine up over the first 30 % of the steps, a cosine down after."""
    turn = 0.3 * steps - 1
    for t in range(steps):
        share, a, b = (t / turn, top / 25, top) if t <= turn else ((t - turn) / (steps - 1 - turn), top, top / 25 / 1e4)
        yield b + (a - b) / 2 * (1 + math.cos(math.pi * share))


@pytest.mark.known_answer
@pytest.mark.parametrize(("decay", "rate"), [(0.0, 0.1), (0.5, 0.1), (4.0, 0.02)])
def test_weights_on_which_the_loss_does_not_depend_shrink_by_the_product_of_the_rates(decay, rate, task):
    trained = weight_decay.compress(
        Blind(),
        weight_decay.Config(decay=decay, epochs=5, rate=rate, batch=2),
        task,
        torch.Generator().manual_seed(8),
    )
    start = Blind()
    initialize(start, torch.Generator().manual_seed(8))
    shrunk = math.prod(1 - r * decay for r in rates(10, rate))
    pairs = [
        (trained.body.weight[0], start.body.weight[0]),
        (trained.body.bias[0], start.body.bias[0]),
        (trained.norm.weight[2], start.norm.weight[2]),
        (trained.head.weight[:, 2], start.head.weight[:, 2]),
    ]
    assert all(torch.allclose(after, shrunk * before, rtol=1e-5) for after, before in pairs)
    assert not torch.allclose(trained.head.weight[:, 1], shrunk * start.head.weight[:, 1], rtol=1e-3)


@pytest.mark.parametrize("decay", [0.0, 2.0])
def test_it_is_scratch_with_decay(decay, residual):
    model, task = residual
    one = weight_decay.compress(
        model, weight_decay.Config(decay=decay, epochs=2, batch=8), task, torch.Generator().manual_seed(1)
    )
    two = scratch.compress(
        model, scratch.Config(decay=decay, epochs=2, batch=8), task, torch.Generator().manual_seed(1)
    )
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def test_the_model_given_keeps_its_weights_and_zeros_stay(task, linear, rng):
    before = copy.deepcopy(linear.state_dict())
    trained = weight_decay.compress(linear, weight_decay.Config(epochs=3), task, rng)
    assert torch.equal(linear.weight, before["weight"])
    assert trained.weight[:, 1].tolist() == [0.0, 0.0]


def test_a_model_without_parameters_is_refused(task, rng):
    with pytest.raises(RecipeError, match=r"train\.weight_decay: the model has no trainable parameters"):
        weight_decay.compress(nn.ReLU(), weight_decay.Config(), task, rng)
