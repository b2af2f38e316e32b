"""Smallest change of an input that fools the model, as a length, found by asking for labels alone.

For each of the first ``examples`` of test the length of the shortest known move that makes the model err: 0 where it
errs already. A search that is told nothing but the predicted class (HopSkipJump) begins where the line to the nearest
example of another predicted class crosses the border of the decision. In every round random moves around that point,
some of which fool the model, tell where the border faces; a step that way is halved until the model is fooled, and a
bisection leads back to the border. The nearest point of all rounds is shortened by another bisection. There are as many
rounds as ``queries`` allow. Moves stay within the bounds of the inputs; what nothing fools counts as far off as the
farthest corner, which a note says.

The pair is treated alike, as in `distance`: moves found for either model are tried on the other, scaled to the length
known there, and kept where they get by with less. With own and pooled distances the value is ``candidate pooled +
baseline own - baseline pooled``: held against the control *baseline*, which has nobody else's points, it is the change
of the pooled distances. The parts are the same of three quantiles: the examples nearest to the border, the median, the
farthest.

Reading:
    Twice the distance is a change twice as large that an input withstands; where ``unit`` is *baseline*, 0.9 is a tenth
    less than the baseline's mean. It is there for models that only predict, and for those whose gradient cannot be
    trusted: rounding and saturated scores hide nothing from it. Where there is a gradient, `distance` finds less.

Cost:
    On ``examples`` of test at most ``queries`` passes forward of each model; the baseline's own points are kept. 13
    more of each for the other's points, and 3 of the candidate for the checks.

Limits:
    It is an upper bound, and a loose one: of a linear model at 1,000 queries up to 3 % too long with 6 features, 7 to
    13 % with 50, 33 to 69 % with 300. It falls with the queries; compare numbers of equal ``queries`` only. Of two
    models that are equally robust the one whose border is rougher is found farther off. Lengths are in units of the
    input and grow with the number of features: tasks are not comparable. It falls where accuracy falls, as an error is
    a distance of 0: read it beside `generalization.accuracy`.

Source:
    Chen, Jordan & Wainwright, HopSkipJumpAttack: a query-efficient decision-based attack, IEEE S&P 2020,
    arXiv:1904.02144.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer
from whatelse.attacks import checks, hop_skip_jump, minimum, norms
from whatelse.attacks.remarks import noted
from whatelse.behaviours.robustness import _lengths
from whatelse.evidence.cache import Evidence
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    1,
    "distance",
    "higher",
    {"predicts", "inputs in bounds"},
    "test example",
    "quantile",
)
WORST, BLIND = 0.0, None
_NEARER = 0.9


@dataclass(frozen=True)
class Config:
    """Settings of the distance by decisions."""

    norm: str = param("l2", "How a change is measured, in units of the input.", choices=norms.NORMS)
    queries: int = param(1000, "Answers that the search is given an example, at most.", low=100, high=1_000_000)
    unit: str = param(
        "input", "Lengths in units of the input, or as multiples of the baseline's mean.", choices=_lengths.UNITS
    )
    examples: int = param(100, "Test examples attacked, from the first.", low=1)


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return the candidate's pooled, the baseline's own and the baseline's pooled distances, in units of the input.

    Args:
        baseline: Evidence of the model before compression; its own points are kept there.
        candidate: Evidence of the compressed model.
        config: Norm and queries.
        rng: Not used; random moves have a seed of their own, the same for all models.

    Raises:
        NotMeasurableError: One of the models answers no new inputs, or test inputs are not numbers in bounds, or the
            baseline's mean that is to be the unit is 0.
    """
    del rng
    search = hop_skip_jump.Search(config.norm, config.queries, config.examples)
    theirs, mine = (hop_skip_jump.own(e, search) for e in (baseline, candidate))
    pooled = minimum.lent(candidate, mine, theirs, config.norm)
    before = minimum.lent(baseline, theirs, mine, config.norm)
    remarks = checks.check_repeats(candidate, len(mine.points))
    remarks += _lengths.check(candidate, mine, "constant output")
    nearer, attacked = int((pooled < _NEARER * mine.distances).sum()), int((mine.distances > 0).sum())
    own, all_ = (float(d.mean()) for d in (mine.distances, pooled))
    told = f"upper bound: mean distance {own:.4g} by its labels alone; {all_:.4g} with the baseline's points too"
    remarks += noted(f"{told}, which are nearer by a tenth on {nearer} of {attacked}")
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
        config: Number of queries and of examples.
        task: Gives the number of test examples.
    """
    return min(config.examples, len(task.test)) * (2 * (config.queries + minimum.SHORTENING) + 3)
