"""How much units prefer one class: the mean class selectivity index over the last hidden layer.

With ``m_c`` the mean firing of a unit over the test examples of class ``c``, the index of the unit is ``(top - rest) /
(top + rest)``: ``top`` the largest ``m_c``, ``rest`` the mean of the others. Firing is ``max(a, 0)``: what a ReLU
gives, and of activations that can be negative (GELU, SiLU, Tanh, outputs of blocks) the positive part alone, so that
the index lies in [0, 1] for every network. Units that never fire are left out; `mechanism.dead` counts them. The
mean is taken over units, anew on every resample.

Reading:
    0: units fire for all classes alike; 1: each fires for one class only. Higher means that a unit can be named
    after a class, not that the model is better: selectivity is not needed for accuracy.

Cost:
    No pass of its own: the activations of the shared pass over test.

Limits:
    The largest of several means is above the rest by chance: few examples a class push the index up, in both models.
    What is negative is not seen; a unit that is silent for one class alone scores low. It tells nothing of features
    that lie across units. Over ``units`` units at the most, evenly apart.

Source:
    Morcos et al., On the importance of single directions for generalization, ICLR 2018, arXiv:1803.06959; its limits:
    Leavitt & Morcos, Selectivity considered harmful, ICLR 2021, arXiv:2003.01262.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer
from whatelse.behaviours.mechanism import _firing
from whatelse.evidence.cache import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = 1, "selectivity index", "higher", {"predicts", "opens"}, "test example"
WORST, BLIND = 0.0, None


@dataclass(frozen=True)
class Config:
    """Settings of the class selectivity."""

    units: int = param(128, "Units of the layer, evenly apart, at the most.", low=1, high=65_536)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return the firing of each ``unit`` on each test example and, last, its ``class``, ``(N,)`` each.

    Args:
        evidence: Gives the last hidden layer.
        config: How many units.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: The model does not open or has no hidden layer.
    """
    del rng
    return _firing.with_class(evidence, config.units)


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean index of every resample, ``(draws,)``; NaN where no unit fires or there is one class.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    shape = (len(weights), len(_firing.units(answer)))
    top, total, classes = np.zeros(shape), np.zeros(shape), np.zeros((len(weights), 1))
    for known, mean in _firing.class_means(answer, weights):
        top, total, classes = np.maximum(top, mean), total + mean, classes + known
    rest = (total - top) / np.maximum(classes - 1, 1)
    fires = (total > 0) & (classes > 1)
    return _firing.mean_over(fires, (top - rest) / np.where(fires, top + rest, 1))
