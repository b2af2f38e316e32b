"""Calibration error of every class's probability, one against the rest, squared and debiased, averaged over classes.

For class ``k`` the claim is ``p[:, k]`` and what is so is ``targets == k``: their squared difference in 15 equal-width
bins of the claim, without its bias as in `calibration`, over all examples. The mean over the classes is the squared
marginal calibration error with equal weights. The breakdown is the error of each class.

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
from torch import Tensor

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


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Tensor:
    """Return the probability of every class and, last, the true class of each test example, ``(N, classes + 1)``.

    Args:
        evidence: Gives the logits.
        config: Not used.
        rng: Not used; the behaviour is deterministic.
    """
    del config, rng
    chances = evidence.logits("test").softmax(1).clamp(max=1)
    evidence.name_parts([f"class {k}" for k in range(chances.shape[1])])
    return torch.cat([chances, evidence.split("test").targets[:, None].to(chances)], 1)


def summarise(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the mean over classes of the debiased squared calibration error of every resample, ``(draws,)``.

    Args:
        values: What `measure` returned, ``(N, classes + 1)``.
        counts: How often each example stands in each resample, ``(draws, N)``.
    """
    mean: np.ndarray = by_part(values, counts).mean(1)
    return mean


def by_part(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the debiased squared calibration error of each class in every resample, ``(draws, classes)``.

    Args:
        values: What `measure` returned, ``(N, classes + 1)``.
        counts: How often each example stands in each resample, ``(draws, N)``.
    """
    chances, truth = values[:, :-1].astype(np.float64), values[:, -1:]
    happened = (truth == np.arange(chances.shape[1])).astype(np.float64)
    return _confidence.debiased(chances, happened, counts)
