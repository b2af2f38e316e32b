"""Share of the units of the last hidden layer that never fire on test.

A unit is dead if its activation is at most 0 on every test example (of a channel: its mean over the image). Of
activations that can be negative (GELU, SiLU, Tanh, outputs of blocks) only the positive part counts as firing. The
share is taken anew on every resample.

Reading:
    0: every unit is used. Dead units cost memory and time for nothing: a share that rises under compression is room
    for structured pruning, and a part of the representation that is gone.

Cost:
    No pass of its own: the activations of the shared pass over test.

Limits:
    A unit that fires for rare inputs alone counts as dead where none of them is in test, and on the resamples that
    miss them: the interval lies a little high, in both models. A sigmoid is never dead. A unit that fires the same
    for all inputs is as useless, and is not counted. Over ``units`` units at the most, evenly apart.

Source:
    Lu et al., Dying ReLU and initialization, 2019, arXiv:1903.06733; units that hardly fire as room for pruning: Hu
    et al., Network trimming, 2016, arXiv:1607.03250.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer
from whatelse.behaviours.mechanism import _firing
from whatelse.evidence.cache import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = 1, "share of units", "lower", {"predicts", "opens"}, "test example"
WORST, BLIND = 1.0, None


@dataclass(frozen=True)
class Config:
    """Settings of the dead units."""

    units: int = param(1024, "Units of the layer, evenly apart, at the most.", low=1, high=65_536)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return whether each ``unit`` fires on each test example, ``(N,)`` each.

    Args:
        evidence: Gives the last hidden layer.
        config: How many units.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: The model does not open or has no hidden layer.
    """
    del rng
    found = _firing.firing(evidence, config.units)
    return Answer(dict(zip(found.names, (found.values > 0).float().unbind(1), strict=True)), notes=found.notes)


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the share of units that never fire of every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    share: np.ndarray = (weights @ answer.table() < 0.5).mean(1)
    return share
