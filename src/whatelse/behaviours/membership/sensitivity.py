"""Area under the ROC curve of a membership attack by how far the model's answer moves with tiny noise.

The score of a record is ``sign * log sum_c s_c``: ``s_c = mean |p_c(x + eps u) - p_c(x)| / eps`` over ten draws of ``u
~ N(0, 1)``, ``eps = 1e-3``, with probabilities at the temperature at which the model is calibrated on select. Whether
members move less (``sign = -1``) or more is learned from the shadow models: each in turn plays the target, and the mean
of their areas decides. Members are train, non-members as many of test. The parts are operating points: the share of
members found at 1 % and at 0.1 % false alarms, and the balanced accuracy at the best threshold.

Reading:
    0.5: the attacker guesses; 1: members are told without error. It needs no label: what it finds, the bare shape of
    the answer around a record gives away. Read `attention` for what sensitivity adds to posterior and label.

Cost:
    Eleven passes forward of train and as many records of test, shared with `attention`; before it the shadow models,
    each a whole training and compression and the same passes.

Limits:
    A lower bound, as every attack is, and one threshold for all records is a weak one: it does not ask how hard a
    record is. Confident answers move little for members and others alike, and what single precision cannot tell from
    no move at all is a tie. Kernels that round their inputs hide all of it.

Source:
    Yuan & Zhang, Membership inference attacks and defenses in neural network pruning, USENIX Security 2022,
    arXiv:2202.03335, for the sensitivity; they feed it to a network, the threshold on its sum is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer
from whatelse.behaviours.membership import _learned, _records
from whatelse.evidence.cache import Evidence
from whatelse.statistics import summaries
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    2,
    "AUC",
    "lower",
    {"predicts", "references", "sensitivities"},
    "record",
    "operating point",
)
WORST, BLIND = 1.0, 0.5
_LEAST = 1e-12  # of a sum of moves; the least that single precision sees is 6e-8 / 1e-3


@dataclass(frozen=True)
class Config:
    """The threshold on sensitivity has no settings."""


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return the score of each record and whether it is a member.

    Args:
        evidence: Gives the sensitivities and those of the shadow models.
        config: Not used.
        rng: Not used; the attack is deterministic.

    Raises:
        NotMeasurableError: There are no shadow models, they do not fit the records, or their sensitivity is missing.
    """
    del config, rng
    shadows = _learned.shadows(evidence)
    count = shadows.inside.shape[1]
    member = _records.members(evidence, count)
    sign = _sign(_moves(shadows.sensitivity), shadows.inside)
    score = sign * _moves(_learned.sensitivity(evidence, count))
    told = f"lower bound: one threshold; members are taken to move {'more' if sign > 0 else 'less'}"
    return _records.answered(evidence, score, member, told)


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve of every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each record stands in each resample, ``(draws, P)``.
    """
    del config
    return _records.area(answer, weights)


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the shares found at few false alarms and the balanced accuracy of every resample, ``(draws, 3)``.

    NaN where there are too few non-members for a false alarm rate.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each record stands in each resample, ``(draws, P)``.
    """
    del config
    return _records.points(answer, weights)


def effort(config: Config, task: Task) -> int:
    """Return the passes beyond the shared ones that one model costs at most.

    Args:
        config: Not used.
        task: Has the records.
    """
    del config
    return _learned.spent(len(task.train), len(task.test))


def _moves(sensitivity: Tensor) -> Tensor:
    """Return the log of the sum over classes, ``(..., P)``."""
    return sensitivity.double().sum(-1).clamp(min=_LEAST).log()


def _sign(moves: Tensor, inside: Tensor) -> float:
    """Return 1 where the shadow models' members move more than others, else -1."""
    ones = np.ones((1, inside.shape[1]))
    pairs = (torch.stack([m, i.to(m.dtype)], 1).numpy() for m, i in zip(moves, inside, strict=True))
    areas = [float(summaries.auc(pair, ones)[0]) for pair in pairs]
    return 1.0 if float(np.mean(areas)) > 0.5 else -1.0
