"""Relative change of each class's two error rates, which the class-wise bias measures share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from whatelse.answer import Answer, Doubt, Parts
from whatelse.behaviours import _scale
from whatelse.behaviours.fairness import _groups
from whatelse.evidence.cache import Evidence


def observe(baseline: Evidence, candidate: Evidence) -> Answer:
    """Return what both models predict, ``before`` and ``after``, and the true class, ``truth``, of each test example.

    Where the baseline makes no error of a kind in a class, the relative change rests on the half that is added: a note
    says so, and where the largest change is such a one, so that it rules the number, the candidate is distrusted.

    Args:
        baseline: Evidence of the model before compression.
        candidate: Evidence of the compressed model.
    """
    targets = candidate.split("test").targets
    classes = torch.unique(targets).tolist()
    said = {"before": baseline.predictions("test"), "after": candidate.predictions("test"), "truth": targets}
    answer = Answer({name: codes.float() for name, codes in said.items()})
    notes, doubts = _checked(answer, classes)
    flat = _scale.constant(baseline) and _scale.constant(candidate)
    ends = {"blind": 0.0} if flat else {}  # whatever both may be
    return replace(answer, parts=Parts(tuple(f"class {c}" for c in classes)), notes=notes, doubts=doubts, ends=ends)


def changes(answer: Answer, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the relative change of false-positive and false-negative rate of every class, each ``(draws, classes)``.

    Of ``k`` errors among ``n`` examples a rate is ``(k + 1/2) / (n + 1)``: a class in which the baseline makes none has
    no relative change otherwise. NaN where a resample has no example of the class.

    Args:
        answer: What `observe` returned.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    before, after, truly = _errors(answer, weights)
    alarms, misses = np.where(truly > 0, (after + 0.5) / (before + 0.5) - 1, np.nan)
    return alarms, misses


def _errors(answer: Answer, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return false alarms and misses of both models, each ``(2, draws, classes)``, and the examples of each class."""
    target, everybody = answer["truth"], np.zeros(len(answer))
    old, new = (_groups.table(answer[said], target, everybody, weights) for said in ("before", "after"))
    errors = [np.stack([t.chosen - t.hits, t.truly - t.hits])[..., 0] for t in (old, new)]
    return errors[0], errors[1], old.truly[:, :, 0]


def _checked(answer: Answer, classes: list[int]) -> tuple[tuple[str, ...], tuple[Doubt, ...]]:
    """Return notes of classes in which the baseline makes no error of a kind, and a doubt where such a one rules."""
    before, after, _ = (e[..., 0, :] for e in _errors(answer, np.ones((1, len(answer)))))
    alarmless, missless = (before == 0).sum(1)
    said = [f"raises no false alarm for {alarmless}"] * bool(alarmless)
    said += [f"finds every example of {missless}"] * bool(missless)
    if not said:
        return (), ()
    note = (
        f"the baseline {' and '.join(said)} of {len(classes)} classes: there the relative change rests on half an"
        " example, and means little"
    )
    change = np.abs((after + 0.5) / (before + 0.5) - 1)
    kind, place = np.unravel_index(change.argmax(), change.shape)
    if change[kind, place] == 0 or before[kind, place] > 0:
        return (note,), ()
    doubt = Doubt(
        f"the largest relative change, of {('false alarms', 'misses')[kind]} of class {classes[place]} from none to"
        f" {after[kind, place]:.0f}, rests on half an example"
    )
    return (note,), (doubt,)
