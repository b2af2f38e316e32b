"""Area under the ROC curve of the plainest membership attack: records with a small loss are called members.

Score: the negative cross-entropy of the recorded label. Members are train, non-members as many of test.

Reading:
    0.5: the attacker guesses; 1: members are told without error. It rises and falls with the gap between train
    and test, so compression that regularizes lowers it; read it beside `generalization.gap`.

Cost:
    One pass forward of train and one of test, shared with all behaviours that read predictions.

Limits:
    It is a lower bound on the leak: attacks that know how hard each record is find far more, and an average over
    records hides the few that are exposed. Train and test must come from the same distribution, or their difference
    passes for membership.

Source:
    Yeom et al., Privacy risk in machine learning: analyzing the connection to overfitting, CSF 2018,
    arXiv:1709.01604; why it is a lower bound: Carlini et al., Membership inference attacks from first principles,
    S&P 2022, arXiv:2112.03570.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from whatelse.behaviours.membership import _records
from whatelse.evidence import Evidence
from whatelse.statistics import summaries

VERSION, UNIT, BETTER, NEEDS, OVER = 1, "AUC", "lower", {"predicts"}, "record"


@dataclass(frozen=True)
class Config:
    """The loss threshold has no settings."""


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Tensor:
    """Return the negative loss of each record and whether it is a member, ``(P, 2)``.

    Args:
        evidence: Gives the class scores; takes the note that this is a lower bound.
        config: Not used.
        rng: Not used; the attack is deterministic.
    """
    del config, rng
    count = len(evidence.split("train")) + min(len(evidence.split("train")), len(evidence.split("test")))
    # By way of the log-odds, as the probability of a record that fits well rounds to one.
    odds = _records.odds(_records.logits(evidence, count), _records.labels(evidence, count))
    evidence.note("lower bound: a loss threshold, without references")
    return torch.stack([functional.logsigmoid(odds), _records.members(evidence, count)], 1).float()


def summarise(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve of every resample, ``(draws,)``.

    Args:
        values: What `measure` returned, ``(P, 2)``.
        counts: How often each record stands in each resample, ``(draws, P)``.
    """
    return summaries.auc(values, counts)
