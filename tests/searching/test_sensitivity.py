from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from whatelse import testing
from whatelse.modules.walk import copied, place
from whatelse.searching.protocol import Problem
from whatelse.searching.sensitivity import sensitivities
from whatelse.searching.space import Axis, Space


def problem_of(model, names, task, scale=0.1):
    """Every named layer may be replaced by one whose weights are moved a little."""
    parts, axes = {}, []
    rng = torch.Generator().manual_seed(1)
    for at, name in enumerate(names):
        moved = copied(model.get_submodule(name))
        with torch.no_grad():
            for p in moved.parameters():
                p += scale * torch.randn(p.shape, generator=rng)
        parts[at, 1] = moved.requires_grad_(requires_grad=False)
        axes.append(Axis("layer", name, ("", "quantize.uniform()")))
    ask = lambda net: run(net, task)  # noqa: E731 - a judge of nothing
    judge = SimpleNamespace(rows=torch.arange(len(task.test)), names=(), seen=np.ones(0, bool), of_scores=True, ask=ask)
    sizes = [np.array([0.0, -0.1])] * len(axes)
    return Problem(Space(tuple(axes)), model.eval(), task, judge, lambda _: 1.0, parts, sizes, 0)


def swapped(problem, at):
    name = problem.space.axes[at].name
    return place(copied(problem.model), name, problem.parts[at, 1])


def run(model, task):
    with torch.no_grad():
        return model(task.test.inputs)


@pytest.fixture
def task():
    return testing.images()


@pytest.fixture
def flat():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Linear(12, 8), nn.Linear(8, 3))
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.2 * torch.randn(p.shape, generator=rng))
    return model


@pytest.mark.known_answer
def test_it_is_exact_for_every_layer_of_a_linear_network(flat, task):
    problem = problem_of(flat, ["1", "2", "3"], task)
    for at, (alone, moved) in enumerate(sensitivities(problem)):
        assert not alone.any()
        torch.testing.assert_close(moved, run(swapped(problem, at), task) - run(flat, task), rtol=1e-4, atol=1e-5)


@pytest.mark.known_answer
def test_it_is_exact_for_the_last_layer_of_any_network(task):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(4 * 36, 3))
    problem = problem_of(model, ["3"], task)
    [(_, moved)] = sensitivities(problem)
    torch.testing.assert_close(moved, run(swapped(problem, 0), task) - run(model, task), rtol=1e-4, atol=1e-5)


@pytest.mark.known_answer
def test_elsewhere_it_is_the_first_order(task):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 36, 3)).eval()
    errors = []
    for scale in (0.02, 0.01):
        problem = problem_of(model, ["0"], task, scale)
        [(_, moved)] = sensitivities(problem)
        real = run(swapped(problem, 0), task) - run(model, task)
        errors.append(float((moved - real).norm()))
    assert errors[1] < 0.4 * errors[0]  # half the step leaves a quarter of the error


def test_a_layer_that_is_called_twice_counts_twice(task):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.inner, self.last = nn.Linear(64, 6), nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x):
            return self.last(self.inner(self.inner(self.first(x.flatten(1)))))

    model = Twice().eval()
    problem = problem_of(model, ["inner"], task, 1e-3)
    [(_, moved)] = sensitivities(problem)
    torch.testing.assert_close(moved, run(swapped(problem, 0), task) - run(model, task), rtol=0.02, atol=1e-5)


def test_the_model_is_left_as_it_was(flat, task):
    before = [p.clone() for p in flat.parameters()]
    sensitivities(problem_of(flat, ["1", "3"], task))
    assert all(torch.equal(a, b) for a, b in zip(before, flat.parameters(), strict=True))
    assert not any(m._forward_hooks for m in flat.modules())
