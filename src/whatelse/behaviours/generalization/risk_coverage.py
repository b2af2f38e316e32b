"""Area under the risk-coverage curve: errors among the answers given when the least sure ones are withheld.

Examples are sorted by confidence, the largest probability. At coverage ``i / n`` the ``i`` surest are answered, and
the risk is the share of errors among them; the area is the mean risk over ``i = 1 .. n``. Examples of equal confidence
have no order: the risk is its mean over all orders of them, so the area of a model that is equally sure of everything
is its error rate. A group of ``m`` ties with ``e`` errors, after ``s`` examples with ``E`` errors, adds
``e + (E - e * s / m) * (H(s + m) - H(s))`` to the sum of the risks, ``H`` the harmonic numbers. *excess* subtracts the
area of the best order of the same errors, all of them last: what is lost by not knowing which answers are wrong.

Reading:
    *area*: the mean error rate of a user who withholds doubtful answers to an unknown extent; it falls with fewer
    errors and with better order. *excess*: the order alone, 0 where every error is less sure than every right answer.

Cost:
    The shared pass over test, nothing else.

Limits:
    *area* is driven by accuracy: two models compare in knowing their errors only by *excess*. The surest few examples
    weigh most: one confident error moves the area by up to ``(1 + log n) / n``. Only the order of confidence counts,
    not its level.

Source:
    Geifman & El-Yaniv, Selective classification for deep neural networks, NeurIPS 2017, arXiv:1705.08500; the areas:
    Geifman, Uziel & El-Yaniv, Bias-reduced uncertainty estimation for deep neural classifiers, ICLR 2019,
    arXiv:1805.08206. Departures: ties are averaged over, and the best order's area is summed exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.behaviours.generalization import _confidence
from whatelse.evidence import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, OVER = 1, "area under risk and coverage", "lower", {"predicts"}, "test example"


@dataclass(frozen=True)
class Config:
    """Settings of the area under the risk-coverage curve."""

    kind: str = param("area", "The whole area, or its excess over that of the best order.", choices=("area", "excess"))


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Tensor:
    """Return confidence, whether the prediction is right, and whether the best order's area is taken off, ``(N, 3)``.

    Args:
        evidence: Gives the logits.
        config: Which area.
        rng: Not used; the behaviour is deterministic.
    """
    del rng
    seen = _confidence.observe(evidence)
    return torch.cat([seen, torch.full_like(seen[:, :1], config.kind == "excess")], 1)


def summarise(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the area of every resample, ``(draws,)``.

    Args:
        values: What `measure` returned, ``(N, 3)``.
        counts: How often each example stands in each resample, ``(draws, N)``.
    """
    order = np.argsort(-values[:, 0], kind="stable")
    sure, wrong = values[order, 0], 1 - values[order, 1]
    first = np.flatnonzero(np.r_[True, sure[1:] != sure[:-1]])
    drawn = counts[:, order]
    size = np.add.reduceat(drawn, first, axis=1)
    errors = np.add.reduceat(drawn * wrong, first, axis=1)
    upto, missed = size.cumsum(1), errors.cumsum(1)
    harmonic = np.r_[0.0, np.cumsum(1 / np.arange(1, int(round(upto[:, -1].max())) + 1))]
    before = upto - size
    risks = errors + (missed - errors - errors * before / np.maximum(size, 1)) * (
        _at(harmonic, upto) - _at(harmonic, before)
    )
    total, lost = upto[:, -1], missed[:, -1]
    best = lost - (total - lost) * (_at(harmonic, total) - _at(harmonic, total - lost))
    area: np.ndarray = (risks.sum(1) - (best if values[0, 2] else 0)) / total
    return area


def _at(harmonic: np.ndarray, count: np.ndarray) -> np.ndarray:
    found: np.ndarray = harmonic[np.rint(count).astype(np.int64)]
    return found
