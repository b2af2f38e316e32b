"""Area under the ROC curve of the likelihood ratio attack: how a record fits, held against models with and without it.

``phi = log p_y - log (1 - p_y)`` is the log-odds that a model gives the record's recorded label, at its temperature:
that at which it is calibrated on select, and for shadow models as hot in proportion to how far their scores spread. For
every record two normal distributions of phi are fitted to the shadow models, ``in`` to those that had the record and
``out`` to those that had not, each centered at the median. With ``mode = "online"`` the score is ``log N(phi; in) - log
N(phi; out)``; with ``"offline"`` it is ``z = (phi - median_out) / sigma_out``, which ranks as the source's one-sided
tail ``Pr[N(out) <= phi]`` does where that rounds to one. Members are train, non-members as many of test.

``variance = "record"`` fits sigma to each record; ``"global"`` takes one of all records, pooled about each record's own
mean, for ``in`` and for ``out``; ``"auto"`` the second below 64 shadow models, where that of one record is noise.

The parts are operating points: the share of members found at 1 % and at 0.1 % false alarms, and the balanced accuracy
at the best threshold.

Reading:
    0.5: the attacker guesses; 1: members are told without error. With 64 shadow models or more it is the attack that
    finds most at few false alarms: read the parts. With fewer, `reference` with ``mode = "online"`` is stronger: on
    digits with 30 % wrong labels .89 against .87 with four, .90 for both with 64.

Cost:
    One pass forward of train and one of test, shared; before it the shadow models, each a whole training and
    compression and one pass forward of all records, shared with the other attacks that have references.

Limits:
    A lower bound, as every attack is. It takes two shadow models with and two without each record (offline: two
    without), and 64 or more to be what it is known for, which a note says. The shadow models must be made by the very
    recipe of the model under attack. Train and test must come from the same distribution. The share found at 1 % false
    alarms is refused below 1,000 non-members and at 0.1 % below 10,000. The balanced accuracy is taken at the best
    threshold for these very records, so that chance lies a little above 0.5.

Source:
    Carlini et al., Membership inference attacks from first principles, S&P 2022, arXiv:2112.03570, and its published
    code, from which the medians are. Departures: the code's one variance is that of all values about one mean, and of
    ``in`` for both; one question a record, without augmented copies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer
from whatelse.behaviours.membership import _records
from whatelse.evidence.cache import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    2,
    "AUC",
    "lower",
    {"predicts", "references"},
    "record",
    "operating point",
)
WORST, BLIND = 1.0, 0.5
_ADVISED = 64
# The source adds 1e-45 to probabilities: log-odds beyond it say the same, and infinite ones have no mean.
_FAR = 103.0
_LEAST = 1e-6  # of a sigma: shadow models that answer alike would divide by zero


@dataclass(frozen=True)
class Config:
    """Settings of the likelihood ratio attack."""

    mode: str = param("online", "Which shadow models: both, or without the record.", choices=("online", "offline"))
    variance: str = param(
        "auto", "One variance a record or for all; auto: for all below 64 models.", choices=("auto", "record", "global")
    )


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return the score of each record and whether it is a member.

    Args:
        evidence: Gives the class scores and those of the shadow models.
        config: Which shadow models, which variance.
        rng: Not used; the attack is deterministic.

    Raises:
        NotMeasurableError: There are no shadow models, they do not fit the records, or are too few for a spread.
    """
    del rng
    online = config.mode == "online"
    shadows = _records.references(evidence, outside=2, within=2 * online)
    models, count = shadows.inside.shape
    recorded = _records.labels(evidence, count)
    theirs = _records.shadow_odds(evidence, shadows, recorded).clamp(-_FAR, _FAR)
    mine = _records.odds(evidence, recorded).clamp(-_FAR, _FAR)
    single = config.variance == "global" or (config.variance == "auto" and models < _ADVISED)
    z, spread = _fitted(mine, theirs, ~shadows.inside, single=single)
    if online:
        z_in, spread_in = _fitted(mine, theirs, shadows.inside, single=single)
        score = (z**2 - z_in**2) / 2 + spread.log() - spread_in.log()
    else:
        score = z
    member = _records.members(evidence, count)
    notes = [f"{models} shadow models, {int(member.sum())} members, {int((~member).sum())} others"]
    if models < _ADVISED:
        notes.append(f"{models} shadow models are few for this attack: {_ADVISED} or more are advised")
    return _records.answered(evidence, score, member, *notes)


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


def _fitted(mine: Tensor, theirs: Tensor, picked: Tensor, *, single: bool) -> tuple[Tensor, Tensor]:
    """Return the model's distance from the median of some shadow models in their sigmas, and the sigmas, ``(P,)``.

    Args:
        mine: Log-odds by the model in question, ``(P,)``.
        theirs: Log-odds by the shadow models, ``(K, P)``.
        picked: Which shadow models serve for which record, ``(K, P)``.
        single: Whether one sigma serves for all records.
    """
    number = picked.sum(0)
    mean = theirs.where(picked, 0.0).sum(0) / number
    square = ((theirs - mean) ** 2).where(picked, 0.0).sum(0)
    # Pooled over few models each, the mean that was fitted must be paid for; for one record it is as in the source.
    variance = (square.sum() / (number - 1).sum()).expand(len(mine)) if single else square / number
    spread = variance.sqrt().clamp(min=_LEAST)
    return (mine - _median(theirs, picked, number)) / spread, spread


def _median(values: Tensor, picked: Tensor, number: Tensor) -> Tensor:
    """Return the median over the picked shadow models, the mean of the middle two where they are even, ``(P,)``."""
    ordered = values.where(picked, torch.inf).sort(0).values
    low, high = (ordered.gather(0, at[None])[0] for at in ((number - 1) // 2, number // 2))
    return (low + high) / 2
