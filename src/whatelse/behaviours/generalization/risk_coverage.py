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
    With more than two classes a scale of the scores, a temperature, moves the order and so this.

Cost:
    The shared pass over test, nothing else.

Limits:
    *area* is driven by accuracy: two models compare in knowing their errors only by *excess*. The surest few examples
    weigh most: one confident error moves the area by up to ``(1 + log n) / n``. Only the order of confidence counts,
    not its level.

Source:
    Geifman & El-Yaniv, Selective classification for deep neural networks, NeurIPS 2017, arXiv:1705.08500; the areas:
    Geifman, Uziel & El-Yaniv, Bias-reduced uncertainty estimation for deep neural classifiers, ICLR 2019,
    arXiv:1805.08206. Departures: ties are averaged over; the best order's area is summed exactly; of more than 4,096
    different confidences those after the surest 2,048 are joined, neighbors with neighbors, to at most 2,048 ties.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse

from whatelse.answer import Answer
from whatelse.behaviours.generalization import _confidence
from whatelse.evidence.cache import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = (
    1,
    "area under risk and coverage",
    "lower",
    {"predicts"},
    "test example",
)
WORST, BLIND = 1.0, None

_ALONE = 2048


@dataclass(frozen=True)
class Config:
    """Settings of the area under the risk-coverage curve."""

    kind: str = param("area", "The whole area, or its excess over that of the best order.", choices=("area", "excess"))


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
    """Return the area of every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Which area.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    groups = _groups(answer["confidence"])
    wrong = 1 - answer["correct"].astype(np.float64)
    rows = np.arange(len(wrong) + 1)
    shape = (len(wrong), int(groups.max()) + 1)
    drawn = np.ascontiguousarray(weights.T, dtype=np.float64)
    # Sparse, since every example is in one group.
    size, errors = (
        (sparse.csr_array((each, groups, rows), shape=shape).T @ drawn).T for each in (np.ones(len(wrong)), wrong)
    )
    upto, missed = size.cumsum(1), errors.cumsum(1)
    harmonic = np.r_[0.0, np.cumsum(1 / np.arange(1, round(float(upto[:, -1].max())) + 1))]
    # Errors before the group, less those that its ties would have made there at their own rate.
    ahead = missed - errors * (1 + (upto - size) / np.maximum(size, 1))
    risks = errors.sum(1) + (ahead * np.diff(_at(harmonic, upto), prepend=0)).sum(1)
    total, lost = upto[:, -1], missed[:, -1]
    best = lost - (total - lost) * (_at(harmonic, total) - _at(harmonic, total - lost))
    area: np.ndarray = (risks - (best if config.kind == "excess" else 0)) / total
    return area


def _groups(confidence: np.ndarray) -> np.ndarray:
    """Return the number of each example's group of equal confidence, the surest first, ``(N,)``."""
    _, place = np.unique(-confidence, return_inverse=True)
    tail = place - _ALONE
    join = -(-max(0, int(tail.max()) + 1) // _ALONE) or 1
    found: np.ndarray = np.where(tail < 0, place, _ALONE + tail // join)
    return found


def _at(harmonic: np.ndarray, count: np.ndarray) -> np.ndarray:
    # Sums of whole numbers; half is added so that none falls short of its own.
    found: np.ndarray = harmonic[(count + 0.5).astype(np.int64)]
    return found
