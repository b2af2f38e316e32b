import math

import pytest
import torch

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
