"""Small teachers of every kind, and images that they are taught on."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from whatelse.nets import cnn
from whatelse.training import loop
from whatelse.training.initialize import initialize


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1, groups=2), nn.BatchNorm2d(width)

    def forward(self, x):
        return torch.relu(self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x))))) + x)


class Attend(nn.Module):
    """A block of attention by torch's fused kernel, which a CPU cannot differentiate twice."""

    def __init__(self, width):
        super().__init__()
        self.norm, self.mix, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        q, k, v = self.mix(self.norm(x))[:, None].chunk(3, -1)
        return x + self.out(nn.functional.scaled_dot_product_attention(q, k, v)[:, 0])


class Tokens(nn.Module):
    """The rows of an image as tokens; two layers share one weight."""

    def __init__(self):
        super().__init__()
        self.embed, self.blocks = nn.Linear(8, 8), nn.Sequential(Attend(8), Attend(8))
        self.lift = nn.Linear(8, 8, bias=False)
        self.tied = nn.Linear(8, 8, bias=False)
        self.tied.weight = self.lift.weight
        self.head = nn.Linear(64, 3)

    def forward(self, x):
        tokens = self.blocks(self.embed(x[:, 0]))
        return self.head(self.tied(torch.relu(self.lift(tokens))).flatten(1))


def chain():
    return cnn.build(cnn.Config(width=4, hidden=8), (1, 8, 8), 3, torch.Generator())


def residual():
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)]
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), Block(4), nn.MaxPool2d(2), Block(4), *pool)


def perceptron():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))


KINDS = {"chain": chain, "residual": residual, "tokens": Tokens, "perceptron": perceptron}


@pytest.fixture(scope="session")
def taught():
    """The training images, whose class is the brightest of three corners, and a trained teacher of every kind."""
    rng = torch.Generator().manual_seed(5)
    targets = torch.arange(60) % 3
    inputs = 0.5 + 0.1 * torch.randn(60, 1, 8, 8, generator=rng)
    for i, (row, column) in enumerate(((0, 0), (0, 5), (5, 0))):
        inputs[targets == i, 0, row : row + 3, column : column + 3] += 0.3
    models = {}
    with torch.random.fork_rng(devices=[]):
        for name, build in KINDS.items():
            models[name] = build()
            initialize(models[name], rng)
            schedule = loop.Schedule(40 if name == "tokens" else 20, 0.01, 15)
            loop.fit(models[name], inputs, loop.hard_labels(targets), schedule, rng)
    return SimpleNamespace(inputs=inputs, targets=targets, models=models)


@pytest.fixture
def shown(taught, toy):
    """The task of those images."""
    return toy.task_of(taught.inputs, taught.targets, classes=3, bounds=(0, 1))


def _zeros(model):
    return sum(int((p == 0).sum()) for p in model.parameters() if p.dim() > 1)


@pytest.fixture
def sound(taught):
    """A check that a pruned student kept its zeros, moved, is frozen, and that no hook stays on either model."""

    def check(teacher, student, share):
        assert student is not teacher
        weights = sum(p.numel() for p in student.parameters() if p.dim() > 1)
        assert _zeros(student) >= share * weights - 1
        for model in (teacher, student):
            assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
            assert not any(p.requires_grad for p in model.parameters())
        then, now = teacher.state_dict(), student.state_dict()
        assert any(not torch.equal(t, now[n]) for n, t in then.items() if t.dim() > 1)
        assert student(taught.inputs).isfinite().all()
        assert float((student(taught.inputs).argmax(1) == taught.targets).float().mean()) > 0.75

    return check
