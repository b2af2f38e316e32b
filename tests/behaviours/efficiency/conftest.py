"""A small network with a layer of each kind, and evidence of it."""

from collections import OrderedDict

import pytest
import torch


@pytest.fixture
def net(rng):
    """On inputs of 2x6x6: 3 maps of 3x3, then 27 numbers to 4 to 2."""
    model = torch.nn.Sequential(
        OrderedDict(
            conv=torch.nn.Conv2d(2, 3, 3, stride=2, padding=1),
            relu=torch.nn.ReLU(),
            flatten=torch.nn.Flatten(),
            linear=torch.nn.Linear(27, 4, bias=False),
            relu2=torch.nn.ReLU(),
            head=torch.nn.Linear(4, 2),
        )
    )
    for p in model.parameters():
        torch.nn.init.uniform_(p, 0.5, 1.5, generator=rng)  # none is zero
    return model


@pytest.fixture
def task(toy, rng):
    return toy.task_of(torch.rand(6, 2, 6, 6, generator=rng), [0, 1, 0, 1, 0, 1])
