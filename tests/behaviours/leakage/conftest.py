"""Small networks of every kind of layer that compression leaves behind."""

from types import SimpleNamespace

import pytest
import torch

from whatelse.methods.decompose import svd
from whatelse.methods.prune import magnitude
from whatelse.methods.quantize import uniform
from whatelse.nets import cnn


@pytest.fixture
def zoo(toy):
    """A small convolutional network, its compressed kin, and the task they are asked."""
    rng = torch.Generator().manual_seed(23)
    inputs, targets = torch.rand(12, 1, 8, 8, generator=rng), torch.arange(12) % 3
    task = toy.task_of(inputs, targets, classes=3, bounds=(0.0, 1.0))
    whole = cnn.build(cnn.Config(width=4, hidden=16), (1, 8, 8), 3, rng)
    steps = {
        "pruned": (magnitude, magnitude.Config(sparsity=0.7)),
        "quantized": (uniform, uniform.Config(bits=8)),
        "factored": (svd, svd.Config(rank=0.3)),
    }
    models = {name: item.compress(whole, config, task, rng) for name, (item, config) in steps.items()}
    return SimpleNamespace(task=task, models={"whole": whole, **models})


@pytest.fixture
def chain():
    """A chain of layers with drawn weights."""

    def make(*layers, seed=29):
        rng = torch.Generator().manual_seed(seed)
        model = torch.nn.Sequential(*layers)
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(torch.randn(p.shape, generator=rng) / max(1, p[0].numel()) ** 0.5)
        return model

    return make
