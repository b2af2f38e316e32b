"""Whether someone who holds both models can tell which training records set the scales of the compression.

Area under the ROC curve. Members are the calibration records; non-members the other records of train: both were
trained on, so that only the compression can tell them apart. What was fitted on a record is closer to the baseline on
it than elsewhere; the score of a record is how close the compressed model's answer is to the baseline's, by ``signal``,
with ``z`` the class scores, less their mean over classes, and ``p`` the probabilities of the baseline, ``z'`` and
``p'`` of the compressed model, both at the temperature at which the baseline is calibrated on select, and the second as
loud there as the first: a scale of the scores, which anybody can undo, hides nothing:

* *distance*: ``-||z' - z||^2 / ||z||^2``;
* *divergence*: ``-KL(p || p')``;
* *odds*: minus the absolute change of the log-odds of the recorded label.

A record is found in the calibration split by its input; equal inputs in train are one record, and all its copies are
members. The parts are operating points: the share of members found at 1 % and at 0.1 % false alarms, and the balanced
accuracy at the best threshold.

Reading:
    0.5: the attacker guesses, as where the candidate answers as the baseline does; 1: calibration records are told
    without error. A few hundred records give it an error of about 0.02: read the interval. On digits, *distance* told
    20 calibration records of `quantize.gptq` to 4 bits at .90, 50 at .72 and 200 at .56, *divergence* at .64, .57 and
    .53; those of `quantize.uniform`, which reads no more than ranges from them, at .5.

Cost:
    One pass forward of train for both models, shared.

Limits:
    A lower bound. It asks of the calibration set only: what was in train at all is asked by the other membership
    attacks. The calibration set must be a fair draw from train: were it the easy records, their ease would pass for
    membership. Where calibration is all of train, as many of test serve as non-members, and a note says that the
    question is then that of train. Methods that read no calibration data cannot give it away: take them as the floor.
    The share found at 1 % false alarms is refused below 1,000 non-members and at 0.1 % below 10,000.

Source:
    The question of a joint view of both models: CompLeak: Deep learning model compression exacerbates privacy leakage,
    USENIX Security 2026, arXiv:2507.16872; that of the calibration set, and these three scores, are ours. Operating
    points: Carlini et al., S&P 2022, arXiv:2112.03570.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer
from whatelse.behaviours.membership import _records
from whatelse.errors import NotMeasurableError
from whatelse.evidence import loudness
from whatelse.evidence.cache import Evidence
from whatelse.models.subject import log_odds
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = 2, "AUC", "lower", {"predicts"}, "record", "operating point"
WORST, BLIND = 1.0, 0.5
_SIGNALS = ("distance", "divergence", "odds")
_FEW = 10
_FAR = 100.0  # below the highest class score, one is as good as minus infinity, and finite
_LEAST = 1e-9  # where all classes of the baseline score alike: finite, and as far as can be
_SAME = {"distance": 1e-10, "divergence": 1e-10, "odds": 1e-5}  # nearer answers differ by rounding alone, are the same
_ROWS = 16_384  # records that are held in double precision at a time


@dataclass(frozen=True)
class Config:
    """Settings of the attack on the calibration set."""

    signal: str = param("distance", "How the closeness of two answers is measured.", choices=_SIGNALS)


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return the score of each record of train and whether it was in the calibration set.

    Args:
        baseline: Evidence of the model before compression.
        candidate: Evidence of the compressed model.
        config: How closeness is measured.
        rng: Not used; the attack is deterministic.

    Raises:
        NotMeasurableError: Calibration records are not in train, or too few are on either side.
    """
    del rng
    member = _calibrated(candidate)
    count, notes = len(member), []
    if bool(member.all()):
        count += min(count, len(candidate.split("test")))
        member = torch.arange(count) < len(member)
        notes.append("calibration is all of train: others are of test, so that train itself is asked of")
    sizes = (int(member.sum()), int((~member).sum()))
    if min(sizes) < _FEW:
        raise NotMeasurableError(
            f"needs {_FEW} records in the calibration set and {_FEW} outside; there are {sizes[0]} and {sizes[1]}"
        )
    before, after = (_asked(e, count) for e in (baseline, candidate))
    scale = loudness.temperature(baseline)
    hot = scale, scale * loudness.ratio(*(loudness.spread(e.logits("select")) for e in (candidate, baseline)))
    recorded = _records.labels(candidate, count)
    blocks = [slice(start, start + _ROWS) for start in range(0, count, _ROWS)]
    said = ((before[b].double() / hot[0], after[b].double() / hot[1], recorded[b]) for b in blocks)
    score = torch.cat([_closeness(*each, config.signal) for each in said])
    notes.append(f"{sizes[0]} records of the calibration set, {sizes[1]} others")
    return _records.answered(candidate, score, member, *notes)


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve of every resample, ``(draws,)``.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each record stands in each resample, ``(draws, P)``.
    """
    del config
    return _records.area(answer, weights)


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the shares found at few false alarms and the balanced accuracy of every resample, ``(draws, 3)``.

    NaN where there are too few non-members for a false alarm rate.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each record stands in each resample, ``(draws, P)``.
    """
    del config
    return _records.points(answer, weights)


def _calibrated(evidence: Evidence) -> Tensor:
    """Return which records of train are in the calibration split, ``(N,)`` bool.

    Raises:
        NotMeasurableError: A calibration record is not in train.
    """
    used, known = (_named(evidence.split(name).inputs) for name in ("calibration", "train"))
    strange = set(used) - set(known)
    if strange:
        raise NotMeasurableError(
            f"needs a calibration split inside train; {sum(name in strange for name in used)} of its {len(used)} "
            "records are not there"
        )
    seen = set(used)
    return torch.tensor([name in seen for name in known])


def _named(inputs: Tensor) -> list[bytes]:
    """Return a digest of every input, the same for equal numbers, zero of either sign included."""
    names = []
    for start in range(0, len(inputs), _ROWS):
        rows = (inputs[start : start + _ROWS].contiguous() + 0.0).flatten(1).numpy()
        names += [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows]
    return names


def _asked(evidence: Evidence, count: int) -> Tensor:
    rest = count - len(evidence.split("train"))
    said = evidence.logits("train")
    return torch.cat([said, evidence.logits("test")[:rest]]) if rest else said


def _closeness(before: Tensor, after: Tensor, recorded: Tensor, signal: str) -> Tensor:
    """Return how close the answers are, 0 where they are the same but for rounding and negative elsewhere, ``(P,)``."""
    apart = _apart(before, after, recorded, signal)
    return -apart.where(apart > _SAME[signal], 0.0)


def _apart(before: Tensor, after: Tensor, recorded: Tensor, signal: str) -> Tensor:
    old, new = ((z - z.amax(1, keepdim=True)).clamp(min=-_FAR) for z in (before, after))
    if signal == "odds":
        return (log_odds(new, recorded) - log_odds(old, recorded)).abs()
    if signal == "divergence":
        log, other = old.log_softmax(1), new.log_softmax(1)
        return (log.exp() * (log - other)).sum(1)
    old, new = (z - z.mean(1, keepdim=True) for z in (old, new))
    return ((new - old) ** 2).sum(1) / (old**2).sum(1).clamp(min=_LEAST)
