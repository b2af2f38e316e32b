"""Area under the ROC curve of a membership attack by someone who holds both models, before and after compression.

Two numbers a record: for each model the log of the ratio of `membership.reference`, ``r = log p - log p_bar``, its
``p_out`` by the shadow models of that model's own recipe, at the temperatures that are used there. The score is their
weighted sum. The weights come from the shadow models alone: each in turn plays the target, its ``p_out`` taken from the
others, and a logistic regression (ridge 1e-3 on standardized r) learns which records it had. The target's own members
are never learnt from.

The parts are operating points: the share of members found at 1 % and at 0.1 % false alarms, and the balanced accuracy
at the best threshold.

Reading:
    With the baseline itself as candidate this ranks as `membership.reference` does on the baseline: held against that,
    the effect is what publishing the second model adds. 0.5: the attacker guesses; the weights are noted.

Cost:
    One pass forward of train and one of test for both models, shared; before it the shadow models of both recipes, each
    a whole training and compression, shared with `membership.reference`. The regression costs next to nothing.

Limits:
    A lower bound, as every attack is; with few shadow models ``p_out`` and the weights are noisy. The rule is linear: a
    second model that is broken can cost it a little. Needs four shadow models or more, those of both recipes trained on
    the same records. The share found at 1 % false alarms is refused below 1,000 non-members and at 0.1 % below 10,000.

Source:
    CompLeak: Deep learning model compression exacerbates privacy leakage, USENIX Security 2026, arXiv:2507.16872, for
    the question and an attack trained on what both models say; the ratio: Zarifzadeh, Liu & Shokri, ICML 2024,
    arXiv:2312.03262. The two ratios in place of the source's posteriors and losses are ours: they leave little to
    learn; on digits log-odds beside them made the attack worse (AUC .60 against .65).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from whatelse.answer import Answer
from whatelse.behaviours.membership import _records
from whatelse.errors import NotMeasurableError
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
_RIDGE, _STEPS, _SMALL = 1e-3, 100, 1e-10


@dataclass(frozen=True)
class Config:
    """Settings of the attack on both models."""

    a: float = param(0.3, "Slope from the mean outside to the mean of all models.", low=0.0, high=1.0)


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return the joint score of each record and whether it is a member.

    Args:
        baseline: Evidence of the model before compression, with its shadow models.
        candidate: Evidence of the compressed model, with its own.
        config: Constant of the ratio.
        rng: Not used; the attack is deterministic.

    Raises:
        NotMeasurableError: One of the models has no shadow models, those of the two had different records, or there
            are too few to learn the weights from.
    """
    del rng
    both = (baseline, candidate)
    shadows = [_records.references(e) for e in both]
    inside = shadows[0].inside
    if not torch.equal(shadows[1].inside, inside):
        raise NotMeasurableError("needs shadow models of both recipes that were trained on the same records")
    count = inside.shape[1]
    recorded = _records.labels(candidate, count)
    played, mine = [], []
    for e, said in zip(both, shadows, strict=True):
        theirs = _records.shadow_odds(e, said, recorded)
        odds = _records.odds(e, recorded)
        outside = _records.mean_outside(theirs.sigmoid(), inside)
        played.append(_records.log_ratio(theirs, _mean_of_others(theirs.sigmoid(), inside), config.a))
        mine.append(_records.log_ratio(odds, outside, config.a))
    usable = (~inside).sum(0) > (~inside).long()
    weights, scale = _learn(torch.stack(played, -1)[usable], inside[usable])
    score = torch.stack(mine, -1) / scale @ weights
    member = _records.members(candidate, count)
    told = f"weight of the baseline {float(weights[0]):.2f}, of the compressed model {float(weights[1]):.2f}"
    return _records.answered(candidate, score, member, told)


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


def _mean_of_others(values: Tensor, inside: Tensor) -> Tensor:
    """Return for each shadow the mean over the other ones that did not have the record, ``(K, P)``; 0 where none."""
    out = (~inside).to(values.dtype)
    return ((values * out).sum(0) - values * out) / (out.sum(0) - out).clamp(min=1)


def _learn(features: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights of a ridge logistic regression by Newton's method, and the features' scale, ``(F,)`` each.

    Raises:
        NotMeasurableError: There is nothing to learn from.
    """
    if not len(known) or bool(known.all()) or not bool(known.any()):
        raise NotMeasurableError("needs four shadow models or more, each record outside two of them")
    scale = features.std(0).clamp(min=1e-12)
    x = torch.cat([features / scale, torch.ones(len(features), 1, dtype=features.dtype)], 1)
    sign = 2 * known.to(x.dtype) - 1
    ridge = _RIDGE * len(x) * torch.tensor([*[1.0] * features.shape[1], 1e-6], dtype=x.dtype)

    def cost(w: Tensor) -> Tensor:
        return -functional.logsigmoid(sign * (x @ w)).sum() + (ridge * w * w).sum() / 2

    w = torch.zeros(x.shape[1], dtype=x.dtype)
    for _ in range(_STEPS):
        p = (x @ w).sigmoid()
        slope = x.T @ (p - known.to(x.dtype)) + ridge * w
        move = torch.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + ridge.diag(), slope)
        while cost(w - move) > cost(w) and move.norm() > _SMALL:
            move = move / 2
        w = w - move
        if move.norm() <= _SMALL:
            break
    return w[:-1], scale
