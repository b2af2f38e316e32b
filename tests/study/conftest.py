"""A study small enough to run in seconds, and an engine that runs jobs in this process."""

from concurrent.futures import Executor, Future

import pytest

from whatelse.study.engines._engine import Engine

SMALL = """
name = "small"
title = "Small"
seeds = [0, 1]
draws = 200
[net]
item = "cnn"
settings = { width = 4, hidden = 16 }
[tasks.clean]
data = "digits"
title = "Digits"
baseline = "train.scratch(epochs={epochs})"
values = { epochs = 6 }
[controls]
placebo = "train.finetune(epochs=1)"
twin = ""
[[candidates]]
name = "half"
family = "prune"
level = "strong"
recipe = "prune.magnitude(sparsity=0.9) > train.finetune(epochs=1)"
[[rows]]
name = "overfitting"
title = "Overfitting"
[[measurements]]
row = "overfitting"
item = "generalization.accuracy"
label = "accuracy"
tasks = ["clean"]
margin = 0.02
primary = true
"""


@pytest.fixture
def small():
    return SMALL


class Inline(Executor):
    """Runs a job when it is handed over, in this process."""

    def submit(self, call, /, *args):
        future = Future()
        try:
            future.set_result(call(*args))
        except Exception as error:  # as a worker process does
            future.set_exception(error)
        return future


@pytest.fixture
def inline():
    return Engine(Inline(), 1, lambda: None)
