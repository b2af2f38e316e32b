"""Similarity of the two models' hidden representations on the same inputs: debiased linear CKA.

With ``K = X X'`` and ``L = Y Y'`` of the activations of baseline and candidate, diagonals set to zero, and ``H`` the
unbiased estimate of HSIC, ``CKA = H(K, L) / sqrt(H(K, K) H(L, L))``. It does not change under rotation, permutation
of units or scaling, so it also compares models whose units do not correspond. 1: same up to those; about 0: unrelated
(debiased, it may fall slightly below). A candidate layer that is constant scores 0.

The values are jackknife pseudo-values, ``n H - (n - 1) H[without i]``: their mean is ``H`` itself and their spread
that of ``H``, which is of fourth degree in the examples. Resampling the rows' plain contributions would give
intervals that are too narrow. All of it in closed form from products with the activations, without any ``(N, N)``.

Source:
    Kornblith et al., Similarity of neural network representations revisited, ICML 2019, arXiv:1905.00414; debiased:
    Nguyen, Raghu & Kornblith, Do wide and deep networks learn the same things?, ICLR 2021, arXiv:2010.15327; the
    estimate of HSIC: Song et al., Feature selection via dependence maximization, JMLR 2012.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.errors import NotMeasurableError
from whatelse.evidence import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, OVER = 1, "CKA", "higher", {"predicts", "opens"}, "test example"


@dataclass(frozen=True)
class Config:
    """Settings of CKA."""

    layer: str = param(
        "hidden",
        "The last hidden layer, or the mean over the baseline's layers, each beside the candidate's of like depth.",
        choices=("hidden", "mean"),
    )


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Tensor:
    """Return the pseudo-values of ``H(K, L)``, ``H(K, K)`` and ``H(L, L)``, layer after layer, ``(N, 3 * layers)``.

    Args:
        baseline: Evidence of the model before compression.
        candidate: Evidence of the compressed model; takes a note on layers that are constant.
        config: Which layers.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: A model does not open or has no hidden layer, or there are fewer than 5 examples.
    """
    del rng
    examples = len(baseline.split("test"))
    if examples < 5:
        raise NotMeasurableError(f"needs 5 test examples or more; there are {examples}")
    if config.layer == "hidden":
        pairs = [(baseline.hidden("test"), candidate.hidden("test"))]
    else:
        pairs = _by_depth(_layers(baseline), _layers(candidate))
    columns = []
    for before, after in pairs:
        x, y = _scaled(before), _scaled(after)
        if not bool(y.any()):
            candidate.note("a hidden layer is constant: its similarity counts as 0")
        columns += [_pseudo(x, y), _pseudo(x, x), _pseudo(y, y)]
    return torch.stack(columns, 1).float()


def summarise(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the CKA, averaged over layers, of every resample, ``(draws,)``; NaN if a baseline layer is constant.

    Args:
        values: What `compare` returned, ``(N, 3 * layers)``.
        counts: How often each example stands in each resample, ``(draws, N)``.
    """
    means = (counts @ values.astype(np.float64) / counts.sum(1)[:, None]).reshape(len(counts), -1, 3)
    both, before, after = np.moveaxis(means, 2, 0)
    alive = (before > 0) & (after > 0)
    cka = both / np.sqrt(np.where(alive, before * after, 1))
    mean: np.ndarray = np.where(before > 0, np.where(alive, cka, 0), np.nan).mean(1)
    return mean


def _layers(evidence: Evidence) -> list[Tensor]:
    evidence.hidden("test")  # refuses a model without hidden layers
    return list(evidence.activations("test").values())


def _by_depth(before: list[Tensor], after: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    last = max(len(before) - 1, 1)
    places = [len(before) - 1] if len(before) == 1 else range(len(before))
    return [(before[i], after[round(i * (len(after) - 1) / last)]) for i in places]


def _scaled(activations: Tensor) -> Tensor:
    # H does not feel a shift; without one the sums cancel less. CKA does not feel the scale.
    x = activations.double()
    centered = x - x.mean(0)
    size, spread = x.square().sum(1).mean().sqrt(), centered.square().sum(1).mean().sqrt()
    return centered / spread if spread > 1e-6 * size else torch.zeros_like(x)


def _pseudo(x: Tensor, y: Tensor) -> Tensor:
    n = len(x)
    own_x, own_y = (x * x).sum(1), (y * y).sum(1)  # the diagonals that are taken out
    k, m = x @ x.sum(0) - own_x, y @ y.sum(0) - own_y  # row sums of K and of L
    shared = ((x @ (x.T @ y)) * y).sum(1) - own_x * own_y  # row sums of their elementwise product
    m_of_k, k_of_m = y @ (y.T @ k) - own_y * k, x @ (x.T @ m) - own_x * m
    whole = _hsic(shared.sum(), k.sum() * m.sum(), k @ m, n)
    without = _hsic(
        shared.sum() - 2 * shared,
        (k.sum() - 2 * k) * (m.sum() - 2 * m),
        k @ m - k * m - m_of_k - k_of_m + shared,
        n - 1,
    )
    pseudo: Tensor = n * whole - (n - 1) * without
    return pseudo


def _hsic(trace: Tensor, sums: Tensor, cross: Tensor, n: int) -> Tensor:
    """Return the unbiased HSIC from ``tr(K L)``, ``1'K1 1'L1`` and ``1'K L 1`` (Song et al. 2012, equation 5)."""
    return (trace + sums / ((n - 1) * (n - 2)) - 2 * cross / (n - 2)) / (n * (n - 3))
