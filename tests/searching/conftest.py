import pytest
import torch
from torch import nn

from whatelse.tasks.task import Split, Task


def examples(count, seed):
    """Points on a plane in three sectors: easy, with a few on the borders."""
    rng = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 8, generator=rng)
    return inputs, inputs[:, :3].argmax(1)


@pytest.fixture(scope="session")
def task():
    splits = {}
    for seed, (name, count) in enumerate({"train": 600, "select": 500, "test": 900}.items()):
        inputs, targets = examples(count, seed)
        side = {"side": (inputs[:, 3] > 0).long()}
        splits[name] = Split(inputs, targets, targets, side)
    splits["calibration"] = splits["train"].take(torch.arange(100))
    return Task("sectors", 3, (-6.0, 6.0), splits, {"side": ("left", "right")})


@pytest.fixture(scope="session")
def model(task):
    from whatelse.training.initialize import initialize
    from whatelse.training.loop import Schedule, fit, hard_labels

    rng = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 48), nn.ReLU(), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 3))
    initialize(net, rng)
    fit(net, task.train.inputs, hard_labels(task.train.observed), Schedule(30, 1e-2, 50), rng)
    return net.eval().requires_grad_(requires_grad=False)
