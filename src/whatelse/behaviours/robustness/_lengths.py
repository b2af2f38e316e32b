"""Lengths of the shortest known moves that fool two models: what the items that measure them share."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from whatelse.answer import Answer, Parts
from whatelse.attacks import attack, minimum
from whatelse.attacks.remarks import Remarks, doubted, flattered, noted
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.statistics import summaries

UNITS = ("input", "baseline")
QUANTILES = (0.1, 0.5, 0.9)
_LEFT = 0.1


def check(evidence: Evidence, found: minimum.Found, cause: str) -> Remarks:
    """Return what must be said of points that are known to fool a model: how many are not, and those that no longer do.

    Args:
        evidence: The model under attack.
        found: The points.
        cause: What it may be that leaves too many examples without one.
    """
    rows, remarks = (found.distances > 0).nonzero().flatten(), Remarks()
    left = int((~found.known).sum())
    if left:
        remarks += noted(f"{left} of {len(found.points)} examples that nothing fools count as the farthest corner")
    if left > _LEFT * len(rows):
        remarks += flattered(f"{cause}: nothing fools {left} of {len(rows)} examples")
    rows = rows[found.known[rows]]
    changed = int((~attack.fooled(evidence, found.points[rows], evidence.split("test").targets[rows])).sum())
    if changed:
        remarks += doubted(f"asked again, {changed} of {len(rows)} points that fooled it do not")
    return remarks


def answered(found: tuple[Tensor, Tensor, Tensor], unit: str, remarks: Remarks) -> Answer:
    """Return the lengths of a pair as an answer, its parts being quantiles.

    Args:
        found: The candidate's pooled, the baseline's own and the baseline's pooled distances, ``(M,)`` each.
        unit: One of `UNITS`.
        remarks: What must be said beside them.

    Raises:
        NotMeasurableError: The baseline's mean that is to be the unit is 0.
    """
    if unit == "baseline" and not bool((found[1] > 0).any()):
        raise NotMeasurableError("needs a baseline that is right somewhere; all of its distances are 0")
    columns = zip(("pooled", "baseline own", "baseline pooled"), found, strict=True)
    return Answer(
        {name: column.float() for name, column in columns},
        parts=Parts(tuple(f"{q:.0%} quantile" for q in QUANTILES)),
        notes=remarks.notes,
        doubts=remarks.doubts,
    )


def mean(answer: Answer, unit: str, weights: np.ndarray) -> np.ndarray:
    """Return the mean distance of every resample, what pooling takes from the baseline given back, ``(draws,)``.

    Args:
        answer: What `answered` returned.
        unit: One of `UNITS`.
        weights: How often each example stands in each resample, ``(draws, M)``.
    """
    combined = answer["pooled"] + answer["baseline own"] - answer["baseline pooled"]
    lengths: np.ndarray = summaries.mean(combined, weights) / _unit(answer, unit, weights)
    return lengths


def quantiles(answer: Answer, unit: str, weights: np.ndarray) -> np.ndarray:
    """Return the quantiles of the distance in every resample, combined as in the mean, ``(draws, 3)``.

    Args:
        answer: What `answered` returned.
        unit: One of `UNITS`.
        weights: How often each example stands in each resample, ``(draws, M)``.
    """
    pooled, own, before = (
        np.stack([summaries.quantile(answer[name], weights, q) for q in QUANTILES], 1)
        for name in ("pooled", "baseline own", "baseline pooled")
    )
    combined: np.ndarray = (pooled + own - before) / _unit(answer, unit, weights)[:, None]
    return combined


def _unit(answer: Answer, unit: str, weights: np.ndarray) -> np.ndarray:
    """Return what lengths are told in: 1, or the baseline's mean of every resample, ``(draws,)``."""
    return summaries.mean(answer["baseline own"], weights) if unit == "baseline" else np.ones(len(weights))
