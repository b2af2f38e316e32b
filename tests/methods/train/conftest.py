"""Networks of every kind of part, each with a small task: what training must not stumble over."""

import pytest
import torch
from torch import nn


class Residual(nn.Module):
    """Convolutions with a skip connection: batch norm, a depthwise convolution, a group norm, dropout."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.body = nn.Sequential(
            nn.Conv2d(4, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 4, 3, padding=1, groups=4),
            nn.GroupNorm(2, 4),
            nn.Dropout(0.3),
        )
        self.side = nn.Conv2d(1, 4, 1)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        h = torch.relu(self.stem(x))
        return self.head(torch.relu(h + self.body(h) + self.side(x)).mean((2, 3)))


class Sentence(nn.Module):
    """Tokens to classes: embeddings, a positional parameter, attention, norms; the embedding's weights are tied."""

    def __init__(self, words=9, width=8, length=5):
        super().__init__()
        self.words = nn.Embedding(words, width, padding_idx=0)
        self.places = nn.Parameter(torch.randn(1, length, width))
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, dropout=0.1, batch_first=True)
        self.drop = nn.Dropout(0.1)
        self.after = nn.BatchNorm1d(width)
        self.scale = nn.Parameter(torch.full((width,), 0.5))
        self.tied = nn.Linear(width, words, bias=False)
        self.tied.weight = self.words.weight
        self.head = nn.Linear(words, 3)

    def forward(self, tokens):
        x = self.words(tokens) + self.places
        h = self.norm(x)
        x = x + self.scale * self.attention(h, h, h, need_weights=False)[0]
        return self.head(self.tied(self.after(self.drop(x.mean(1)))))


def frozen(model, rng):
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=rng) + 0.1)
    return model.eval().requires_grad_(requires_grad=False)


@pytest.fixture
def residual(toy, rng):
    inputs, targets = torch.rand(31, 1, 6, 6, generator=rng), torch.arange(31) % 3
    inputs[targets == 1, :, :3] *= 0.2
    inputs[targets == 2, :, 3:] *= 0.2
    return frozen(Residual(), rng), toy.task_of(inputs, targets, classes=3, bounds=(0, 1))


@pytest.fixture
def sentence(toy, rng):
    targets = torch.arange(31) % 3
    tokens = torch.randint(1, 9, (31, 5), generator=rng)
    tokens[:, 0], tokens[:, 4] = targets + 1, 0
    model = frozen(Sentence(), rng)
    model.words.weight[0] = 0
    return model, toy.task_of(tokens, targets, classes=3)
