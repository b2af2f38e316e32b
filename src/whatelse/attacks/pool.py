"""All attacks on one model, in order of cost, each on the examples that still stand; and their points, kept for others.

Source:
    Croce & Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks,
    ICML 2020, arXiv:2003.01690 (the ensemble). Departures: the log-odds margin takes the place of the cross-entropy,
    there is no FAB attack, and of the nine targets only the three that a short climb brings nearest are gone for in
    full: on eight networks this left standing what all nine left, for half the passes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from whatelse.attacks import apgd, norms, square
from whatelse.attacks import attack as _attack
from whatelse.attacks import losses as _losses
from whatelse.evidence.cache import Evidence

# Of the kept points; raised when the same plan would give others.
_VERSION = 3
# Every model of a study is attacked from the same starts: they are drawn for all examples, standing or not.
_START = 1912
# Of a standard attack: climbs from other starts with each loss, targets tried, those gone for, and the share of the
# steps in which it is found out which.
_RESTARTS, _RATIOS, _TARGETS, _NEAREST, _SCOUT = 1, 2, 9, 3, 4


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

    def climbs(self, classes: int) -> list[str]:
        """Return the losses of the attacks after the first and before the targeted ones.

        Args:
            classes: Of two classes the ratio is not defined.
        """
        if self.strength == "quick":
            return ["log odds"]
        return ["log odds"] * _RESTARTS + ["ratio"] * (_RATIOS if classes > 2 else 0)

    def targets(self, classes: int) -> tuple[int, int]:
        """Return how many targets are tried, and how many of them are gone for in full.

        Args:
            classes: Of two classes the only target is what the other attacks follow already.
        """
        tried = min(_TARGETS, classes - 1) if self.strength == "standard" and classes > 2 else 0
        return tried, min(_NEAREST, tried)

    @property
    def scouting(self) -> _attack.Budget:
        """The budget of the short climb towards every target."""
        return _attack.Budget(self.radius, max(1, self.steps // _SCOUT), self.norm)

    def passes(self, classes: int) -> int:
        """Return how many examples at most go forward and backward in all attacks with gradients, for each example.

        Args:
            classes: Of the task.
        """
        tried, full = self.targets(classes)
        whole = (1 + len(self.climbs(classes)) + full) * (2 * (self.steps + 1) + 1)
        return whole + tried * (2 * (self.scouting.steps + 1) + 2)

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
    rng = evidence.draws(_START)
    left = _Standing(evidence, inputs, labels)
    right = left.stands.clone()
    if "differentiates" in evidence.subject.offers:
        points, fools = _attack.points(evidence, plan.gradient_budget(), plan.examples)
        left.stands &= ~fools
        first = left.stands.clone()
        _climbed(left, plan, rng)
        gradients = left.stands.clone()
        budget = _attack.Budget(plan.radius, plan.queries, plan.norm)
        left.attack(lambda _, x, y: square.search(evidence, x, y, budget, rng, stop=True))
    else:
        budget = _attack.Budget(plan.radius, plan.blind_queries(evidence.task.classes), plan.norm)
        points = square.search(evidence, inputs, labels, budget, rng, stop=True)
        left.stands &= ~_attack.fooled(evidence, points, labels)
        first, gradients = left.stands.clone(), left.stands.clone()  # a file keeps no tensor twice
    found = (right, first, gradients, left.stands, points, *left.joined())
    return dict(zip(Pool._fields, found, strict=True))


def _climbed(left: _Standing, plan: Plan, rng: torch.Generator) -> None:
    """Attack what stands with each loss in turn, then towards the targets that lie nearest."""
    evidence, classes = left.evidence, left.evidence.task.classes
    losses = {"log odds": _losses.log_odds, "ratio": _losses.dlr}
    for name in plan.climbs(classes):
        _climb(left, plan, losses[name], left.labels, rng)
    tried, full = plan.targets(classes)
    if not tried:
        return
    ranked = _losses.rivals(evidence.logits("test")[: len(left.labels)], left.labels, tried)
    begin = _starts(left, plan, rng)
    # For those that fell nothing is asked any more: their targets may be any.
    nearest = ranked[:, :full].clone()

    def scout(rows: Tensor, x: Tensor, y: Tensor) -> Tensor:
        found, order = _scouted(evidence, (x, y, ranked[rows]), plan, begin[rows])
        nearest[rows] = ranked[rows].gather(1, order[:, :full])
        return found

    left.attack(scout)
    toward = _losses.dlr_toward if classes > 3 else _losses.toward
    for k in range(full):
        _climb(left, plan, toward, nearest[:, k], rng)


def _climb(left: _Standing, plan: Plan, loss: _losses.Loss, targets: Tensor, rng: torch.Generator) -> None:
    """Attack what stands with one loss, towards the target of each example where the loss has one."""
    begin, budget = _starts(left, plan, rng), plan.gradient_budget()

    def find(rows: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return apgd.climb(
            left.evidence, x, y, budget, rng, loss=loss, targets=targets[rows], stop=True, start=begin[rows]
        )

    left.attack(find)


def _starts(left: _Standing, plan: Plan, rng: torch.Generator) -> Tensor:
    return norms.start(left.inputs, plan.radius, plan.norm, left.evidence.bounds(), rng)


def _scouted(
    evidence: Evidence, asked: tuple[Tensor, Tensor, Tensor], plan: Plan, start: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the worst points of a short climb towards every target at once, and the targets from near to far.

    Points ``(m, ...)`` and places among the targets ``(m, T)``; small batches cost as much as large ones.
    """
    inputs, labels, targets = asked
    count = targets.shape[1]
    x, y, t = inputs.repeat_interleave(count, 0), labels.repeat_interleave(count), targets.flatten()
    begin, rng = start.repeat_interleave(count, 0), torch.Generator()  # nothing is drawn
    found = apgd.climb(evidence, x, y, plan.scouting, rng, loss=_losses.toward, targets=t, stop=True, start=begin)
    logits = evidence.answers(found)
    gained = _losses.toward(logits, y, t)
    # What fools already comes first.
    gained = torch.where(logits.argmax(1) != y, torch.inf, gained).view(-1, count)
    order = gained.argsort(stable=True, dim=1, descending=True)
    best = found.view(len(inputs), count, *inputs.shape[1:])[torch.arange(len(inputs)), order[:, 0]]
    return best, order
