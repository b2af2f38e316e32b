"""Share of examples that are classified correctly and stay so under every attack inside a small L-infinity ball.

An example of the first ``examples`` of test counts 1 if the model is right on it and at every adversarial point: those
that APGD finds with the model's own gradients (straight through rounding, where the model rounds), from two random
starts, those that it found for the baseline, and those of a random search (Square). The baseline's points are tried on
every candidate and control alike; the candidates' points are not tried on the baseline.

Robustness that is really a hidden gradient fails a check and is not trusted: no budget must give the accuracy of
unattacked examples; at most 5 % of gradients may be exactly zero; random search, or the points of the baseline, must
not fool more of the examples that withstood the model's own gradients than an attack that misses one in 200 would
leave them (exact binomial test at 1 %); and a ball of half the range of the inputs must leave at most a tenth of the
examples.

Reading:
    Compare it with the noted accuracy on unattacked examples: the difference is what the attacks take. The share under
    the model's own gradients alone, the one comparable with other publications, is noted too. A failed check makes it
    *not trusted*, however good it looks.

Cost:
    On ``examples`` of test ``2 * (steps + 1)`` passes forward and backward, the second start only on those that
    withstood the first; ``queries`` passes forward and a dozen more for the checks. The points of the first start are
    kept and shared with `transfer`.

Limits:
    It is an upper bound: stronger attacks, more steps and other norms find more. The ball is in units of the input, so
    radii of tasks are not comparable. The baseline is spared the candidates' points, candidates are not spared its own:
    a small loss may be due to that.

Source:
    Croce & Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks,
    ICML 2020, arXiv:2003.01690; checks: Athalye et al., Obfuscated gradients give a false sense of security, ICML
    2018, arXiv:1802.00420; Zimmermann et al., Increasing confidence in adversarial robustness evaluations, NeurIPS
    2022, arXiv:2206.13991.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import special
from torch import Tensor

from whatelse.behaviours.robustness import _attack
from whatelse.evidence import Evidence
from whatelse.settings import param
from whatelse.statistics import summaries

VERSION, UNIT, BETTER, NEEDS, OVER = (
    1,
    "accuracy",
    "higher",
    {"predicts", "differentiates", "inputs in bounds"},
    "test example",
)
_ZERO, _MISSED, _LEVEL, _LEFT = 0.05, 0.005, 0.01, 0.1
_FEW, _LARGE, _SHORT = 100, 0.5, 10


@dataclass(frozen=True)
class Config:
    """Settings of the accuracy under attack."""

    radius: float = param(0.1, "Largest change of a feature, in units of the input.", low=0.0)
    steps: int = param(20, "Gradient steps of the attack.", low=1, high=10_000)
    queries: int = param(50, "Queries of the random search an example.", low=1, high=100_000)
    examples: int = param(300, "Test examples attacked, from the first.", low=1)


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Tensor:
    """Return 1 for each example on which the candidate is right under every attack, else 0, ``(M,)``.

    Args:
        baseline: Evidence of the model before compression; its adversarial points are kept there.
        candidate: Evidence of the model under attack; takes the note and failed checks.
        config: Strength of the attacks.
        rng: Source of the second start and of the random search.

    Raises:
        NotMeasurableError: One of the models does not differentiate, or test inputs leave their bounds.
    """
    budget = _attack.Budget(config.radius, config.steps)
    theirs, _ = _attack.points(baseline, budget, config.examples)
    _, fooled = _attack.points(candidate, budget, config.examples)
    test = candidate.split("test").take(torch.arange(len(fooled)))
    right = candidate.predictions("test")[: len(fooled)] == test.targets
    own = right & ~fooled
    rows = own.nonzero().flatten()
    own[rows] = ~_tried(candidate, _attack.climb(candidate, test.inputs[rows], test.targets[rows], budget, rng), rows)
    rows = own.nonzero().flatten()
    queries = _attack.Budget(config.radius, config.queries)
    found = _attack.search(candidate, test.inputs[rows], test.targets[rows], queries, rng)
    others = {"random search": _tried(candidate, found, rows), "the baseline": _tried(candidate, theirs[rows], rows)}
    for name, hits in others.items():
        _check_missed(candidate, name, int(hits.sum()), int(right.sum()))
    _check_gradients(candidate, right)
    _check_budgets(candidate, right, rng)
    robust = own.clone()
    robust[rows] = ~torch.stack(list(others.values())).any(0)
    own_share, all_share, clean = (float(v.float().mean()) for v in (own, robust, right))
    candidate.note(f"unattacked {clean:.3f}; own gradients alone {own_share:.3f}; all attacks {all_share:.3f}")
    return robust.float()


def summarise(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the share of examples that withstand every attack in every resample, ``(draws,)``.

    Args:
        values: What `compare` returned, ``(M,)``.
        counts: How often each example stands in each resample, ``(draws, M)``.
    """
    return summaries.mean(values, counts)


def _tried(evidence: Evidence, found: Tensor, rows: Tensor) -> Tensor:
    return _attack.fooled(evidence, found, evidence.split("test").targets[rows])


def _check_missed(evidence: Evidence, name: str, missed: int, right: int) -> None:
    # The chance of so many or more, were the attack with gradients to miss one example in 200.
    if missed and special.bdtrc(missed - 1, right, _MISSED) < _LEVEL:
        evidence.distrust(f"masked gradient: {name} fools {missed} of {right} that the model's own gradients do not")


def _check_gradients(evidence: Evidence, right: Tensor) -> None:
    slope = evidence.margin_gradient("test")[: len(right)]
    share = float((slope == 0).flatten(1).all(1).float().mean())
    if share > _ZERO:
        evidence.distrust(f"masked gradient: {share:.0%} of input gradients are exactly zero")


def _check_budgets(evidence: Evidence, right: Tensor, rng: torch.Generator) -> None:
    rows = torch.arange(min(_FEW, len(right)))
    test = evidence.split("test").take(rows)
    still = _attack.climb(evidence, test.inputs, test.targets, _attack.Budget(0.0, 1), rng)
    changed = int((_tried(evidence, still, rows) == right[rows]).sum())
    if changed:
        evidence.distrust(f"without a budget the attack changes {changed} of {len(rows)} predictions")
    low, high = evidence.bounds()
    rows = rows[right[rows]]
    large = _attack.Budget(_LARGE * (high - low), _SHORT)
    test = evidence.split("test").take(rows)
    left = int((~_tried(evidence, _attack.climb(evidence, test.inputs, test.targets, large, rng), rows)).sum())
    if left > _LEFT * len(rows):
        evidence.distrust(f"masked gradient or constant output: {left} of {len(rows)} withstand half the input range")
