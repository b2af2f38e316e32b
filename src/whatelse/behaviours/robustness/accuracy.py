"""Share of examples that are classified correctly and stay so under every attack inside a small ball.

An example of the first ``examples`` of test stands if the model is right on it and at every adversarial point. Attacks
are run on what the cheaper ones left standing: APGD on the log-odds margin, whose points are kept and shared; APGD
towards the two classes whose borders are nearest in the model's linearization; at once, on copies that leave together,
towards the nearest once more (*standard*: and towards two further ones), on the ratio of logits (DLR), and on from the
first points towards the class that is nearest there; then Square, a random search. Each goes for those that are near by
two measures: of which a border lies within 1.75 radii of the input in the linearization there, and within so many (0.6
down to 0.05) of where an attack ended, in that. The others are left out of what follows the first attack, but for a
sample of twenty, one of which must not fall; a climb ends where it is far from the border for what it gained; Square
begins with the nearest, leaves an example that it would not fell at half again its speed, and ends when of a block none
falls. Gradients go straight through rounding, where the model rounds; whether a point fools is asked of the model
itself.

Without a ``radius`` one is chosen at which the baseline has something to lose and something to keep: of the steps
1/255, 2/255, 4/255 ... of the range of the inputs (down to 1/8 of the first; in L2 1/64, 1/32 ...) the one at which a
quick attack leaves nearest to half of the examples of *select* that the baseline gets right. It is the same for every
candidate, never looks at test, and is noted.

Every point found for either model is tried on both: otherwise the one that is also attacked with the other's points
would look worse. With ``own`` the accuracy under a model's own attacks and ``pooled`` the one under both models', the
value is ``pooled(candidate) + own(baseline) - pooled(baseline)``: what the baseline has alone, plus the paired change
under the same points. Of the baseline it is its own accuracy, so that the effect of a candidate over the baseline is
exactly ``pooled(candidate) - pooled(baseline)``, and that over a placebo is the difference of two such changes. The
parts are the candidate's accuracy unattacked, under the first APGD alone, under all its own gradients, with Square, and
the pooled value.

Robustness that is really a hidden gradient, or an attack too weak, fails a check and is not trusted:

* asked again, the model must answer the same, and no budget must give the accuracy of unattacked examples;
* at most 5 % of gradients may be exactly zero;
* Square, or the points of the baseline, must not fool more of what withstood the model's own gradients than an attack
  that misses one in 200 would leave (exact binomial test at 1 %, as in the next two);
* what fell must fall again in a ball twice as large; half the range of the inputs must leave a tenth at most;
* twice the steps must not fell more than half a point of accuracy beyond chance (noted; above three points a doubt);
* of points planted at the edge of the ball, where they are known to be adversarial for a decision read from the model's
  scores, at most one in 20 may stay unfound;
* of the examples that fall to one step along the gradient of the log-odds, those that withstand a step as long along
  that of the cross-entropy in single precision must not be more than 5 %, or not twice those of the baseline: the
  attacks here are not misled by large logits, but a robustness seen by others would be this masking, as after defensive
  distillation. Of a baseline with itself it is only noted.

A model that only predicts is in the *black-box tier*: searched alone, with as many more queries as gradients would have
cost; where its baseline was attacked with gradients, it is doubted.

A doubt that can only flatter, as all but random outputs and the missing budget, leaves *worsened* standing.

Reading:
    Compare it with the accuracy on unattacked examples: the difference is what the attacks take. *Own APGD* is the part
    that is comparable with other publications. A failed check makes it *not trusted*, however good it looks.

Cost:
    On ``examples`` of test at most ``2 * (steps + 1)`` passes forward and backward for the first attack, kept and
    shared with `transfer`; as many for every further one, ``queries`` forward for Square, both only on what stands and
    only until it falls or is without hope: on small networks a tenth of all that; two passes forward for the other
    model's points; the checks, on a hundred examples, as much as a fifth of that. The choice of a radius: at most 43
    passes of a hundred examples of select a step, on the baseline, once; 139 where it only predicts.
    Standard strength with ``steps`` 100 and ``queries`` 5000 costs some fifty times as much.

Limits:
    It is an upper bound: stronger attacks and other norms find more. The ball is in units of the input, so radii of
    tasks are not comparable, nor are numbers at radii that were chosen for different baselines: the seeds of a study
    may differ by a step. A radius at which the baseline keeps nothing, or an attack that fells nobody, cannot tell
    models apart: the verdict is *not measurable*. Points of a candidate that is far from the baseline hardly transfer:
    pooling evens out the attacks of models that are alike. Attacks that need several models, or know how a model was
    made, are not run.

Source:
    Croce & Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks,
    ICML 2020, arXiv:2003.01690; Andriushchenko et al., Square attack, ECCV 2020, arXiv:1912.00049; checks: Athalye et
    al., Obfuscated gradients give a false sense of security, ICML 2018, arXiv:1802.00420; Zimmermann et al., Increasing
    confidence in adversarial robustness evaluations, NeurIPS 2022, arXiv:2206.13991; Carlini & Wagner, Towards
    evaluating the robustness of neural networks, IEEE S&P 2017, arXiv:1608.04644.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer, Parts
from whatelse.attacks import checks, norms, pool
from whatelse.attacks import radius as _radius
from whatelse.attacks.remarks import Remarks, noted
from whatelse.evidence.cache import Evidence
from whatelse.settings import param
from whatelse.statistics import summaries
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    10,
    "accuracy",
    "higher",
    {"predicts", "inputs in bounds"},
    "test example",
    "attack",
)
WORST, BLIND = 0.0, None
RANGE = (0.0, 1.0)
_PARTS = ("unattacked", "own APGD", "own gradients", "own with Square", "pooled")
# The candidate, then the baseline.
_COLUMNS = ("right", "own APGD", "own gradients", "own with Square", "pooled", "baseline own", "baseline pooled")
# Gradient steps and queries where none are given.
_BUDGETS = {"quick": (20, 50), "standard": (100, 5000)}


@dataclass(frozen=True)
class Config:
    """Settings of the accuracy under attack."""

    norm: str = param("linf", "Norm of the ball: linf, the largest change of a feature, or l2.", choices=norms.NORMS)
    radius: float | None = param(None, "Radius of the ball, in units of the input.", low=0.0, kind=float)
    steps: int = param(0, "Gradient steps of an attack; 0: 20 if quick, 100 if standard.", low=0, high=10_000)
    queries: int = param(0, "Queries of the random search an example; 0: 50 or 5000.", low=0, high=100_000)
    examples: int = param(300, "Test examples attacked, from the first.", low=1)
    strength: str = param("quick", "Which attacks are run.", choices=("quick", "standard"))


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return which examples stand which attacks, 1 or 0.

    The columns: the candidate is right; it stands the first APGD; all its own gradients; these and Square; its own and
    the baseline's points. The baseline stands its own attacks; these and the candidate's points.

    Args:
        baseline: Evidence of the model before compression; its attacks are kept there.
        candidate: Evidence of the model under attack.
        config: Norm, radius and strength of the attacks.
        rng: Source of the checks; gradient attacks start at the same points for every model.

    Raises:
        NotMeasurableError: Test inputs are token ids, not floating-point, or not in finite bounds, or a model is in
            training mode.
    """
    chosen = _radius.chosen(baseline, config.norm, config.radius)
    plan, remarks = _plan(config, chosen.radius), Remarks(chosen.notes)
    theirs, mine = pool.own(baseline, plan), pool.own(candidate, plan)
    fell = pool.tried(candidate, theirs, mine.gradients)
    if candidate is not baseline and "differentiates" in candidate.subject.offers:
        remarks += checks.check_missed("the baseline", int(fell.sum()), int(mine.right.sum()))
    remarks += checks.examine(candidate, mine, plan, rng)
    remarks += checks.check_saturation(baseline, candidate, plan.radius, plan.norm, config.examples)
    pooled, before = mine.stands & ~fell, theirs.stands & ~pool.tried(baseline, mine, theirs.stands)
    if "differentiates" in baseline.subject.offers - candidate.subject.offers:
        remarks += checks.BLIND
    columns = (mine.right, mine.first, mine.gradients, mine.stands, pooled, theirs.stands, before)
    shares = [float(c.float().mean()) for c in columns]
    told = "; ".join(f"{name} {share:.3f}" for name, share in zip(_PARTS, shares, strict=False))
    remarks += noted(f"{told}; of the baseline {shares[5]:.3f} own, {shares[6]:.3f} pooled")
    fells = bool((mine.right & ~pooled).any())
    return Answer(
        {name: column.float() for name, column in zip(_COLUMNS, columns, strict=True)},
        parts=Parts(_PARTS),
        notes=remarks.notes,
        doubts=remarks.doubts,
        ends={} if fells else {"blind": shares[0]},  # an attack that fells nobody
    )


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the baseline's accuracy under its own attacks plus the pooled change, in every resample, ``(draws,)``.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, M)``.
    """
    del config
    return summaries.mean(_value(answer), weights)


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the candidate's accuracy under more and more attacks in every resample, ``(draws, 5)``.

    The last is what `summarise` returns, so that it can be held against the baseline's as it stands.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, M)``.
    """
    del config
    values = np.column_stack([answer.table(*_COLUMNS[:4]), _value(answer)])
    shares: np.ndarray = weights @ values / weights.sum(1, keepdims=True)
    return shares


def effort(config: Config, task: Task) -> int:
    """Return the passes that one model costs at most beyond the shared ones; the baseline's attacks are among them.

    Args:
        config: Strength of the attacks.
        task: Gives the number of examples and of classes.
    """
    plan = _plan(config, config.radius or 0.0)
    examples = min(config.examples, len(task.test))
    # Square's start, its first points and the check of its last; each model's points, of two attacks at most, on the
    # other.
    each = plan.passes(task.classes) + plan.queries + 3 + 2
    choice = _radius.effort(task, config.norm, blind=True) if config.radius is None else 0
    return 2 * examples * each + checks.passes(plan, examples) + choice


def _plan(config: Config, radius: float) -> pool.Plan:
    steps, queries = _BUDGETS[config.strength]
    return pool.Plan(
        config.norm,
        radius,
        config.steps or steps,
        config.queries or queries,
        config.examples,
        config.strength,
    )


def _value(answer: Answer) -> np.ndarray:
    value: np.ndarray = answer["pooled"] + answer["baseline own"] - answer["baseline pooled"]
    return value
