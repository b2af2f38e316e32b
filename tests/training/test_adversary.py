import pytest
import torch
from torch.nn import functional

from whatelse.errors import RecipeError
from whatelse.training.adversary import Ball, attackable, pgd
from whatelse.training.initialize import initialize


def total(labels):
    return lambda logits: functional.cross_entropy(logits, labels, reduction="sum")


@pytest.mark.known_answer
@pytest.mark.parametrize("eps", [0.05, 0.3, 2.0])
@pytest.mark.parametrize(("step", "steps"), [(0.25, 8), (2.0, 1)])
def test_of_a_linear_model_it_finds_the_corner_of_the_ball_inside_the_bounds(eps, step, steps, rng):
    # Two classes: the gradient of the loss is a positive multiple of w_other - w_true everywhere. Steps that add up
    # to twice the radius reach the border from any start.
    model = torch.nn.Linear(5, 2)
    initialize(model, rng)
    x, y = torch.rand(40, 5, generator=rng), torch.arange(40) % 2
    found = pgd(model, x, total(y), Ball(eps, step, steps, (0.0, 1.0)), rng)
    away = (model.weight[1 - y] - model.weight[y]).sign()
    assert torch.allclose(found, (x + eps * away).clamp(0, 1), atol=1e-6)


@pytest.mark.parametrize("steps", [1, 5])
def test_points_stay_in_the_ball_and_the_bounds_and_raise_the_loss(steps, rng):
    model = torch.nn.Sequential(torch.nn.Linear(6, 12), torch.nn.Tanh(), torch.nn.Linear(12, 3))
    initialize(model, rng)
    model.requires_grad_(requires_grad=False)
    x, y = torch.rand(30, 6, generator=rng), torch.arange(30) % 3
    found = pgd(model, x, total(y), Ball(0.2, 0.5, steps, (0.0, 1.0)), rng)
    assert float((found - x).abs().max()) <= 0.2 + 1e-6
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    assert float(total(y)(model(found))) > float(total(y)(model(x)))


def test_the_model_is_left_as_it_was(rng):
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(), torch.nn.ReLU())
    model.train()
    model[2].eval()
    modes = [m.training for m in model.modules()]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    pgd(model, torch.rand(8, 3, generator=rng), total(torch.arange(8) % 4), Ball(0.1, 0.5, 3, (0.0, 1.0)), rng)
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_no_radius_is_no_change_and_no_draw(rng):
    x, state = torch.rand(3, 2), rng.get_state()
    assert pgd(torch.nn.Linear(2, 2), x, total(torch.tensor([0, 1, 1])), Ball(0.0, 1.0, 3, (0.0, 1.0)), rng) is x
    assert torch.equal(state, rng.get_state())


def test_inputs_that_cannot_be_moved_are_refused():
    with pytest.raises(RecipeError, match=r"any\.item: the inputs are torch\.int64, which no gradient moves"):
        attackable(torch.nn.Linear(3, 2), torch.zeros(2, 3, dtype=torch.int64), (0, 9), "any.item")
    with pytest.raises(RecipeError, match=r"any\.item: train inputs lie in -1 to 2, outside the bounds 0 to 1"):
        attackable(torch.nn.Linear(2, 2), torch.tensor([[-1.0, 2.0]]), (0, 1), "any.item")


class Looks(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rows = torch.nn.Embedding(4, 2)

    def forward(self, x):
        return self.rows(x.long()).mean(1)


def test_a_model_that_looks_its_inputs_up_is_refused():
    with pytest.raises(RecipeError, match="no gradient by its inputs"):
        attackable(Looks(), torch.ones(3, 2), (0, 3), "any.item")
