"""Area under the ROC curve of a membership attack calibrated by shadow models of the same recipe (RMIA, offline).

A record's likelihood ratio is ``LR(x) = p(x) / p_bar(x)``: ``p`` the probability that the model gives the record's
recorded label, ``p_bar = ((1 + a) p_out + (1 - a)) / 2`` what a model chosen at random would give it, ``p_out`` the
mean over the shadow models that did not have the record. Its score is the share of population records z with
``LR(x) / LR(z) >= gamma``; the population is the non-members but for x itself. Members are train, non-members as many
of test.

Reading:
    0.5: the attacker guesses; 1: members are told without error. It is the stronger one of the two attacks on a single
    model: read it before `loss`, and its change rather than its level.

Cost:
    One pass forward of train and one of test, shared; before it the shadow models, each a whole training and
    compression and one pass forward of all records, shared with `membership.pair`.

Limits:
    A lower bound, as every attack is; few shadow models make ``p_out`` noisy and weaken it. The shadow models must be
    made by the very recipe of the model under attack: those of another recipe understate the leak. Train and test must
    come from the same distribution.

Source:
    Zarifzadeh, Liu & Shokri, Low-cost high-power membership inference attacks, ICML 2024, arXiv:2312.03262.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.behaviours.membership import _records
from whatelse.evidence import Evidence
from whatelse.settings import param
from whatelse.statistics import summaries

VERSION, UNIT, BETTER, NEEDS, OVER = 1, "AUC", "lower", {"predicts", "references"}, "record"


@dataclass(frozen=True)
class Config:
    """Settings of the attack with references."""

    a: float = param(0.3, "Slope from the mean outside to the mean of all models.", low=0.0, high=1.0)
    gamma: float = param(1.0, "Ratio at which a record dominates another.", low=1.0, high=100.0)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Tensor:
    """Return the score of each record and whether it is a member, ``(P, 2)``.

    Args:
        evidence: Gives the class scores and those of the shadow models; takes a note of how many there are.
        config: Constants of the attack.
        rng: Not used; the attack is deterministic.

    Raises:
        NotMeasurableError: There are no shadow models, or they do not fit the records.
    """
    del rng
    shadows = _records.references(evidence)
    count = shadows.inside.shape[1]
    recorded = _records.labels(evidence, count)
    outside = _records.mean_outside(_records.odds(shadows.logits, recorded).sigmoid(), shadows.inside)
    mine = _records.odds(_records.logits(evidence, count), recorded)
    ratio = _records.log_ratio(mine, outside, config.a)
    member = _records.members(evidence, count)
    beaten = torch.searchsorted(ratio[~member].sort().values, ratio - math.log(config.gamma), right=True)
    # A non-member stands in the population too; it is not compared with itself.
    itself = (~member).long()
    score = (beaten - itself * (config.gamma <= 1)) / (itself.sum() - itself).clamp(min=1)
    evidence.note(f"{len(shadows.inside)} shadow models, {int(member.sum())} members, {int((~member).sum())} others")
    return torch.stack([score, member], 1).float()


def summarise(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve of every resample, ``(draws,)``.

    Args:
        values: What `measure` returned, ``(P, 2)``.
        counts: How often each record stands in each resample, ``(draws, P)``.
    """
    return summaries.auc(values, counts)
