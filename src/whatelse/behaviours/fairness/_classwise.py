"""Relative change of each class's two error rates, which the class-wise bias measures share."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from whatelse.behaviours import _scale
from whatelse.behaviours.fairness import _groups
from whatelse.evidence.cache import Evidence


def observe(baseline: Evidence, candidate: Evidence) -> Tensor:
    """Return what both models predict and the true class of each test example, ``(N, 3)``; names the classes.

    Where the baseline makes no error of a kind in a class, the relative change rests on the half that is added: a note
    says so, and where the largest change is such a one, so that it rules the number, the candidate is distrusted.

    Args:
        baseline: Evidence of the model before compression.
        candidate: Evidence of the compressed model; takes the names of the parts, the note and the doubt.
    """
    targets = candidate.split("test").targets
    classes = torch.unique(targets).tolist()
    candidate.name_parts([f"class {c}" for c in classes])
    values = torch.stack([baseline.predictions("test"), candidate.predictions("test"), targets], 1).float()
    _check(candidate, values.numpy(), classes)
    if _scale.constant(baseline) and _scale.constant(candidate):
        candidate.ends["blind"] = 0.0  # whatever both may be
    return values


def changes(values: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the relative change of false-positive and false-negative rate of every class, each ``(draws, classes)``.

    Of ``k`` errors among ``n`` examples a rate is ``(k + 1/2) / (n + 1)``: a class in which the baseline makes none has
    no relative change otherwise. NaN where a resample has no example of the class.

    Args:
        values: What `observe` returned, ``(N, 3)``.
        counts: How often each example stands in each resample, ``(draws, N)``.
    """
    before, after, truly = _errors(values, counts)
    alarms, misses = np.where(truly > 0, (after + 0.5) / (before + 0.5) - 1, np.nan)
    return alarms, misses


def _errors(values: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return false alarms and misses of both models, each ``(2, draws, classes)``, and the examples of each class."""
    before, after, target = values.T
    everybody = np.zeros(len(target))
    old, new = (_groups.table(said, target, everybody, counts) for said in (before, after))
    errors = [np.stack([t.chosen - t.hits, t.truly - t.hits])[..., 0] for t in (old, new)]
    return errors[0], errors[1], old.truly[:, :, 0]


def _check(candidate: Evidence, values: np.ndarray, classes: list[int]) -> None:
    before, after, _ = (e[..., 0, :] for e in _errors(values, np.ones((1, len(values)))))
    alarmless, missless = (before == 0).sum(1)
    said = [f"raises no false alarm for {alarmless}"] * bool(alarmless)
    said += [f"finds every example of {missless}"] * bool(missless)
    if not said:
        return
    candidate.note(
        f"the baseline {' and '.join(said)} of {len(classes)} classes: there the relative change rests on half an"
        " example, and means little"
    )
    change = np.abs((after + 0.5) / (before + 0.5) - 1)
    kind, place = np.unravel_index(change.argmax(), change.shape)
    if change[kind, place] > 0 and before[kind, place] == 0:
        candidate.distrust(
            f"the largest relative change, of {('false alarms', 'misses')[kind]} of class {classes[place]} from none to"
            f" {after[kind, place]:.0f}, rests on half an example"
        )
