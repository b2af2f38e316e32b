"""Sparse features that are known: the toy task on which networks put more features into a layer than it has units.

An example has ``features`` independent features; feature ``i`` is on with probability ``p_i`` and then uniform in
(0, 1], else 0. ``p_i`` falls geometrically from ``frequent``, for feature 0, to ``rare``, for the last. The class of
an example is the feature that is largest, so that a network with fewer hidden units than features has to overlay
them; an example in which none is on is drawn again. Elhage et al. reconstruct the features; here one classifies, as
every question of this toolkit is asked of a classifier.

The grouping ``frequency`` says whether the class is one of the rarer half of the features; ``masks`` mark the
feature that decides. Everything is drawn from one fixed seed, the same for every seed of a study; each split is drawn
by itself, and another number of examples of one leaves the others as they are.

Source:
    Elhage et al., Toy models of superposition, Transformer Circuits Thread 2022, arXiv:2209.10652.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from whatelse.errors import SettingError
from whatelse.settings import param
from whatelse.tasks.task import Split, Task

VERSION = 1
_SEEDS = {"train": 2022, "select": 9, "test": 14}


@dataclass(frozen=True)
class Config:
    """Settings of the sparse features."""

    features: int = param(20, "Number of features, and of classes.", low=2, high=10_000)
    frequent: float = param(0.3, "How often the most frequent feature is on.", low=1e-4, high=1.0)
    rare: float = param(0.03, "How often the rarest feature is on; no more often than the most frequent.", low=1e-5)
    train: int = param(2000, "Examples of train; the first fifth of them calibrates.", low=50)
    select: int = param(400, "Examples for choices.", low=20)
    test: int = param(1000, "Examples for verdicts.", low=20)


def load(config: Config) -> Task:
    """Return the sparse features as a task.

    Args:
        config: How many features, how often they are on, how many examples.

    Raises:
        SettingError: The rarest feature would be on more often than the most frequent.
    """
    if config.rare > config.frequent:
        allowed = f"at most frequent={config.frequent}"
        raise SettingError(f"data superposition: rare={config.rare} is not allowed; {allowed}")
    sizes = {"train": config.train, "select": config.select, "test": config.test}
    splits = {name: _draw(config, sizes[name], seed) for name, seed in _SEEDS.items()}
    splits["calibration"] = splits["train"].take(torch.arange(config.train // 5))
    names = {"frequency": ("frequent", "rare")}
    features = tuple(f"feature {i}" for i in range(config.features))
    return Task("superposition", config.features, (0.0, 1.0), splits, names, features)


def _draw(config: Config, count: int, seed: int) -> Split:
    rng = torch.Generator().manual_seed(seed)
    places = torch.linspace(0, 1, config.features, dtype=torch.float64)
    often = (config.frequent * (config.rare / config.frequent) ** places).float()
    found: list[Tensor] = []
    missing = count
    while missing:
        on = torch.rand(count, config.features, generator=rng) < often
        # In (0, 1]: a feature that is on is above zero.
        x = (1 - torch.rand(count, config.features, generator=rng)) * on
        found.append(x[on.any(1)][:missing])
        missing -= len(found[-1])
    inputs = torch.cat(found)
    targets = inputs.argmax(1)
    masks = functional.one_hot(targets, config.features).bool()
    groups = {"frequency": (targets >= config.features // 2).long()}
    return Split(inputs, targets, targets, groups, masks)
