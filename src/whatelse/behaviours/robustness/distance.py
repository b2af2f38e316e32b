"""Smallest change of an input that fools the model, as a length: robustness without a radius to choose.

For each of the first ``examples`` of test the length of the shortest known move that makes the model err: 0 where it
errs already. A search with the model's own gradients (FMN: every step goes up the slope of the gap between the scores
of the true and another class, inside a ball that shrinks where the model is fooled and grows where it is not) starts
at the input and then at random points, each time towards another class; a line leads to the nearest example of which
the model says another class; random noise of nine tenths of the length takes its place where that fools as well, which
gradients through rounding miss; a bisection on the model's answers makes the best of it tight. Moves stay within the
bounds of the inputs; what nothing fools counts as far off as the farthest corner, which a note says.

The pair is treated alike: moves found for either model are tried on the other, scaled to the length known there, and
kept where they get by with less. With own and pooled distances the value is ``candidate pooled + baseline own -
baseline pooled``: held against the control *baseline*, which has nobody else's points, it is the change of the pooled
distances. The parts are the same of three quantiles: the examples nearest to the border, the median, the farthest.

Reading:
    Twice the distance is a change twice as large that an input withstands; where ``unit`` is *baseline*, 0.9 is a tenth
    less than the baseline's mean. A length says more than right or wrong at one radius, so that fewer examples show the
    same change: the one to put into a search. A failed check makes it *not trusted*, however good it looks: as where a
    step of the median length along the cross-entropy, in single precision, fools much less than one along the log-odds,
    and less than of the baseline.

Cost:
    On ``examples`` of test ``2 * starts * steps + 62`` passes of each model; the baseline's own points are kept. For
    the checks 11 forward passes more of the candidate, and on a hundred examples 6 of each model.

Limits:
    It is an upper bound, about a hundredth too long on small networks; a longer search finds less. Lengths are in units
    of the input and grow with the number of features: tasks are not comparable. It falls where accuracy falls, as an
    error is a distance of 0: read it beside `generalization.accuracy`.

Source:
    Pintor, Roli, Brendel & Biggio, Fast minimum-norm adversarial attacks through adaptive norm constraints, NeurIPS
    2021, arXiv:2102.12827; checks: Athalye et al., Obfuscated gradients give a false sense of security, ICML 2018,
    arXiv:1802.00420.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import special

from whatelse.answer import Answer
from whatelse.attacks import checks, minimum, norms
from whatelse.attacks.remarks import Remarks, flattered, noted
from whatelse.behaviours.robustness import _lengths
from whatelse.evidence.cache import Evidence
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    3,
    "distance",
    "higher",
    {"predicts", "differentiates", "inputs in bounds"},
    "test example",
    "quantile",
)
WORST, BLIND = 0.0, None
_ZERO, _DRAWS = 0.05, 10
# Shares of examples that a sound search may miss, and the level at which more are no chance.
_NOISE, _LENT, _LEVEL, _NEARER = 0.01, 0.05, 0.01, 0.9


@dataclass(frozen=True)
class Config:
    """Settings of the distance."""

    norm: str = param("l2", "How a change is measured, in units of the input.", choices=norms.NORMS)
    steps: int = param(10, "Gradient steps of a run of the search.", low=1, high=10_000)
    unit: str = param(
        "input", "Lengths in units of the input, or as multiples of the baseline's mean.", choices=_lengths.UNITS
    )
    starts: int = param(3, "Runs of the search: from the input, then from random points.", low=1, high=100)
    examples: int = param(300, "Test examples attacked, from the first.", low=1)


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return the candidate's pooled, the baseline's own and the baseline's pooled distances, in units of the input.

    Args:
        baseline: Evidence of the model before compression; its own points are kept there.
        candidate: Evidence of the compressed model.
        config: Norm and strength.
        rng: Source of the noise of a check; the search starts at the same points for all models.

    Raises:
        NotMeasurableError: One of the models does not differentiate, or test inputs leave their bounds, or the
            baseline's mean that is to be the unit is 0.
    """
    search = minimum.Search(config.norm, config.steps, config.starts, config.examples)
    theirs, mine = (minimum.own(e, search) for e in (baseline, candidate))
    pooled = minimum.lent(candidate, mine, theirs, config.norm)
    before = minimum.lent(baseline, theirs, mine, config.norm)
    remarks = _check_gradients(candidate, mine)
    hits = minimum.noisy(candidate, mine, config.norm, _DRAWS, rng)[0]
    attacked = int((mine.distances > 0).sum())
    remarks += _check("random noise", int(hits.sum()), attacked, _NOISE)
    remarks += _check("the baseline's point", int((pooled < _NEARER * mine.distances).sum()), attacked, _LENT)
    length = float(mine.distances[mine.distances > 0].quantile(0.5)) if attacked else 0.0
    remarks += checks.check_saturation(baseline, candidate, length, config.norm, config.examples)
    own, all_ = (float(d.mean()) for d in (mine.distances, pooled))
    remarks += noted(f"mean distance {own:.4g} by its own gradients; {all_:.4g} with the baseline's points too")
    return _lengths.answered((pooled, theirs.distances, before), config.unit, remarks)


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean distance of every resample, what pooling takes from the baseline given back, ``(draws,)``.

    Args:
        answer: What `compare` returned.
        config: Unit of the lengths.
        weights: How often each example stands in each resample, ``(draws, M)``.
    """
    return _lengths.mean(answer, config.unit, weights)


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the quantiles of the distance in every resample, combined as in the summary, ``(draws, 3)``.

    Args:
        answer: What `compare` returned.
        config: Unit of the lengths.
        weights: How often each example stands in each resample, ``(draws, M)``.
    """
    return _lengths.quantiles(answer, config.unit, weights)


def effort(config: Config, task: Task) -> int:
    """Return how many passes it costs beyond the shared ones, of one example forward or backward, at the most.

    Those of both models: the baseline's own points are kept.

    Args:
        config: Strength and number of examples.
        task: Gives the number of test examples.
    """
    each = 2 * config.starts * config.steps + 4 * minimum.SHORTENING + minimum.NOISES
    return min(config.examples, len(task.test)) * (2 * each + _DRAWS + 3 + 2 * checks.SATURATION)


def _check(name: str, missed: int, attacked: int, share: float) -> Remarks:
    # The chance of so many or more, were so small a share of the search's points that much too far off.
    told = f"masked gradient: {name} fools it nearer by a tenth on {missed} of {attacked} examples"
    return flattered(told) if missed and special.bdtrc(missed - 1, attacked, share) < _LEVEL else Remarks()


def _check_gradients(evidence: Evidence, found: minimum.Found) -> Remarks:
    rows = (found.distances > 0).nonzero().flatten()
    slope = evidence.margin_gradient("test")[: len(found.points)]
    zero, remarks = float((slope == 0).flatten(1).all(1).float().mean()), Remarks()
    if zero > _ZERO:
        remarks += flattered(f"masked gradient: {zero:.0%} of input gradients are exactly zero")
    remarks += _check("a line to another example", int(found.blind.sum()), len(rows), _LENT)
    return remarks + _lengths.check(evidence, found, "masked gradient or constant output")
