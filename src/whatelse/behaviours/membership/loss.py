"""Area under the ROC curve of the plainest membership attacks: a threshold on what the model says, without references.

Score of a record, by ``signal``, with ``p`` the probabilities and ``y`` the recorded label:

* *loss*: the log-odds ``log p_y - log (1 - p_y)``, which rank as the negative cross-entropy ``log p_y`` does;
* *confidence*: the log-odds of the likeliest class, which need no label;
* *entropy*: ``sum_i p_i log p_i``, minus the entropy, which needs no label either;
* *modified entropy*: ``(1 - p_y) log p_y + sum_{i != y} p_i log (1 - p_i)``: being sure counts for membership only
  where the recorded label is what the model is sure of.

Probabilities are those at the temperature at which the model is calibrated on select, in double precision: a scale of
the scores, which anybody can undo, hides nothing. Members are train, non-members as many of test. The parts are
operating points: the share of members found at 1 % and at 0.1 % false alarms, and the balanced accuracy at the best
threshold.

Reading:
    0.5: the attacker guesses; 1: members are told without error. It rises and falls with the gap between train
    and test, so compression that regularizes lowers it; read it beside `generalization.gap`.

Cost:
    One pass forward of train and one of test, shared with all behaviours that read predictions.

Limits:
    It is a lower bound on the leak, whatever the signal: attacks that know how hard each record is find far more, and
    an average over records hides the few that are exposed. Train and test must come from the same distribution, or
    their difference passes for membership. The share found at 1 % false alarms is refused below 1,000 non-members and
    at 0.1 % below 10,000, ten expected alarms each. The balanced accuracy is taken at the best threshold for these
    very records, so that chance lies a little above 0.5.

Source:
    Loss: Yeom et al., Privacy risk in machine learning: analyzing the connection to overfitting, CSF 2018,
    arXiv:1709.01604; confidence of the predicted class: Salem et al., ML-Leaks, NDSS 2019, arXiv:1806.01246; modified
    entropy: Song & Mittal, Systematic evaluation of privacy risks of machine learning models, USENIX Security 2021,
    arXiv:2003.10595. Their *confidence* is that of the recorded label and ranks as the loss does; their thresholds for
    each class take shadow models, and are left out. Why it is a lower bound: Carlini et al., Membership inference
    attacks from first principles, S&P 2022, arXiv:2112.03570.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from whatelse.answer import Answer
from whatelse.behaviours.membership import _records
from whatelse.evidence.cache import Evidence
from whatelse.models.subject import log_odds
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = 3, "AUC", "lower", {"predicts"}, "record", "operating point"
WORST, BLIND = 1.0, 0.5
_SIGNALS = ("loss", "confidence", "entropy", "modified entropy")
_LOWEST = -1e300  # a class of probability zero has a logarithm that zero can be multiplied by


@dataclass(frozen=True)
class Config:
    """Settings of the threshold attack."""

    signal: str = param("loss", "What the threshold is laid on.", choices=_SIGNALS)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return the score of each record and whether it is a member.

    Args:
        evidence: Gives the class scores.
        config: Which signal.
        rng: Not used; the attack is deterministic.
    """
    del rng
    count = len(evidence.split("train")) + min(len(evidence.split("train")), len(evidence.split("test")))
    recorded = _records.labels(evidence, count)
    member = _records.members(evidence, count)
    score = _score(_records.logits(evidence, count), recorded, config.signal)
    told = f"lower bound: a threshold on the {config.signal}, without references"
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


def _score(scores: Tensor, recorded: Tensor, signal: str) -> Tensor:
    """Return the signal of every record, higher for what is taken for a member, ``(P,)``."""
    if signal == "loss":
        # They rank as the probability does, which rounds to one where a record fits well.
        return log_odds(scores, recorded)
    top = scores.argmax(1)
    sure = log_odds(scores, top)
    if signal == "confidence":
        return sure
    # Only the highest probability can round to one; of the others the plain logarithms are exact.
    yes = scores.log_softmax(1).scatter(1, top[:, None], functional.logsigmoid(sure)[:, None])
    chance = yes.exp()
    if signal == "entropy":
        return (chance * yes.clamp(min=_LOWEST)).sum(1)
    no = torch.log1p(-chance).scatter(1, top[:, None], functional.logsigmoid(-sure)[:, None])
    mine = recorded[:, None]
    others = (chance * no.clamp(min=_LOWEST)).scatter(1, mine, 0.0).sum(1)
    return no.gather(1, mine)[:, 0].exp() * yes.gather(1, mine)[:, 0].clamp(min=_LOWEST) + others
