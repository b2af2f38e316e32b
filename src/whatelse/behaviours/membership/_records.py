"""The records whose membership is in question, and how well models fit them: what the items of this family share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from whatelse.answer import Answer, Doubt, Parts
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence, References
from whatelse.evidence.loudness import log_spreads, spread, temperature
from whatelse.models.subject import log_odds
from whatelse.statistics import summaries

FALSE_ALARMS = (0.01, 0.001)
POINTS = (*(f"found at {100 * at:g} % false alarms" for at in FALSE_ALARMS), "balanced accuracy")
# A share found at a false alarm rate hangs on the few highest non-members: it takes ten of them to be a measurement.
# In simulation 1,000 non-members, one alarm, put a true 2 % at 3.1 +- 1.6 %; 10,000 put it at 2.1 +- 0.5 %.
_ALARMS = 10
# Share of pairs of a member and another that coarse scores may leave untold, more than those of the baseline do: at
# worst they hide half of it, about what two areas may differ by.
_COARSE = 0.05


def logits(evidence: Evidence, count: int) -> Tensor:
    """Return the model's class scores of all records, members first, ``(P, classes)`` in double precision.

    They are at the temperature at which the model is calibrated on select, records that the attacker may know as
    non-members, so that no scale of the scores, which its owner can undo, changes an attack.

    Args:
        evidence: The model under attack.
        count: How many records: all of train, the rest from the start of test.
    """
    return _said(evidence, count).double() / temperature(evidence)


def _said(evidence: Evidence, count: int) -> Tensor:
    rest = count - len(evidence.split("train"))
    return torch.cat([evidence.logits("train"), evidence.logits("test")[:rest]])


def temperatures(evidence: Evidence, said: Tensor, inside: Tensor) -> Tensor:
    """Return the temperature of each shadow model, ``(K,)`` in double precision, on a footing with the target's.

    It is to how far the scores of records spread that the shadow model did not have as the target's own is to the
    spread of its scores on select. Shadow models are held against each other on the same records, so that it does not
    matter which of them were easy.

    Args:
        evidence: The model under attack.
        said: Class scores of the shadow models, ``(K, P, classes)``.
        inside: Whether the record was a member, ``(K, P)`` bool.
    """
    every = inside.all(1, keepdim=True)  # one that had all records has no others to go by
    each = torch.stack([log_spreads(z) for z in said]).where(~inside | every, torch.nan)
    size = each.nanmean(1, keepdim=True)
    level = each - size
    size = size + (level - level.nanmean(0)).nanmean(1, keepdim=True)
    size = (size + (each - size).nanmean())[:, 0]
    own = spread(evidence.logits("select"))
    return (size.exp() * (temperature(evidence) / own if own > 0 else torch.nan)).nan_to_num(1.0)


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


def references(evidence: Evidence, *, outside: int = 1, within: int = 0) -> References:
    """Return what the shadow models say, checked against the task.

    Args:
        evidence: Has the shadow models.
        outside: How many shadow models must lack a record, for every record.
        within: How many must have it.

    Raises:
        NotMeasurableError: There are none, they speak of other records, or too few have a record or lack it.
    """
    found = evidence.references()
    count, train = found.inside.shape[1], len(evidence.split("train"))
    if not train < count <= train + len(evidence.split("test")):
        raise NotMeasurableError(f"needs references on train and part of test; they have {count} records")
    stuck = int(found.inside.all(0).sum())
    if stuck and outside:
        raise NotMeasurableError(f"needs each record outside one shadow model or more; {stuck} are inside all")
    for word, least, had in (("outside", outside, ~found.inside), ("inside", within, found.inside)):
        short = int((had.sum(0) < least).sum())
        if short:
            models = f"{least} shadow models or more of {len(found.inside)}"
            raise NotMeasurableError(f"needs each record {word} {models}; {short} are {word} fewer")
    return found


def odds(evidence: Evidence, recorded: Tensor) -> Tensor:
    """Return the log-odds that the model gives the recorded labels, ``(P,)``, at its temperature in double precision.

    Args:
        evidence: The model under attack.
        recorded: Labels, ``(P,)``.
    """
    return log_odds(logits(evidence, len(recorded)), recorded)


def shadow_odds(evidence: Evidence, shadows: References, recorded: Tensor) -> Tensor:
    """Return the log-odds that the shadow models give the recorded labels, ``(K, P)``, each at its temperature.

    Args:
        evidence: The model under attack.
        shadows: What the shadow models say.
        recorded: Labels, ``(P,)``.
    """
    # One model at a time: the scores of all in double precision would be several times what was loaded.
    scaled = zip(shadows.logits, temperatures(evidence, shadows.logits, shadows.inside), strict=True)
    return torch.stack([log_odds(said.double() / scale, recorded) for said, scale in scaled])


def _coarse(evidence: Evidence, member: Tensor) -> tuple[tuple[str, ...], tuple[Doubt, ...]]:
    """Return a doubt about a model whose scores are coarser, or finer, than its baseline's; without one, a note.

    Scores that are rounded, cut to the top or saturated hide who is a member from this attack, and do not protect:
    others ask again, or of the label alone.
    """
    mine = _untold(evidence, member)
    if evidence.reference is None:
        alone = f"coarse scores: {mine:.0%} of the pairs of a member and another cannot be told apart"
        return ((alone,) if mine > _COARSE else ()), ()
    before = _untold(evidence.reference, member)
    told = f"{mine:.0%} of the pairs of a member and another cannot be told apart, {before:.0%} by the baseline"
    if mine - before > _COARSE:
        return (), (Doubt(f"coarse scores: {told}: rounding or saturation only seems to protect", one_sided=True),)
    if before - mine > _COARSE:
        return (), (Doubt(f"coarse scores of the baseline: {told}: what that leaks is understated"),)
    return (), ()


def _untold(evidence: Evidence, member: Tensor) -> float:
    count = len(member)
    return untold(_said(evidence, count), labels(evidence, count), member, temperature(evidence))


def untold(scores: Tensor, recorded: Tensor, member: Tensor, scale: float = 1.0) -> float:
    """Return the share of pairs of a member and another whose log-odds are nearer than the scores are fine, in [0, 1].

    Scores are as fine as their type of number; where one occurs again and again they lie on a grid, and are as fine as
    half the way to the nearest other one. A record tells nothing where its label has the very score of all classes but
    the likeliest, as where only that is told.

    Args:
        scores: Class scores, ``(P, classes)``, as the model answers.
        recorded: Labels, ``(P,)``.
        member: Whether each record is a member, ``(P,)`` bool.
        scale: Temperature of the log-odds.
    """
    z = scores.double() / scale
    mine = z.gather(1, recorded[:, None])
    rest = z.scatter(1, recorded[:, None], -torch.inf)
    odds = mine[:, 0] - rest.logsumexp(1)
    rounding = torch.finfo(scores.dtype).eps / 2 * z.abs().nan_to_num(0, 0, 0).amax(1, keepdim=True)
    grid = _fineness(torch.cat([mine, rest.amax(1, keepdim=True)], 1))
    # Of two rounded scores the errors rarely add up: half of the larger one.
    blur = torch.maximum(grid, rounding).amax(1) / 2
    alike = (rest == mine).sum(1) >= max(1, scores.shape[1] - 2)
    blur = blur.where(~(alike | odds.isnan()), torch.inf)
    odds = odds.nan_to_num()
    low, high = (odds - blur).numpy(), (odds + blur).numpy()
    inside = member.numpy()
    apart = _below(high[inside], low[~inside]) + _below(high[~inside], low[inside])
    return 1 - apart / max(1, int(inside.sum()) * int((~inside).sum()))


def _fineness(scores: Tensor) -> Tensor:
    """Return half the way from each score to the nearest other one, 0 where it occurs once."""
    values, place, counts = torch.unique(scores, return_inverse=True, return_counts=True)
    ends = values.new_full((1,), torch.inf)
    way = values.diff()
    near = torch.minimum(torch.cat([ends, way]), torch.cat([way, ends])) / 2
    return near.where((counts > 1) & near.isfinite(), 0.0)[place]


def _below(some: np.ndarray, others: np.ndarray) -> int:
    """Return how many pairs there are whose first number, of ``some``, is less than the second, of ``others``."""
    return int(np.searchsorted(np.sort(some), others, side="left").sum())


def answered(evidence: Evidence, score: Tensor, member: Tensor, *notes: str) -> Answer:
    """Return the score of each record and whether it is a member, with what must be said of every attack.

    Args:
        evidence: The model under attack.
        score: Higher for what the attacker takes for a member, ``(P,)``.
        member: Whether it is one, ``(P,)`` bool.
        notes: What this attack says of itself.
    """
    alone, doubts = _coarse(evidence, member)
    return replace(scored(score, member, *notes, *alone), doubts=doubts)


def scored(score: Tensor, member: Tensor, *notes: str) -> Answer:
    """Return the score of each record and whether it is a member, and how sure the shares found at few alarms are.

    Args:
        score: Higher for what the attacker takes for a member, ``(P,)``.
        member: Whether it is one, ``(P,)`` bool.
        notes: What this attack says of itself.
    """
    # Log-odds that single precision rounds would be ties.
    columns = {"score": score.double(), "member": member.double()}
    sure = how_sure(score.double(), member)
    return Answer(columns, parts=Parts(POINTS, unit="share"), notes=(*notes, *sure))


def how_sure(score: Tensor, member: Tensor) -> list[str]:
    """Return notes on the shares of members found at few false alarms: their intervals, or that they are refused.

    Args:
        score: Higher for what the attacker takes for a member, ``(P,)`` in double precision.
        member: Whether it is one, ``(P,)`` bool.
    """
    values = torch.stack([score, member.double()], 1)
    notes = []
    members, others = int(member.sum()), int((~member).sum())
    refused = []
    for at, name in zip(FALSE_ALARMS, POINTS, strict=False):
        if not _measurable(others, at):
            refused.append(f"at {100 * at:g} % below {round(_ALARMS / at):,} non-members")
        elif bool(values.isfinite().all()):
            share = summaries.true_positive_rate(values.numpy(), np.ones((1, len(values))), at)
            found = round(float(share[0]) * members)
            low, high = clopper_pearson(found, members)
            interval = f"95 % Clopper-Pearson interval {low:.4f} to {high:.4f}"
            notes.append(f"{name}: {found} of {members} members, {interval}")
    if refused:
        notes.append(f"the share found at few false alarms is refused {' and '.join(refused)}; there are {others:,}")
    return notes


def area(answer: Answer, weights: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve of every resample, ``(draws,)``.

    Args:
        answer: What `answered` returned.
        weights: How often each record stands in each resample, ``(draws, P)``.
    """
    return summaries.auc(answer.table("score", "member"), weights)


def points(answer: Answer, weights: np.ndarray) -> np.ndarray:
    """Return the attack at its operating points `POINTS` on every resample, ``(draws, 3)``; NaN where it is refused.

    Args:
        answer: What `answered` returned.
        weights: How often each record stands in each resample, ``(draws, P)``.
    """
    values = answer.table("score", "member")
    others = int((values[:, 1] <= 0.5).sum())
    found = [
        summaries.true_positive_rate(values, weights, at) if _measurable(others, at) else np.full(len(weights), np.nan)
        for at in FALSE_ALARMS
    ]
    return np.stack([*found, balanced_accuracy(values, weights)], 1)


def balanced_accuracy(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean of the shares of members and of non-members told right, at the best threshold, ``(draws,)``.

    The threshold is chosen on the same records, so that 0.5 is the least and chance lies a little above it. NaN where
    a side is empty.

    Args:
        values: Score, and 1 for a member or 0 for a non-member, ``(P, 2)``.
        weights: How often each record stands in each resample, ``(draws, P)``.
    """
    return summaries.balanced_accuracy(values, weights)


def clopper_pearson(found: int, asked: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a share, from the beta distribution.

    Args:
        found: How many were found.
        asked: Of how many, at least one.
    """
    from scipy.special import betaincinv  # noqa: PLC0415 - not for a listing

    low = float(betaincinv(found, asked - found + 1, 0.025)) if found else 0.0
    high = float(betaincinv(found + 1, asked - found, 0.975)) if found < asked else 1.0
    return low, high


def _measurable(others: int, at: float) -> bool:
    """Say whether enough non-members would be false alarms at a rate."""
    return others >= round(_ALARMS / at)


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
