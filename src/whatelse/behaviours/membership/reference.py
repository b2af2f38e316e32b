"""Area under the ROC curve of a membership attack calibrated by shadow models of the same recipe (RMIA).

A record's likelihood ratio is ``LR(x) = p(x) / p_bar(x)``: ``p`` the probability that the model gives the record's
recorded label, ``p_bar`` what a model chosen at random would give it. Its score is the share of population records z
with ``LR(x) / LR(z) >= gamma``; the population is the non-members but for x itself. Members are train, non-members as
many of test. Probabilities are at a temperature: of the model that at which it is calibrated on select, of shadow
models as hot in proportion to how far their scores spread.

With ``mode = "offline"``, ``p_bar = ((1 + a) p_out + (1 - a)) / 2``, ``p_out`` the mean over the shadow models that did
not have the record. With ``"online"``, ``p_bar = (p_in + p_out) / 2``, ``p_in`` the mean over those that had it: no
constant is guessed, but the attacker trains models on the very records that he asks about.

The parts are operating points: the share of members found at 1 % and at 0.1 % false alarms, and the balanced accuracy
at the best threshold.

Reading:
    0.5: the attacker guesses; 1: members are told without error. It is a strong attack on a single model: read it
    before `loss`, and its change rather than its level. An attack that finds a few members for certain has a high
    share found at few false alarms and an AUC that hardly moves: read the parts.

Cost:
    One pass forward of train and one of test, shared; before it the shadow models, each a whole training and
    compression and one pass forward of all records, shared with the other attacks that have references.

Limits:
    A lower bound, as every attack is; few shadow models make ``p_out`` noisy and weaken it. The shadow models must be
    made by the very recipe of the model under attack: those of another recipe understate the leak. Train and test must
    come from the same distribution. Offline, ``a`` is a guess that a model which learnt its labels in part can miss: on
    digits with 30 % wrong labels and four shadow models offline found .70 and online .83 of a net that gave 76 % of its
    labels back, .87 and .89 of one that gave 97 %. The share found at 1 % false alarms is refused below 1,000
    non-members and at 0.1 % below 10,000, ten expected alarms each. The balanced accuracy is taken at the best
    threshold for these very records, so that chance lies a little above 0.5.

Source:
    Zarifzadeh, Liu & Shokri, Low-cost high-power membership inference attacks, ICML 2024, arXiv:2312.03262; operating
    points: Carlini et al., S&P 2022, arXiv:2112.03570.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer
from whatelse.behaviours.membership import _records
from whatelse.evidence.cache import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    3,
    "AUC",
    "lower",
    {"predicts", "references"},
    "record",
    "operating point",
)
WORST, BLIND = 1.0, 0.5


@dataclass(frozen=True)
class Config:
    """Settings of the attack with references."""

    mode: str = param("offline", "Which shadow models: without the record, or both.", choices=("offline", "online"))
    a: float = param(0.3, "Slope from the mean outside to the mean of all models; offline.", low=0.0, high=1.0)
    gamma: float = param(1.0, "Ratio at which a record dominates another.", low=1.0, high=100.0)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return the score of each record and whether it is a member.

    Args:
        evidence: Gives the class scores and those of the shadow models.
        config: Constants of the attack.
        rng: Not used; the attack is deterministic.

    Raises:
        NotMeasurableError: There are no shadow models, or they do not fit the records.
    """
    del rng
    online = config.mode == "online"
    shadows = _records.references(evidence, within=int(online))
    count = shadows.inside.shape[1]
    recorded = _records.labels(evidence, count)
    theirs = _records.shadow_odds(evidence, shadows, recorded).sigmoid()
    anybody = _records.mean_outside(theirs, shadows.inside)
    if online:
        anybody = (anybody + _records.mean_outside(theirs, ~shadows.inside)) / 2
    mine = _records.odds(evidence, recorded)
    # Online the mean of all models is known: the slope to it is one.
    ratio = _records.log_ratio(mine, anybody, 1.0 if online else config.a)
    member = _records.members(evidence, count)
    beaten = torch.searchsorted(ratio[~member].sort().values, ratio - math.log(config.gamma), right=True)
    # A non-member stands in the population too; it is not compared with itself.
    itself = (~member).long()
    score = (beaten - itself * (config.gamma <= 1)) / (itself.sum() - itself).clamp(min=1)
    told = f"{len(shadows.inside)} shadow models, {int(member.sum())} members, {int((~member).sum())} others"
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
