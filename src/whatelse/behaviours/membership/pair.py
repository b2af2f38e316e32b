"""Area under the ROC curve of a membership attack by someone who holds both models, before and after compression.

For each model and record: ``d = phi - mean(phi_out)``, ``phi`` the log-odds of the recorded label, ``phi_out`` those
of the shadow models (of that model's own recipe) that did not have the record. The score is ``b d_baseline +
c d_candidate``. Its weights come from the shadow models alone: each in turn plays the target, its ``d`` taken against
the others, and a logistic regression (ridge 1e-3 on standardized ``d``) learns which records it had. The target's
own members are never learnt from. With the baseline itself as candidate this is what one who holds only the baseline
gets from the same attack; held against that, the effect is what publishing the second model adds.

Source:
    CompLeak: Deep learning model compression exacerbates privacy leakage, USENIX Security 2026, arXiv:2507.16872, for
    the question; calibrated log-odds: Carlini et al., S&P 2022, arXiv:2112.03570, and Watson et al., ICLR 2022,
    arXiv:2111.08440. The source trains its attack on features of both models; so do we, with two features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from whatelse.behaviours.membership import _records
from whatelse.errors import NotMeasurableError
from whatelse.evidence import Evidence
from whatelse.statistics import summaries

VERSION, UNIT, BETTER, NEEDS, OVER = 1, "AUC", "lower", {"predicts", "references"}, "record"
_RIDGE, _STEPS, _SMALL = 1e-3, 100, 1e-10


@dataclass(frozen=True)
class Config:
    """The attack on both models has no settings."""


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Tensor:
    """Return the joint score of each record and whether it is a member, ``(P, 2)``.

    Args:
        baseline: Evidence of the model before compression, with its shadow models.
        candidate: Evidence of the compressed model, with its own; takes a note of the weights.
        config: Not used.
        rng: Not used; the attack is deterministic.

    Raises:
        NotMeasurableError: One of the models has no shadow models, those of the two had different records, or there
            are too few to learn the weights from.
    """
    del config, rng
    shadows = [_records.references(e) for e in (baseline, candidate)]
    inside = shadows[0].inside
    if shadows[1].inside.shape != inside.shape or not torch.equal(shadows[1].inside, inside):
        raise NotMeasurableError("needs shadow models of both recipes that were trained on the same records")
    count = inside.shape[1]
    recorded = _records.labels(candidate, count)
    theirs = torch.stack([_records.odds(s.logits, recorded) for s in shadows], -1)
    mine = torch.stack([_records.odds(_records.logits(e, count), recorded) for e in (baseline, candidate)], -1)
    played, known = _played(theirs, inside)
    weights, scale = _learn(played, known)
    outside = torch.stack([_records.mean_outside(theirs[..., m], inside) for m in (0, 1)], -1)
    score = (mine - outside) / scale @ weights
    candidate.note(f"weight of the baseline {float(weights[0]):.2f}, of the compressed model {float(weights[1]):.2f}")
    return torch.stack([score, _records.members(candidate, count)], 1).float()


def summarise(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve of every resample, ``(draws,)``.

    Args:
        values: What `compare` returned, ``(P, 2)``.
        counts: How often each record stands in each resample, ``(draws, P)``.
    """
    return summaries.auc(values, counts)


def _played(odds: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Return each shadow's odds against the others' outside, ``(R, 2)``, and whether it had the record, ``(R,)``."""
    out = (~inside)[..., None]
    total, many = (odds * out).sum(0), out.sum(0)
    # A shadow that did not have the record is taken out of the mean that it is held against.
    left = many - out.long()
    apart = odds - (total - odds * out) / left.clamp(min=1)
    usable = (left > 0).squeeze(-1)
    known = inside[usable]
    if not bool(known.any()) or bool(known.all()):
        raise NotMeasurableError("needs four shadow models or more, each record outside two of them")
    return apart[usable], known


def _learn(features: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights of a ridge logistic regression by Newton's method, and the features' scale, ``(2,)`` each."""
    scale = features.std(0).clamp(min=1e-12)
    x = torch.cat([features / scale, torch.ones(len(features), 1, dtype=features.dtype)], 1)
    sign = 2 * known.to(x.dtype) - 1
    ridge = _RIDGE * len(x) * torch.tensor([1.0, 1.0, 1e-6], dtype=x.dtype)

    def cost(w: Tensor) -> Tensor:
        return -functional.logsigmoid(sign * (x @ w)).sum() + (ridge * w * w).sum() / 2

    w = torch.zeros(3, dtype=x.dtype)
    for _ in range(_STEPS):
        p = (x @ w).sigmoid()
        slope = x.T @ (p - known.to(x.dtype)) + ridge * w
        move = torch.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + ridge.diag(), slope)
        while cost(w - move) > cost(w) and move.norm() > _SMALL:
            move = move / 2
        w = w - move
        if move.norm() <= _SMALL:
            break
    return w[:2], scale
