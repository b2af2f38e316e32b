"""Smooth calibration error: difference of confidence and accuracy, smoothed by a kernel instead of cut into bins.

With confidence ``f`` in the predicted class and correctness ``y`` the error at bandwidth ``s`` is ``integral over t in
[0, 1] of |mean_i (y[i] - f[i]) * kernel_s(t, f[i])|``, the kernel a Gaussian reflected at 0 and 1. It falls with ``s``;
the smooth calibration error is the one value of ``s`` at which the error is ``s`` itself, so there is nothing to
choose and no jump at a border between bins.

The reflected kernel is ``1 + 2 * sum over k of exp(-(pi * k * s)**2 / 2) * cos(pi * k * t) * cos(pi * k * f)``. So the
differences ``y - f`` are added up on a grid of 257 points (each shared between its two neighbors), once for every
resample; their 128 cosine coefficients then give the error at any bandwidth, which is found by bisection.

Reading:
    Near the mean distance between confidence and accuracy: 0 is a calibrated model, .05 one whose confidence is off by
    about .05. It moves smoothly with the model: prefer it to `ece`. A scale of the scores, a temperature, moves it:
    that is what it is about.

Cost:
    The shared pass over test; on resamples 13 products of 128 by 128 for each draw.

Limits:
    Never negative, so a calibrated model of few examples scores above 0, as with `ece`: compare changes, or read
    `calibration`. Only the confidence in the predicted class is judged. Below about .01 the series of 128 cosines is
    the resolution, not the kernel.

Source:
    Blasiok & Nakkiran, Smooth ECE: principled reliability diagrams via kernel smoothing, ICLR 2024, arXiv:2309.12236.
    Departures: many classes are reduced to the confidence in the predicted one; grid and series as above.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse

from whatelse.answer import Answer
from whatelse.behaviours.generalization import _confidence
from whatelse.evidence.cache import Evidence

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = 1, "calibration error", "lower", {"predicts"}, "test example"
WORST, BLIND = 1.0, None

_CELLS, _TERMS, _HALVINGS = 256, 128, 12


@dataclass(frozen=True)
class Config:
    """The smooth calibration error has no settings."""


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
    """Return the smooth calibration error of every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    confidence = answer["confidence"].astype(np.float64)
    gaps = _spread(confidence, answer["correct"] - confidence)
    summed = (weights @ gaps) / weights.sum(1, keepdims=True)
    waves = np.arange(_TERMS)
    series = summed @ np.cos(np.pi * np.linspace(0, 1, _CELLS + 1)[:, None] * waves)
    series[:, 1:] *= 2
    return _fixed_point(series)


def _spread(confidence: np.ndarray, gap: np.ndarray) -> sparse.csr_array:
    """Return the gaps on the grid, each shared between its two neighbors, ``(N, 257)``."""
    place = confidence.clip(0, 1) * _CELLS
    left = np.minimum(place.astype(np.int64), _CELLS - 1)
    share = place - left
    rows = np.arange(len(gap))
    weights = np.concatenate([gap * (1 - share), gap * share])
    where = (np.concatenate([rows, rows]), np.concatenate([left, left + 1]))
    return sparse.csr_array((weights, where), shape=(len(gap), _CELLS + 1))


def _fixed_point(series: np.ndarray) -> np.ndarray:
    """Return the bandwidth that equals the error at it, for each row of cosine coefficients."""
    middles = (np.arange(_TERMS) + 0.5) / _TERMS
    waves = np.arange(_TERMS)
    basis = np.cos(np.pi * waves[:, None] * middles)

    def excess(width: np.ndarray) -> np.ndarray:
        faded = series * np.exp(-((np.pi * waves * width[:, None]) ** 2) / 2)
        found: np.ndarray = np.abs(faded @ basis).mean(1) - width
        return found

    low, high = np.zeros(len(series)), np.ones(len(series))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        above = excess(middle) > 0
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    over, under = np.maximum(excess(low), 0), np.maximum(-excess(high), 0)
    step: np.ndarray = np.where(over + under > 0, over / np.maximum(over + under, 1e-300), 0)
    found: np.ndarray = low + (high - low) * step
    return found
