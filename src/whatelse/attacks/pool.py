"""All attacks on one model, in order of cost, each on the examples that still stand; and their points, kept for others.

After the first attack each example has a *distance* to every likely wrong class: that of the border of the model's
linearization at the input, as a share of the radius. It says which targets are worth an attack, and in which order: of
30 points that a first attack had missed on ten networks, 21 were found towards the class that is nearest so (11 towards
the one of the largest score), and none of them lay beyond 1.4. A few of the far are attacked all the same; where one of
them falls, all are.

Source:
    Croce & Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks,
    ICML 2020, arXiv:2003.01690 (the ensemble). Departures: the log-odds margin takes the place of the cross-entropy;
    of FAB (Croce & Hein, ICML 2020, arXiv:1907.02044) there is the linearization alone, and the other attacks go for
    the targets that it finds near; the random search begins with the nearest, and ends when none of a hundred falls.
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
_VERSION = 4
# Every model of a study is attacked from the same starts: they are drawn for all examples, standing or not.
_START = 1912
# Wrong classes whose distance is looked at, those gone for, and climbs on the ratio of logits.
_TARGETS, _NEAREST, _RATIOS = {"quick": 5, "standard": 9}, {"quick": 2, "standard": 3}, {"quick": 0, "standard": 1}
# Distance beyond which an example or a target is far, how many of the far are attacked all the same, and how many are
# searched at a time.
_REACH, _SAMPLE, _BLOCK = 2.0, 20, 50
# A model without gradients is asked as often as so many full climbs would.
_CLIMBS = {"quick": 2, "standard": 10}


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

    def targets(self, classes: int) -> tuple[int, int, int]:
        """Return of how many wrong classes the distance is looked at, how many are gone for, and climbs on the ratio.

        Args:
            classes: Of two classes there is one other, and no ratio.
        """
        looked = min(_TARGETS[self.strength], classes - 1)
        return looked, min(_NEAREST[self.strength], looked), _RATIOS[self.strength] if classes > 2 else 0

    @property
    def going_on(self) -> _attack.Budget:
        """The budget of the climb that goes on where the first attack ended."""
        return _attack.Budget(self.radius, max(1, self.steps // 2), self.norm)

    def passes(self, classes: int) -> int:
        """Return how many examples at most go forward and backward in all attacks with gradients, for each example.

        Args:
            classes: Of the task.
        """
        looked, gone_for, ratios = self.targets(classes)
        return (2 + gone_for + ratios) * self._climb + 1 + looked + 2 * (self.going_on.steps + 1) + 2

    @property
    def _climb(self) -> int:
        return 2 * (self.steps + 1) + 1

    def blind_queries(self) -> int:
        """Return the queries on a model without gradients: what these would have cost is spent on more."""
        return self.queries + _CLIMBS[self.strength] * self._climb


# From numbers, inputs and labels of examples to a point near each.
Find = Callable[[Tensor, Tensor, Tensor], Tensor]


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
        self.sample = torch.zeros_like(self.stands)
        self.rows: list[Tensor] = []
        self.points: list[Tensor] = []

    def attack(self, find: Find, near: Tensor) -> None:
        """Strike out those for which points are found that fool the model, whose own answers decide.

        Those that are near are attacked and the sample of the others, and all where one of these falls.

        Args:
            find: From numbers, inputs and labels of some that stand to a point near each.
            near: Which are near, ``(M,)`` bool.
        """
        far = self.stands & ~near
        self._fell((self.stands & (near | self.sample)).nonzero().flatten(), find)
        if bool((far & self.sample & ~self.stands).any()):
            self._fell((far & ~self.sample & self.stands).nonzero().flatten(), find)

    def search(self, find: Find, distance: Tensor) -> None:
        """Strike out as `attack` does, from the nearest on, until of a block with the sample in it none falls.

        Args:
            find: Likewise.
            distance: The nearest first, ``(M,)``.
        """
        order = torch.where(self.sample, -1.0, distance).argsort(stable=True)
        rows = order[self.stands[order]]
        for start in range(0, len(rows), _BLOCK):
            if not self._fell(rows[start : start + _BLOCK], find):
                break

    def _fell(self, rows: Tensor, find: Find) -> bool:
        if not len(rows):
            return False
        found = find(rows, self.inputs[rows], self.labels[rows])
        hit = _attack.fooled(self.evidence, found, self.labels[rows])
        self.stands[rows[hit]] = False
        self.rows.append(rows[hit])
        self.points.append(found[hit])
        return bool(hit.any())

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
        distance = _climbed(left, plan, points, rng)
        gradients = left.stands.clone()
        budget = _attack.Budget(plan.radius, plan.queries, plan.norm)
        left.search(lambda _, x, y: square.search(evidence, x, y, budget, rng, stop=True), distance)
    else:
        budget = _attack.Budget(plan.radius, plan.blind_queries(), plan.norm)
        points = square.search(evidence, inputs, labels, budget, rng, stop=True)
        left.stands &= ~_attack.fooled(evidence, points, labels)
        first, gradients = left.stands.clone(), left.stands.clone()  # a file keeps no tensor twice
    found = (right, first, gradients, left.stands, points, *left.joined())
    return dict(zip(Pool._fields, found, strict=True))


def _climbed(left: _Standing, plan: Plan, points: Tensor, rng: torch.Generator) -> Tensor:
    """Attack what the first attack left, towards the nearest targets first; return the least distances, ``(M,)``."""
    evidence, labels, classes = left.evidence, left.labels, left.evidence.task.classes
    looked, gone_for, ratios = plan.targets(classes)
    rows = left.stands.nonzero().flatten()
    targets, distance = labels[:, None].repeat(1, looked), torch.full((len(labels), looked), torch.inf)
    targets[rows], distance[rows] = _ranked(evidence, left.inputs[rows], labels[rows], plan, looked)
    far = (distance[:, 0] > _REACH) & left.stands
    drawn = torch.rand(len(far), generator=rng).masked_fill(~far, -1.0).topk(min(_SAMPLE, len(far))).indices
    left.sample[drawn] = True
    for k in (*range(gone_for), 0):  # one start in ten misses a border that is there
        _climb(left, plan, _losses.toward, targets[:, k], distance[:, k], rng)
    nearest = labels.clone()
    rows = left.stands.nonzero().flatten()
    if len(rows):
        nearest[rows] = _losses.rivals(evidence.answers(points[rows]), labels[rows], 1).squeeze(1)
    _climb(left, plan, _losses.toward, nearest, distance[:, 0], rng, points)
    for _ in range(ratios):
        _climb(left, plan, _losses.dlr, labels, distance[:, 0], rng)
    return distance[:, 0]


def _ranked(evidence: Evidence, inputs: Tensor, labels: Tensor, plan: Plan, most: int) -> tuple[Tensor, Tensor]:
    """Return the likeliest wrong classes from near to far, and their distances in radii, ``(m, most)`` each.

    A class whose slope is zero has the distance 0: nothing is known of it, and it must not be left out.
    """
    ranked, far = [], []
    for x, y in zip(torch.split(inputs, evidence.batch), torch.split(labels, evidence.batch), strict=True):
        at = x.detach().requires_grad_()
        with torch.enable_grad():
            logits = evidence.slopes(at)
        rivals = _losses.rivals(logits.detach(), y, most)
        leads = _losses.toward(logits, y, rivals)
        slopes = [torch.autograd.grad(lead.sum(), at, retain_graph=True)[0] for lead in leads.unbind(1)]
        steep = torch.stack([norms.dual(slope.nan_to_num(), plan.norm) for slope in slopes], 1)
        found = torch.where(steep > 0, -leads.detach() / steep / plan.radius, 0.0)
        evidence.passes.forward += len(x)
        evidence.passes.backward += len(x) * most
        order = found.argsort(stable=True, dim=1)
        ranked.append(rivals.gather(1, order))
        far.append(found.gather(1, order))
    return (torch.cat(ranked), torch.cat(far)) if ranked else (labels.new_zeros(0, most), inputs.new_zeros(0, most))


def _climb(
    left: _Standing,
    plan: Plan,
    loss: _losses.Loss,
    targets: Tensor,
    distance: Tensor,
    rng: torch.Generator,
    points: Tensor | None = None,
) -> None:
    """Attack what stands with one loss, towards the target of each example where the loss has one.

    It starts at random, or goes on from points.
    """
    evidence, bounds = left.evidence, left.evidence.bounds()
    begin = norms.start(left.inputs, plan.radius, plan.norm, bounds, rng) if points is None else points
    budget = plan.gradient_budget() if points is None else plan.going_on

    def find(rows: Tensor, x: Tensor, y: Tensor) -> Tensor:
        to, start = targets[rows], begin[rows]
        return apgd.climb(evidence, x, y, budget, rng, loss=loss, targets=to, stop=True, spare=True, start=start)

    left.attack(find, distance <= _REACH)
