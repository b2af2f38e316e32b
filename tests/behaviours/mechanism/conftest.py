import numpy as np
import pytest
import torch


def stack(*widths, seed=0, activation=torch.nn.ReLU):
    """Linear layers with a nonlinearity after each but the last, with normal weights."""
    rng, parts = torch.Generator().manual_seed(seed), []
    for i, (a, b) in enumerate(zip(widths, widths[1:], strict=False)):
        parts += [activation()] * (i > 0) + [torch.nn.Linear(a, b)]
    for p in torch.nn.Sequential(*parts).parameters():
        torch.nn.init.normal_(p, generator=rng)
    return torch.nn.Sequential(*parts)


@pytest.fixture(name="stack")
def stack_fixture():
    return stack


@pytest.fixture
def gaussian(toy):
    """A task of normal inputs, three classes by the largest of the first three, and a grouping with missing codes."""

    def make(n=120, features=6, seed=5, **more):
        rng = torch.Generator().manual_seed(seed)
        x, other = torch.randn(n, features, generator=rng), torch.randn(n, features, generator=rng)
        codes = (x[:, 3] > 0).long()
        codes[::10] = -1
        train = toy.split_of(other, other[:, :3].argmax(1), groups={"side": (other[:, 3] > 0).long()})
        return toy.task_of(x, x[:, :3].argmax(1), classes=3, groups={"side": codes}, train=train, **more)

    return make


def once(values):
    """Counts of the sample itself."""
    return np.ones((1, len(values)))


@pytest.fixture(name="once")
def once_fixture():
    return once


@pytest.fixture
def shuffled():
    """A copy of a stack with one hidden layer whose hidden units are in another order."""

    def make(model, order):
        wide = [p.detach().clone() for p in model.parameters()]
        moved = stack(model[0].in_features, len(order), model[2].out_features)
        with torch.no_grad():
            tensors = (wide[0][order], wide[1][order], wide[2][:, order], wide[3])
            for mine, theirs in zip(moved.parameters(), tensors, strict=True):
                mine.copy_(theirs)
        return moved

    return make
