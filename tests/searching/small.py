"""A small problem with widths and layers that go, for searches that cut; fast enough to be measured many times."""

import numpy as np
import torch
from torch import nn

from whatelse import recipe
from whatelse.errors import WhatElseError
from whatelse.searching.protocol import Problem, Score
from whatelse.searching.space import DEPTH, LAYER, WIDTH, Axis, Space
from whatelse.testing.samples import split_of, task_of

SHARES = ("", "0.75", "0.5", "0.25")
AXES = (
    Axis(DEPTH, "2", ("", "drop")),
    Axis(WIDTH, "0", SHARES),
    Axis(WIDTH, "2", SHARES),
    Axis(LAYER, "4", ("", "prune.magnitude(sparsity=0.5)")),
)


def network():
    """Two hidden layers of eight units, of which the second can go."""
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.uniform_(-0.5, 0.6, generator=rng)
    return model.eval().requires_grad_(requires_grad=False)


def examples(count=60):
    """Three classes that three of four numbers tell apart."""
    rng = torch.Generator().manual_seed(4)
    inputs = torch.randn(count, 4, generator=rng)
    return task_of(split_of(inputs, inputs[:, :3].argmax(1)), classes=3).on("select")


class Judge:
    """One budget that scores tell: a tenth of accuracy may go."""

    names, seen, of_scores = ("accuracy",), np.array([True]), True

    def __init__(self, task, before):
        self.inputs = task.test.inputs
        self.rows, self.targets = torch.arange(len(task.test)), task.test.targets
        self.before = self.right(before)

    def right(self, scores):
        return float((scores.argmax(1) == self.targets).double().mean())

    def ask(self, model):
        return model(self.inputs)

    def over(self, scores):
        return np.array([[(self.before - self.right(one)) / 0.1 - 1] for one in scores])


def count(model):
    return float(sum(int((p != 0).sum()) for p in model.parameters()))


def problem(axes=AXES, then="", trials=12):
    model, task = network(), examples()
    judge = Judge(task, model(task.test.inputs))
    sizes = [np.zeros(len(axis.options)) for axis in axes]
    return Problem(Space(tuple(axes), then), model, task, judge, count, {}, sizes, trials)


def made(given, tried):
    small = given.model
    for step in given.space.recipe(tried):
        small = recipe.apply(step, small, given.task, torch.Generator().manual_seed(0))
    return small


def scored(given, tried):
    try:
        small = made(given, tried)
    except WhatElseError as error:
        return Score(float("inf"), why=str(error))
    scores = small(given.task.test.inputs)
    over = {"accuracy": float(given.judge.over([scores])[0, 0])}
    return Score(count(small) / count(given.model), over, scores)


def run(given, search, most=100):
    """Ask and tell until there is no more; what was asked for, in order."""
    asked = []
    while len(asked) < most and (tried := search.ask()) is not None:
        asked.append(tried)
        search.tell(tried, scored(given, tried))
    return asked
