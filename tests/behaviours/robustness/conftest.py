"""Linear classifiers, whose robustness is known in closed form, and evidence of models that hide their gradient."""

from types import SimpleNamespace

import pytest
import torch

from whatelse.evidence.cache import Evidence
from whatelse.models.subject import Subject

EXAMPLES, FEATURES = 120, 6


def linear_of(weight):
    model = torch.nn.Linear(weight.shape[1], len(weight), bias=False)
    model.weight = torch.nn.Parameter(weight.clone(), requires_grad=False)
    return model


def worst(weight, labels, radius):
    """The move inside the ball that costs a two-class linear model most: a corner."""
    return -radius * (weight[labels] - weight[1 - labels]).sign()


def margin(weight, inputs, labels):
    rows = torch.arange(len(labels))
    scores = inputs @ weight.T
    return scores[rows, labels] - scores[rows, 1 - labels]


@pytest.fixture
def lines(toy):
    """Two linear models of two classes on examples of which the first one's margins straddle its robustness."""
    rng = torch.Generator().manual_seed(7)
    first = torch.randn(2, FEATURES, generator=rng)
    second = first + 0.8 * torch.randn(2, FEATURES, generator=rng)
    inputs = torch.randn(EXAMPLES, FEATURES, generator=rng)
    labels = (inputs @ first.T).argmax(1)
    labels[::10] = 1 - labels[::10]
    task = toy.task_of(inputs, labels)
    return SimpleNamespace(
        first=first,
        second=second,
        inputs=inputs,
        labels=labels,
        task=task,
        linear_of=linear_of,
        worst=worst,
        margin=margin,
    )


@pytest.fixture
def claims(lines):
    """Evidence of a model that is said to differentiate, whatever its gradient is."""

    def make(model, task=None):
        subject = Subject("hidden", model.eval(), "key")
        return Evidence(subject, lines.task if task is None else task)

    return make


class Reversed(torch.nn.Module):
    """The right answers with a gradient that points the wrong way."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(2 * x.detach() - x)


class Stepped(torch.nn.Module):
    """A step that no gradient passes."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model((x * 1000).round() / 1000)


class Fickle(torch.nn.Module):
    """Another answer at every second call."""

    def __init__(self, model):
        super().__init__()
        self.model, self.calls = model, 0

    def forward(self, x):
        self.calls += 1
        return self.model(x) * (-1) ** self.calls


@pytest.fixture
def reversed_():
    return Reversed


@pytest.fixture
def stepped():
    return Stepped


@pytest.fixture
def fickle():
    return Fickle
