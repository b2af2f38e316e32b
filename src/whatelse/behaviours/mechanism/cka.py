"""Similarity of the two models' hidden representations on the same inputs: debiased linear CKA.

With ``K = X X'`` and ``L = Y Y'`` of the activations of baseline and candidate, diagonals set to zero, and ``H`` the
unbiased estimate of HSIC, ``CKA = H(K, L) / sqrt(H(K, K) H(L, L))``. It does not change under rotation, permutation
of units or scaling, so it also compares models whose units do not correspond. The parts are the curve over the
baseline's layers, each beside the candidate's of like depth (the last beside the last).

The values are jackknife pseudo-values, ``n H - (n - 1) H[without i]``: their mean is ``H`` itself and their spread
that of ``H``, which is of fourth degree in the examples. Resampling the rows' plain contributions would give
intervals that are too narrow. All of it in closed form from products of units with units, summed over chunks of
examples, without any ``(N, N)``.

Reading:
    1: the same up to rotation and scale; about 0: unrelated (debiased, it may fall slightly below). Neither end says
    much alone: read a layer between the same number of the twin (retraining noise) and of the random model.

Cost:
    No pass of its own: the activations of the shared pass over test. Three products of units with units a layer,
    each of ``N d^2``; rows are held in double precision a few thousand at a time.

Limits:
    A few directions of large variance decide it, and it can stay high while predictions flip, and the reverse: it
    describes, it does not prove. Convolutional channels are averaged over space first. A candidate layer that is
    constant scores 0.

Source:
    Kornblith et al., Similarity of neural network representations revisited, ICML 2019, arXiv:1905.00414; debiased:
    Nguyen, Raghu & Kornblith, Do wide and deep networks learn the same things?, ICLR 2021, arXiv:2010.15327; the
    estimate of HSIC: Song et al., Feature selection via dependence maximization, JMLR 2012; what moves it: Davari et
    al., Reliability of CKA as a similarity measure in deep learning, ICLR 2023, arXiv:2210.16156.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer, Parts
from whatelse.behaviours.mechanism import _layers
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    2,
    "CKA",
    "higher",
    {"predicts", "opens"},
    "test example",
    "layer",
)
WORST, BLIND = 0.0, 0.0


@dataclass(frozen=True)
class Config:
    """Settings of CKA."""

    layer: str = param(
        "hidden",
        "The last hidden layer, or the mean over the baseline's layers, each beside the candidate's of like depth.",
        choices=("hidden", "mean"),
    )


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return the pseudo-values of ``H(K, L)``, ``H(K, K)`` and ``H(L, L)``, layer after layer, ``(N,)`` each.

    A note tells of layers that are constant.

    Args:
        baseline: Evidence of the model before compression.
        candidate: Evidence of the compressed model.
        config: Which layers the summary is over.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: A model does not open or has no hidden layer, there are fewer than 5 examples, or a layer of
            the baseline that counts is constant.
    """
    del rng
    examples = len(baseline.split("test"))
    if examples < 5:
        raise NotMeasurableError(f"needs 5 test examples or more; there are {examples}")
    names = list(_layers.layers(baseline))
    columns: dict[str, Tensor] = {}
    notes = []
    for name, (before, after) in zip(names, _layers.pairs(baseline, candidate), strict=True):
        x, y = _scaled(before), _scaled(after)
        if x.scale == 0 and (config.layer == "mean" or name == names[-1]):
            raise NotMeasurableError(f"needs a layer that tells inputs apart; {name} of the baseline is constant")
        if y.scale == 0:
            notes.append(f"a hidden layer is constant: its similarity counts as 0 (beside {name})")
        three = _pseudo(x, y), _pseudo(x, x), _pseudo(y, y)
        columns |= {column: pseudo.float() for column, pseudo in zip(_columns(name), three, strict=True)}
    return Answer(columns, parts=Parts(tuple(names)), notes=tuple(notes))


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the CKA, averaged over layers, of every resample, ``(draws,)``; NaN if a baseline layer is constant.

    Args:
        answer: What `compare` returned.
        config: Which layers the summary is over.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    each = by_part(answer, config, weights)
    asked = np.arange(each.shape[1]) >= (0 if config.layer == "mean" else each.shape[1] - 1)
    mean: np.ndarray = each[:, asked].mean(1)
    return mean


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the CKA of every layer of every resample, ``(draws, layers)``; NaN where the baseline's is constant.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    pseudo = answer.table(*(column for name in answer.parts.names for column in _columns(name))).astype(np.float64)
    means = (weights @ pseudo / weights.sum(1)[:, None]).reshape(len(weights), -1, 3)
    both, before, after = np.moveaxis(means, 2, 0)
    alive = (before > 0) & (after > 0)
    cka = both / np.sqrt(np.where(alive, before * after, 1))
    each: np.ndarray = np.where(before > 0, np.where(alive, cka, 0), np.nan)
    return each


def _columns(layer: str) -> tuple[str, str, str]:
    """Return the names of the columns of a layer: of both models, of the baseline and of the candidate alone."""
    return f"H(K, L) of {layer}", f"H(K, K) of {layer}", f"H(L, L) of {layer}"


@dataclass(frozen=True, eq=False)
class _Layer:
    """Activations ``(N, units)`` that are centered and scaled a chunk of rows at a time; all zero at scale 0."""

    activations: Tensor
    center: Tensor
    scale: float

    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        for rows in _layers.chunks(len(self.activations)):
            yield rows, (self.activations[rows].double() - self.center) * self.scale


def _scaled(activations: Tensor) -> _Layer:
    # H does not feel a shift; without one the sums cancel less. CKA does not feel the scale.
    center = activations.mean(0, dtype=torch.float64)
    size = spread = 0.0
    for rows in _layers.chunks(len(activations)):
        x = activations[rows].double()
        size += float(x.square().sum()) / len(activations)
        spread += float((x - center).square().sum()) / len(activations)
    return _Layer(activations, center, spread**-0.5 if spread > 1e-12 * size else 0.0)


def _pseudo(one: _Layer, two: _Layer) -> Tensor:
    n = len(one.activations)
    own_x, own_y, k, m, shared, far = torch.zeros(6, n, dtype=torch.float64)
    sum_x, sum_y, product = _zeros(one), _zeros(two), _zeros(one, two)
    for (rows, x), (_, y) in zip(one.chunks(), two.chunks(), strict=True):
        own_x[rows], own_y[rows] = (x * x).sum(1), (y * y).sum(1)  # the diagonals that are taken out
        sum_x, sum_y, product = sum_x + x.sum(0), sum_y + y.sum(0), product.addmm_(x.T, y)
    k_on_y, m_on_x = _zeros(two), _zeros(one)
    for (rows, x), (_, y) in zip(one.chunks(), two.chunks(), strict=True):
        k[rows], m[rows] = x @ sum_x - own_x[rows], y @ sum_y - own_y[rows]  # row sums of K and of L
        # Row sums of their elementwise product.
        shared[rows] = ((x @ product) * y).sum(1) - own_x[rows] * own_y[rows]
        k_on_y, m_on_x = k_on_y + y.T @ k[rows], m_on_x + x.T @ m[rows]
    for (rows, x), (_, y) in zip(one.chunks(), two.chunks(), strict=True):
        far[rows] = y @ k_on_y + x @ m_on_x
    far -= own_y * k + own_x * m
    whole = _hsic(shared.sum(), k.sum() * m.sum(), k @ m, n)
    without = _hsic(
        shared.sum() - 2 * shared,
        (k.sum() - 2 * k) * (m.sum() - 2 * m),
        k @ m - k * m - far + shared,
        n - 1,
    )
    pseudo: Tensor = n * whole - (n - 1) * without
    return pseudo


def _zeros(*layers: _Layer) -> Tensor:
    return torch.zeros([len(layer.center) for layer in layers], dtype=torch.float64)


def _hsic(trace: Tensor, sums: Tensor, cross: Tensor, n: int) -> Tensor:
    """Return the unbiased HSIC from ``tr(K L)``, ``1'K1 1'L1`` and ``1'K L 1`` (Song et al. 2012, equation 5)."""
    return (trace + sums / ((n - 1) * (n - 2)) - 2 * cross / (n - 2)) / (n * (n - 3))
