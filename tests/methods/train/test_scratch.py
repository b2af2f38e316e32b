import copy
import math

import pytest
import torch

from whatelse.errors import RecipeError
from whatelse.methods.train import scratch


@pytest.mark.known_answer
def test_without_epochs_weights_are_those_of_the_generator_under_the_mask(task, linear):
    fresh = scratch.compress(linear, scratch.Config(epochs=0), task, torch.Generator().manual_seed(5))
    bound = 1 / math.sqrt(2)
    drawn = torch.empty(2, 2).uniform_(-bound, bound, generator=torch.Generator().manual_seed(5))
    assert torch.equal(fresh.weight, drawn * (linear.weight != 0))


def test_it_learns_a_separable_task(task, rng):
    model = torch.nn.Linear(2, 2)
    fresh = scratch.compress(model, scratch.Config(epochs=60, rate=0.1), task, rng)
    assert (fresh(task.test.inputs).argmax(1) == task.test.targets).all()


def test_weight_decay_shrinks_the_weights(task):
    sizes = []
    for decay in (0.0, 5.0):
        config = scratch.Config(epochs=60, rate=0.1, decay=decay)
        rng = torch.Generator().manual_seed(0)
        sizes.append(scratch.compress(torch.nn.Linear(2, 2), config, task, rng).weight.norm())
    assert sizes[1] < sizes[0] / 2


@pytest.mark.parametrize("net", ["residual", "sentence"])
def test_nothing_of_the_old_weights_is_left_in_any_kind_of_part(net, request):
    model, task = request.getfixturevalue(net)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(3).add_(p != 0)
        for b in other.buffers():
            b.add_(1)
    config = scratch.Config(epochs=1, batch=10)
    made = [scratch.compress(m, config, task, torch.Generator().manual_seed(1)) for m in (model, other)]
    one, two = (m.state_dict() for m in made)
    assert all(torch.equal(one[k], two[k]) for k in one)


@pytest.mark.parametrize("net", ["residual", "sentence"])
def test_every_kind_of_net_learns_from_scratch(net, request):
    model, task = request.getfixturevalue(net)
    fresh = scratch.compress(model, scratch.Config(epochs=40, batch=10), task, torch.Generator().manual_seed(1))
    assert float((fresh(task.train.inputs).argmax(1) == task.train.observed).float().mean()) > 0.9


def test_a_model_without_parameters_is_refused(task, rng):
    with pytest.raises(RecipeError, match=r"train\.scratch: the model has no trainable parameters"):
        scratch.compress(torch.nn.ReLU(), scratch.Config(), task, rng)
