"""A small world of which everything is known: images with a mark for each group and patch, as many as one asks for."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.tasks.task import Split, Task

SIDE, CLASSES, TRAIN, SELECT = 8, 5, 400, 300
# The corners carry the marks, and are black in every image otherwise.
GROUP, PATCH, QUIET = (0, 0), (0, 7), (7, 7)
MINORITY, PATCHED, NOISE = 0.25, 0.1, 0.2


@cache
def templates() -> Tensor:
    """Return one pattern for each class, ``(classes, 8, 8)``, with black corners."""
    rng = torch.Generator().manual_seed(5)
    made = functional.interpolate(torch.rand(CLASSES, 1, 4, 4, generator=rng), size=SIDE, mode="bilinear")[:, 0]
    return made * _border()


def _border() -> Tensor:
    inside = torch.ones(SIDE, SIDE)
    inside[0], inside[-1] = 0, 0
    inside[:, 0], inside[:, -1] = 0, 0
    return inside


def sample(n: int, rng: torch.Generator, noise: float = 0.0) -> Split:
    """Return ``n`` examples: a pattern and noise; a mark for one in four, a patch for one in ten.

    Args:
        n: How many.
        rng: Source of randomness.
        noise: Share of recorded labels that are wrong.
    """
    targets = torch.randint(CLASSES, (n,), generator=rng)
    targets[:CLASSES] = torch.arange(CLASSES)
    group = (torch.rand(n, generator=rng) < MINORITY).long()
    patch = (torch.rand(n, generator=rng) < PATCHED).long()
    spread = 0.5 * torch.randn(n, SIDE, SIDE, generator=rng) * _border()
    images = (0.15 + 0.7 * templates()[targets] + spread * 0.4).clamp(0, 1) * _border()
    images[:, GROUP[0], GROUP[1]] = group.float()
    images[:, PATCH[0], PATCH[1]] = patch.float()
    wrong = torch.rand(n, generator=rng) < noise
    observed = torch.where(wrong, (targets + 1) % CLASSES, targets)
    groups = {"group": group, "class": targets, "patch": patch}
    return Split(images[:, None], targets, observed, groups)


def task(n: int, rng: torch.Generator) -> Task:
    """Return a task with the one train split and ``n`` fresh test examples.

    Args:
        n: Number of test examples.
        rng: Source of the test examples.
    """
    own = torch.Generator().manual_seed(1)
    train, select = sample(TRAIN, own, NOISE), sample(SELECT, own)
    splits = {"train": train, "calibration": train.take(torch.arange(100)), "select": select, "test": sample(n, rng)}
    names = {"group": ("unmarked", "marked"), "patch": ("no patch", "patched")}
    return Task("world", CLASSES, (0.0, 1.0), splits, {**names, "class": tuple(f"class {k}" for k in range(CLASSES))})


def network(seed: int, hidden: int = 24, epochs: int = 25, spare: int = 8) -> nn.Sequential:
    """Return a small network, trained; its last ``spare`` hidden units hold features that the head does not use.

    Args:
        seed: Decides weights and order.
        hidden: Units that the head uses.
        epochs: Passes over the data.
        spare: Units that it does not.
    """
    rng = torch.Generator().manual_seed(seed)
    train = task(10, torch.Generator().manual_seed(0)).train
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(SIDE * SIDE, hidden + spare), nn.ReLU(), nn.Linear(hidden + spare, CLASSES)
    )
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=rng) * (0.15 if p.dim() > 1 else 0.01))
        model[1].weight[hidden:] *= 3
        model[3].weight[:, hidden:] = 0
    x, y = train.inputs, train.observed
    mask = torch.ones_like(model[3].weight)
    mask[:, hidden:] = 0
    descent = torch.optim.Adam(model.parameters(), 4e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(x), generator=rng).split(50):
            descent.zero_grad()
            functional.cross_entropy(model(x[batch]), y[batch]).backward()
            descent.step()
            with torch.no_grad():
                model[3].weight *= mask
    return model.eval().requires_grad_(requires_grad=False)
