"""All attacks on one model, in order of cost, each on the examples that still stand; and their points, kept for others.

Source:
    Croce & Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks,
    ICML 2020, arXiv:2003.01690 (the ensemble). Departures: the log-odds margin takes the place of the cross-entropy,
    and there is no FAB attack.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from whatelse.behaviours.robustness import _apgd, _attack, _losses, _square
from whatelse.evidence import Evidence

# Of the kept points; raised when the same plan would give others.
_VERSION = 1
# Every model of a study is attacked from the same starts.
_START = 1912
_RESTARTS, _TARGETS = 4, 9


@dataclass(frozen=True)
class Plan:
    """Which attacks, and how hard they try.

    Attributes:
        norm: ``linf`` or ``l2``.
        radius: In units of the input.
        steps: Gradient steps of an attack.
        queries: Of the random search.
        examples: Test examples attacked, from the first.
        strength: ``quick`` or ``standard``.
    """

    norm: str
    radius: float
    steps: int
    queries: int
    examples: int
    strength: str

    @property
    def name(self) -> str:
        """All that decides the points."""
        told = f"{self.strength} {self.norm} radius={self.radius} steps={self.steps} queries={self.queries}"
        return f"attacked {_VERSION} {told} examples={self.examples}"

    def gradient_budget(self) -> _attack.Budget:
        """Return the budget of one attack with gradients."""
        return _attack.Budget(self.radius, self.steps, self.norm)

    def climbs(self, classes: int) -> list[tuple[str, int]]:
        """Return the attacks after the first: the name of a loss, and of targeted ones the rank of the target.

        Args:
            classes: Of two classes the ratio is not defined, and the only target is what the others follow already.
        """
        if self.strength == "quick":
            return [("log odds", 0)]
        restarts = [("log odds", 0)] * _RESTARTS
        if classes < 3:
            return restarts
        return [*restarts, ("ratio", 0), *(("target", k) for k in range(min(_TARGETS, classes - 1)))]

    def passes(self, classes: int) -> int:
        """Return how many examples at most go forward and backward in all attacks with gradients, for each example.

        Args:
            classes: Of the task.
        """
        return (1 + len(self.climbs(classes))) * (2 * (self.steps + 1) + 1)

    def blind_queries(self, classes: int) -> int:
        """Return the queries on a model without gradients: what they would have cost is spent on more.

        Args:
            classes: Of the task.
        """
        return self.queries + self.passes(classes)


class Pool(NamedTuple):
    """What the attacks on one model left standing, ``(M,)`` each, and the points that they found.

    Attributes:
        right: Classified correctly when nobody attacks.
        first: Right, and standing the first attack.
        gradients: Standing every attack with gradients.
        stands: Standing the random search too.
        points: Of the first attack, whether they fool or not, ``(M, ...)``.
        rows: Which examples fell to later attacks, ``(L,)``.
        later: The points that felled them, ``(L, ...)``.
    """

    right: Tensor
    first: Tensor
    gradients: Tensor
    stands: Tensor
    points: Tensor
    rows: Tensor
    later: Tensor


def own(evidence: Evidence, plan: Plan) -> Pool:
    """Return what a model's own attacks leave standing, and their points; made once, kept with the evidence.

    Args:
        evidence: The model under attack; where it does not differentiate, it is only searched.
        plan: Which attacks.

    Raises:
        NotMeasurableError: Test inputs are not numbers in bounds, or the model is in training mode.
    """
    _attack.attacked(evidence, plan.examples)
    kept = evidence.once(plan.name, lambda: _made(evidence, plan))
    return Pool(*(kept[name] for name in Pool._fields))


def tried(evidence: Evidence, pool: Pool, among: Tensor) -> Tensor:
    """Return which examples fall to the points found for another model, ``(M,)`` bool.

    Args:
        evidence: The model that the points are tried on.
        pool: Whose points.
        among: Which examples are asked about, ``(M,)`` bool.
    """
    labels = evidence.split("test").targets
    fallen = torch.zeros_like(among)
    rows = among.nonzero().flatten()
    fallen[rows] = _attack.fooled(evidence, pool.points[rows], labels[rows])
    some = (among & ~fallen)[pool.rows].nonzero().flatten()
    rows = pool.rows[some]
    fallen[rows] = _attack.fooled(evidence, pool.later[some], labels[rows])
    return fallen


class _Standing:
    """The examples that still stand, and the points that felled the others."""

    def __init__(self, evidence: Evidence, inputs: Tensor, labels: Tensor) -> None:
        self.evidence, self.inputs, self.labels = evidence, inputs, labels
        self.stands = evidence.predictions("test")[: len(labels)] == labels
        self.rows: list[Tensor] = []
        self.points: list[Tensor] = []

    def attack(self, find: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        """Strike out those for which points are found that fool the model, whose own answers decide.

        Args:
            find: From numbers, inputs and labels of those that stand to a point near each.
        """
        rows = self.stands.nonzero().flatten()
        if not len(rows):
            return
        found = find(rows, self.inputs[rows], self.labels[rows])
        hit = _attack.fooled(self.evidence, found, self.labels[rows])
        self.stands[rows[hit]] = False
        self.rows.append(rows[hit])
        self.points.append(found[hit])

    def joined(self) -> tuple[Tensor, Tensor]:
        """Return which examples fell, and the points that felled them."""
        if not self.rows:
            return torch.zeros(0, dtype=torch.int64), self.inputs[:0]
        return torch.cat(self.rows), torch.cat(self.points)


def _made(evidence: Evidence, plan: Plan) -> dict[str, Tensor]:
    inputs, labels = _attack.attacked(evidence, plan.examples)
    rng = torch.Generator().manual_seed(_START)
    left = _Standing(evidence, inputs, labels)
    right = left.stands.clone()
    if "differentiates" in evidence.subject.offers:
        points, fools = _attack.points(evidence, plan.gradient_budget(), plan.examples)
        left.stands &= ~fools
        first = left.stands.clone()
        _climbed(left, plan, rng)
        gradients = left.stands.clone()
        budget = _attack.Budget(plan.radius, plan.queries, plan.norm)
        left.attack(lambda _, x, y: _square.search(evidence, x, y, budget, rng, stop=True))
    else:
        budget = _attack.Budget(plan.radius, plan.blind_queries(evidence.task.classes), plan.norm)
        points = _square.search(evidence, inputs, labels, budget, rng, stop=True)
        left.stands &= ~_attack.fooled(evidence, points, labels)
        first = gradients = left.stands.clone()
    found = (right, first, gradients, left.stands, points, *left.joined())
    return dict(zip(Pool._fields, found, strict=True))


def _climbed(left: _Standing, plan: Plan, rng: torch.Generator) -> None:
    """Attack what stands with each loss in turn."""
    evidence, budget = left.evidence, plan.gradient_budget()
    classes = evidence.task.classes
    losses = {
        "log odds": _losses.log_odds,
        "ratio": _losses.dlr,
        "target": _losses.dlr_toward if classes > 3 else _losses.toward,
    }
    ranked = _losses.rivals(evidence.logits("test")[: len(left.labels)], left.labels, _TARGETS)
    for name, rank in plan.climbs(classes):

        def find(rows: Tensor, x: Tensor, y: Tensor, name: str = name, rank: int = rank) -> Tensor:
            targets = ranked[rows, rank]
            return _apgd.climb(evidence, x, y, budget, rng, loss=losses[name], targets=targets, stop=True)

        left.attack(find)
