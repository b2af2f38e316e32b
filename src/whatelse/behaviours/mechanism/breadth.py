"""For how many classes a unit of the last hidden layer fires: the effective number, averaged over units.

With ``m_c`` the mean firing ``max(a, 0)`` of a unit over the test examples of class ``c`` and ``p_c = m_c / sum m_c``,
the effective number of classes is ``exp(-sum p_c log p_c)``: 1 if it fires for one class only, the number of classes
if for all alike. Of activations that can be negative only the positive part counts. Units that never fire are left
out; `mechanism.dead` counts them. The mean is taken over units, anew on every resample.

Reading:
    Between 1 and the number of classes: how many classes share a unit, a plain sign of units with several meanings.
    Lower means that a unit is easier to name, not that the model is better.

Cost:
    No pass of its own: the activations of the shared pass over test.

Limits:
    Means of few examples vary, which makes units look narrower than they are, in both models. Several classes do not
    prove several features: a feature may belong to several classes. Over ``units`` units at the most, evenly apart.

Source:
    Effective numbers: Hill, Diversity and evenness, Ecology 1973; units with several meanings: Elhage et al., Toy
    models of superposition, 2022, arXiv:2209.10652.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer
from whatelse.behaviours.mechanism import _firing
from whatelse.evidence.cache import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = 2, "classes", "lower", {"predicts", "opens"}, "test example"
WORST, BLIND = None, None


@dataclass(frozen=True)
class Config:
    """Settings of the effective number of classes."""

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
    worst = float(len(torch.unique(evidence.split("test").targets)))
    return _firing.with_class(evidence, config.units, {"worst": worst})


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean effective number of classes of every resample, ``(draws,)``; NaN where no unit fires.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    shape = (len(weights), len(_firing.units(answer)))
    total, weighted = np.zeros(shape), np.zeros(shape)
    for _, mean in _firing.class_means(answer, weights):
        total = total + mean
        weighted = weighted + mean * np.log(np.where(mean > 0, mean, 1))
    fires = total > 0
    whole = np.where(fires, total, 1)
    # -sum p log p with p = m / total.
    return _firing.mean_over(fires, np.exp(np.log(whole) - weighted / whole))
