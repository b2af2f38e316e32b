"""The records whose membership is in question, and how well models fit them: what the items of this family share."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from whatelse.errors import NotMeasurableError
from whatelse.evidence import Evidence, References
from whatelse.subject import log_odds


def logits(evidence: Evidence, count: int) -> Tensor:
    """Return the model's class scores of all records, members first, ``(P, classes)`` in double precision.

    Args:
        evidence: The model under attack.
        count: How many records: all of train, the rest from the start of test.
    """
    rest = count - len(evidence.split("train"))
    return torch.cat([evidence.logits("train"), evidence.logits("test")[:rest]]).double()


def labels(evidence: Evidence, count: int) -> Tensor:
    """Return the labels as they were recorded, which is what training saw, ``(P,)``.

    Args:
        evidence: Its task has the records.
        count: How many records.
    """
    rest = count - len(evidence.split("train"))
    return torch.cat([evidence.split("train").observed, evidence.split("test").observed[:rest]])


def members(evidence: Evidence, count: int) -> Tensor:
    """Return whether each record is a member, ``(P,)`` bool.

    Args:
        evidence: Its task has the records.
        count: How many records.
    """
    return torch.arange(count) < len(evidence.split("train"))


def references(evidence: Evidence) -> References:
    """Return what the shadow models say, checked against the task.

    Args:
        evidence: Has the shadow models.

    Raises:
        NotMeasurableError: There are none, they speak of other records, or a record is inside all of them.
    """
    found = evidence.references()
    count, train = found.inside.shape[1], len(evidence.split("train"))
    if not train < count <= train + len(evidence.split("test")):
        raise NotMeasurableError(f"needs references on train and part of test; they have {count} records")
    stuck = int(found.inside.all(0).sum())
    if stuck:
        raise NotMeasurableError(f"needs each record outside one shadow model or more; {stuck} are inside all")
    return found


def odds(scores: Tensor, recorded: Tensor) -> Tensor:
    """Return the log-odds of the recorded labels, ``(..., P)``.

    Args:
        scores: Class scores, ``(..., P, classes)``.
        recorded: Labels, ``(P,)``.
    """
    flat = scores.double().flatten(0, -2)
    every = recorded.expand(scores.shape[:-1]).flatten()
    return log_odds(flat, every).view(scores.shape[:-1])


def log_ratio(mine: Tensor, outside: Tensor, a: float) -> Tensor:
    """Return the log of RMIA's likelihood ratio ``p / p_bar`` of each record, of the shape of ``mine``.

    ``p_bar = ((1 + a) p_out + (1 - a)) / 2`` is what a model chosen at random would give the recorded label.

    Args:
        mine: Log-odds of the recorded labels by the model in question, ``(..., P)``.
        outside: ``p_out``, the mean probability by shadow models that did not have the record, ``(..., P)``.
        a: Slope from the mean outside to that of all models.
    """
    anybody = ((1 + a) * outside + (1 - a)) / 2
    return functional.logsigmoid(mine) - anybody.clamp(min=torch.finfo(anybody.dtype).tiny).log()


def mean_outside(values: Tensor, inside: Tensor) -> Tensor:
    """Return the mean over the shadow models that did not have the record, ``(P,)``.

    Args:
        values: One a shadow model and record, ``(K, P)``.
        inside: Whether the record was a member, ``(K, P)``.
    """
    return values.where(~inside, 0.0).sum(0) / (~inside).sum(0)
