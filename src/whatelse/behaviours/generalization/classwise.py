"""Calibration error of every class's probability, one against the rest, squared and debiased, averaged over classes.

For class ``k`` the claim is ``p[:, k]`` and what is so is ``targets == k``: their squared difference in 15 equal-width
bins of the claim, without its bias as in `calibration`, over all examples. The mean over the classes is the squared
marginal calibration error with equal weights. The parts are the errors of the classes.

Reading:
    0 is a model whose 20 % for a class means 20 %, for every class and not only the predicted one. Most probabilities
    are near 0 and easily right there: levels are much smaller than those of `calibration`, so compare changes. A scale
    of the scores, a temperature, moves it: that is what it is about.

Cost:
    The shared pass over test; on resamples as much work as `calibration` for each class.

Limits:
    Every class counts alike however rare it is. Like every error in bins it misses what averages out within a bin. One
    class against the rest does not look at pairs of classes: full calibration asks for more.

Source:
    Kumar, Liang & Ma, Verified uncertainty calibration, NeurIPS 2019, arXiv:1909.10155 (marginal, debiased); Kull et
    al., Beyond temperature scaling, NeurIPS 2019, arXiv:1910.12656 (class-wise).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer, Parts
from whatelse.behaviours.generalization import _confidence
from whatelse.evidence.cache import Evidence

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    1,
    "squared calibration error",
    "lower",
    {"predicts"},
    "test example",
    "class",
)
WORST, BLIND = 1.0, None


@dataclass(frozen=True)
class Config:
    """The class-wise calibration error has no settings."""


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return the probability of every class, such as ``class 0``, and ``truth``, the true class of each test example.

    Args:
        evidence: Gives the logits.
        config: Not used.
        rng: Not used; the behaviour is deterministic.
    """
    del config, rng
    chances = evidence.logits("test").softmax(1).clamp(max=1)
    names = tuple(f"class {k}" for k in range(chances.shape[1]))
    columns = dict(zip(names, chances.unbind(1), strict=True))
    return Answer({**columns, "truth": evidence.split("test").targets.to(chances)}, parts=Parts(names))


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean over classes of the debiased squared calibration error of every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    mean: np.ndarray = by_part(answer, config, weights).mean(1)
    return mean


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the debiased squared calibration error of each class in every resample, ``(draws, classes)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    chances, truth = answer.table(*answer.parts.names).astype(np.float64), answer.table("truth")
    happened = (truth == np.arange(chances.shape[1])).astype(np.float64)
    return _confidence.debiased(chances, happened, weights)
