"""How much of one model's hidden representation a linear map finds in the other's, on examples it was not fitted on.

``R2 = 1 - sum |y - f(x)|^2 / sum |y - m|^2`` over test, ``m`` the mean over train; ``f`` is fitted on the activations
of train. Kind *ridge*: any linear map, ``W = (X'X + p v I)^-1 X'Y`` of centered ``X`` and ``Y``, ``p`` the setting
``penalty`` and ``v`` the mean diagonal of ``X'X``. Kind *procrustes*: a turn ``U V'`` of the singular vectors of
``X'Y`` and one scale, so that distances keep their proportions. Way *from candidate*: ``y`` is the baseline's layer
and ``x`` the candidate's, what of the baseline can still be read; *from baseline*: the other way round, what the
candidate adds that the baseline did not have. The parts are the baseline's layers, each beside the candidate's of
like depth; the number is that of the last.

Reading:
    1: everything is there, up to a linear map or a turn; 0: no better than the mean; below 0: the map misleads.
    Ridge high and procrustes low: the same content, stretched. One way high and the other low: a part was dropped.

Cost:
    The shared passes over train and test, forward only, of both models; a system of equations or a singular value
    decomposition of units by units a layer.

Limits:
    Directions of large variance decide it. With fewer train examples than about five for each unit ridge overfits and
    falls; a note says so. The identical model scores a little under 1 with ridge, by at most a quarter of
    ``penalty``. The reference is the mean over train, not over test: scikit-learn's score of the same predictions is
    lower by a hair.

Source:
    Ding, Denain & Steinhardt, Grounding representation similarity with statistical testing, NeurIPS 2021,
    arXiv:2108.01661 (Procrustes); Schonemann, A generalized solution of the orthogonal Procrustes problem,
    Psychometrika 1966; linear regression between representations: Kornblith et al., ICML 2019, arXiv:1905.00414.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer, Parts
from whatelse.behaviours.mechanism import _layers, _linear
from whatelse.evidence.cache import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    1,
    "R2",
    "higher",
    {"predicts", "opens"},
    "test example",
    "layer",
)
WORST, BLIND = None, 0.0


@dataclass(frozen=True)
class Config:
    """Settings of the alignment."""

    kind: str = param(
        "ridge", "Which maps are allowed: linear, or a turn and a scale.", choices=("ridge", "procrustes")
    )
    way: str = param(
        "from candidate",
        "Whether the baseline's representation is predicted from the candidate's, or the other way round.",
        choices=("from candidate", "from baseline"),
    )
    penalty: float = param(1e-3, "Ridge penalty, in units of the mean variance of a unit.", low=1e-9, high=1e3)


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return the squared error and the squared distance from the mean of each test example, ``(N,)`` each.

    Both in units of the variance over train, layer after layer; a note tells where train is short for the width.

    Args:
        baseline: Evidence of the model before compression.
        candidate: Evidence of the compressed model.
        config: Which map and which way.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: A model does not open or has no hidden layer.
    """
    del rng
    names = tuple(_layers.layers(baseline))
    fitted_on, read_on = (_layers.pairs(baseline, candidate, split) for split in ("train", "test"))
    columns: dict[str, Tensor] = {}
    short = 0
    for name, fit, read in zip(names, fitted_on, read_on, strict=True):
        (y, x), (seen, given) = (fit, read) if config.way == "from candidate" else (fit[::-1], read[::-1])
        found = _linear.ridge(x, y, config.penalty) if config.kind == "ridge" else _linear.procrustes(x, y)
        both = _errors(found, given, seen, y)
        columns |= {column: each.float() for column, each in zip(_columns(name), both, strict=True)}
        short = max(short, x.shape[1] if len(x) < 5 * x.shape[1] else 0)
    told = f"fitted on {len(fitted_on[0][0])} train examples for {short} units: R2 falls by overfitting"
    return Answer(columns, parts=Parts(names), notes=(told,) if short else ())


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return R2 of the last hidden layer of every resample, ``(draws,)``; NaN if what is predicted is constant.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    last: np.ndarray = _r2(answer, answer.parts.names[-1:], weights)[:, 0]
    return last


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return R2 of every layer of every resample, ``(draws, layers)``; NaN where what is predicted is constant.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    return _r2(answer, answer.parts.names, weights)


def _columns(layer: str) -> tuple[str, str]:
    """Return the names of the columns of a layer."""
    return f"error in {layer}", f"distance from the mean in {layer}"


def _r2(answer: Answer, layers: Sequence[str], weights: np.ndarray) -> np.ndarray:
    errors = answer.table(*(column for name in layers for column in _columns(name)))
    sums = weights @ errors.astype(np.float64)
    left, all_of_it = sums[:, 0::2], sums[:, 1::2]
    each: np.ndarray = np.where(all_of_it > 0, 1 - left / np.where(all_of_it > 0, all_of_it, 1), np.nan)
    return each


def _errors(fitted: dict[str, Tensor], x: Tensor, y: Tensor, train: Tensor) -> list[Tensor]:
    left, around = torch.zeros(2, len(y), dtype=torch.float64)
    for rows in _layers.chunks(len(y)):
        left[rows] = (y[rows] - _linear.predict(fitted, x[rows])).square().sum(1)
        around[rows] = (y[rows] - fitted["end"]).square().sum(1)
    variance = sum(float((train[r] - fitted["end"]).square().sum()) for r in _layers.chunks(len(train))) / len(train)
    return [left / variance, around / variance] if variance > 0 else [left, around]
