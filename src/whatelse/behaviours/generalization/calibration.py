"""Squared difference between confidence and accuracy, debiased: 0 on average for a calibrated model.

In each of 15 equal-width bins of confidence, with ``n`` of all ``N`` examples, mean confidence ``s`` and accuracy
``y``, the plug-in error ``(s - y)**2`` is too large by the variance of ``y``, which is subtracted:
``sum_bins n / N * ((s - y)**2 - y * (1 - y) / (n - 1))``. It may come out slightly negative. Bins with fewer than
two examples add nothing. On a resample ``1 / (n - 1)`` becomes ``q / (n**2 - q)``, ``q`` the sum of the squared
counts, which is the same where every count is 1: a repeated example is no new evidence, and without this the
resamples would be centered on the biased error.

Reading:
    0 is a model whose confidence is its accuracy; .01 is confidence off by .1 throughout. Zero and small negative
    values are the same answer: no miscalibration seen. A scale of the scores, a temperature, moves it: that is what it
    is about.

Cost:
    The shared pass over test, nothing else.

Limits:
    Only the confidence in the predicted class is judged, not the whole distribution (`classwise` looks at every class).
    What averages out within a bin is not seen. It has no direction: whether a model is too sure or not sure enough
    shows in the parts of `ece`.

Source:
    Kumar, Liang & Ma, Verified uncertainty calibration, NeurIPS 2019, arXiv:1909.10155.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer
from whatelse.behaviours.generalization import _confidence
from whatelse.evidence.cache import Evidence

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = 1, "squared calibration error", "lower", {"predicts"}, "test example"
WORST, BLIND = 1.0, None


@dataclass(frozen=True)
class Config:
    """The debiased calibration error has no settings."""


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ``confidence`` in the predicted class and ``correct``, whether it is the true one.

    Args:
        evidence: Gives the logits.
        config: Not used.
        rng: Not used; the behaviour is deterministic.
    """
    del config, rng
    return Answer(_confidence.observe(evidence))


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the debiased squared calibration error of every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    sure, right = (answer.table(name).astype(np.float64) for name in ("confidence", "correct"))
    return _confidence.debiased(sure, right, weights)[:, 0]
