"""All attacks on one model, in order of cost, each on the examples that still stand; and their points, kept for others.

What is attacked again, and towards which class, is decided by two *distances*, in radii: that of the border of the
model's linearization at the input, of every likely wrong class; and that where attacks ended so far, the least. Of 90
examples that fell to more than a first attack on ten networks, at three radii each, one lay beyond 1.75 by the first,
and none beyond 0.6 by the second; of those that nothing felled more than half do. So most are attacked once more or not
at all, and the nearest several times. A few of the far are attacked all the same; where one of them falls, all are.

Source:
    Croce & Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks,
    ICML 2020, arXiv:2003.01690 (the ensemble). Departures: the log-odds margin takes the place of the cross-entropy;
    of FAB (Croce & Hein, ICML 2020, arXiv:1907.02044) there is the linearization alone, and the other attacks go for
    the targets that it finds near; the random search begins with the nearest, and ends when of some none falls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from whatelse.attacks import apgd, norms, square
from whatelse.attacks import attack as _attack
from whatelse.attacks import losses as _losses
from whatelse.evidence.cache import Evidence

# Of the kept points; raised when the same plan would give others.
_VERSION = 6
# Every model of a study is attacked from the same starts: they are drawn for all examples, standing or not.
_START = 1912


class _Climb(NamedTuple):
    """A further attack with gradients.

    Attributes:
        way: Towards a class, on from the ends of the first attack towards the class that is nearest there, or by the
            ratio of logits.
        reach: How far those before may have ended from the border, in radii.
        rank: Of the target among the nearest.
    """

    way: Literal["toward", "on", "ratio"]
    reach: float
    rank: int = 0


# In rounds: those of one are made at once, each on a copy of its own, and an example leaves with all its copies. One
# start in ten misses a border that is there: the nearest target has two.
_CLIMBS: dict[str, tuple[tuple[_Climb, ...], ...]] = {
    "quick": (
        (_Climb("toward", 0.6),),
        (_Climb("toward", 0.3, 1),),
        (_Climb("ratio", 0.05), _Climb("toward", 0.05), _Climb("on", 0.05)),
    ),
    "standard": (
        (_Climb("toward", 0.6),),
        (_Climb("toward", 0.3, 1),),
        (
            _Climb("ratio", 0.1),
            _Climb("toward", 0.05),
            _Climb("toward", 0.25, 2),
            _Climb("on", 0.05),
            _Climb("toward", 0.25, 3),
        ),
    ),
}
# Wrong classes whose distance is looked at.
_TARGETS = {"quick": 5, "standard": 9}
# Distance at the input beyond which an example is far, how many of the far are attacked all the same, up to which reach
# an attack is for the nearest alone, and how many are searched at a time.
_REACH, _SAMPLE, _CLOSE, _BLOCK = 1.75, 20, 0.1, 20
# A model without gradients is asked as often as so many full climbs would.
_BLIND = {"quick": 2, "standard": 10}


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

    def climbs(self, classes: int) -> list[tuple[_Climb, ...]]:
        """Return the further attacks with gradients, in rounds.

        Args:
            classes: Of two classes there is one other, and no ratio.
        """
        most = min(_TARGETS[self.strength], classes - 1)
        ratio = classes > 2  # noqa: PLR2004 - of two there is none
        kept = [[c for c in some if c.rank < most and (ratio or c.way != "ratio")] for some in _CLIMBS[self.strength]]
        return [tuple(some) for some in kept if some]

    def passes(self, classes: int) -> int:
        """Return how many examples at most go forward and backward in all attacks with gradients, for each example.

        Args:
            classes: Of the task.
        """
        looked = min(_TARGETS[self.strength], classes - 1)
        # Those for the nearest alone are counted for half of the examples: never were so many so near. One that goes on
        # looks at where it begins.
        costs = [(self._climb + (c.way == "on"), c.reach) for some in self.climbs(classes) for c in some]
        return self._climb + 1 + looked + sum(cost // (2 if reach <= _CLOSE else 1) for cost, reach in costs)

    @property
    def _climb(self) -> int:
        return 2 * (self.steps + 1) + 1

    def blind_queries(self) -> int:
        """Return the queries on a model without gradients: what these would have cost is spent on more."""
        return self.queries + _BLIND[self.strength] * self._climb


# From numbers, inputs and labels of examples to a point near each; from their numbers alone, climb by climb.
Find = Callable[[Tensor, Tensor, Tensor], Tensor]
Climbing = Callable[[Sequence[Tensor]], Tensor]


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
    """The examples that still stand, how near to the border attacks came, and the points that felled the others."""

    def __init__(self, evidence: Evidence, inputs: Tensor, labels: Tensor) -> None:
        self.evidence, self.inputs, self.labels = evidence, inputs, labels
        self.stands = evidence.predictions("test")[: len(labels)] == labels
        self.least = torch.full((len(labels),), torch.inf)
        self.rows: list[Tensor] = []
        self.points: list[Tensor] = []

    def attack(self, find: Climbing, near: Sequence[Tensor], sample: Sequence[Tensor]) -> None:
        """Strike out those for which points are found that fool the model, whose own answers decide.

        Each climb goes for those that are near and a sample of the others, and for all where one of these falls.

        Args:
            find: From the numbers of some that stand, for each climb, to a point near each, one climb's after the
                other's.
            near: Which are near, for each climb, ``(M,)`` bool.
            sample: Which of the others, ``(M,)`` bool; none of a climb that is for the near alone.
        """
        far = [self.stands & ~close for close in near]
        self._climb(find, [close | some for close, some in zip(near, sample, strict=True)])
        fell = [bool((beyond & some & ~self.stands).any()) for beyond, some in zip(far, sample, strict=True)]
        if any(fell):
            self._climb(find, [b & ~some & bool(some.any()) for b, some in zip(far, sample, strict=True)])

    def _climb(self, find: Climbing, asked: Sequence[Tensor]) -> None:
        rows = [(self.stands & some).nonzero().flatten() for some in asked]
        self._fell(torch.cat(rows), lambda *_: find(rows))

    def search(self, find: Find, sample: Tensor) -> None:
        """Strike out as `attack` does, the sample and from the nearest on, until of a block none falls.

        Args:
            find: Likewise.
            sample: Likewise.
        """
        order = self.least.argsort(stable=True)
        order = order[self.stands[order]]
        rows = torch.cat([order[sample[order]], order[~sample[order]]])
        start, block = 0, int(sample[order].sum()) + _BLOCK
        while start < len(rows) and self._fell(rows[start : start + block], find):
            start, block = start + block, 2 * _BLOCK

    def _fell(self, rows: Tensor, find: Find) -> bool:
        if not len(rows):
            return False
        found = find(rows, self.inputs[rows], self.labels[rows])
        hit = _attack.fooled(self.evidence, found, self.labels[rows]).nonzero().flatten()
        self.stands[rows[hit]] = False
        ways = dict(zip(rows[hit].tolist(), hit.tolist(), strict=True))  # of several copies one tells
        self.rows.append(torch.tensor(list(ways), dtype=torch.int64))
        self.points.append(found[list(ways.values())])
        return bool(ways)

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
        ends = _attack.first(evidence, plan.gradient_budget(), plan.examples)
        points = ends.points
        left.stands &= ~ends.fooled
        left.least = ends.far.clone()
        first = left.stands.clone()
        sample = _climbed(left, plan, points, rng)
        gradients = left.stands.clone()
        budget = _attack.Budget(plan.radius, plan.queries, plan.norm)
        left.search(lambda _, x, y: square.search(evidence, x, y, budget, rng, stop=True), sample)
    else:
        budget = _attack.Budget(plan.radius, plan.blind_queries(), plan.norm)
        points = square.search(evidence, inputs, labels, budget, rng, stop=True)
        left.stands &= ~_attack.fooled(evidence, points, labels)
        first, gradients = left.stands.clone(), left.stands.clone()  # a file keeps no tensor twice
    found = (right, first, gradients, left.stands, points, *left.joined())
    return dict(zip(Pool._fields, found, strict=True))


def _climbed(left: _Standing, plan: Plan, points: Tensor, rng: torch.Generator) -> Tensor:
    """Attack what the first attack left, towards the nearest targets first; return a sample of the far, ``(M,)``."""
    ranked = _Ranked(left, plan)
    climbs = plan.climbs(left.evidence.task.classes)
    near = left.stands & (left.least <= climbs[0][0].reach)
    near &= ranked.of(near.nonzero().flatten())
    far = left.stands & ~near
    drawn = torch.rand(len(far), generator=rng).masked_fill(~far, -1.0).topk(min(_SAMPLE, len(far))).indices
    sample, none = torch.zeros_like(far), torch.zeros_like(far)
    sample[drawn] = far[drawn]
    for some in climbs:
        find = _finding(left, plan, some, ranked, points, rng)
        close = [near & (left.least <= climb.reach) for climb in some]
        left.attack(find, close, [sample if climb.reach > _CLOSE else none for climb in some])
    return sample


class _Ranked:
    """The likeliest wrong classes from near to far, of those examples that were asked about."""

    def __init__(self, left: _Standing, plan: Plan) -> None:
        self.left, self.plan = left, plan
        self.looked = min(_TARGETS[plan.strength], left.evidence.task.classes - 1)
        self.targets = left.labels[:, None].repeat(1, self.looked)
        self.near = torch.zeros_like(left.stands)
        self.known = torch.zeros_like(left.stands)

    def of(self, rows: Tensor) -> Tensor:
        """Return which of all examples are known to be near, ``(M,)`` bool, some having been looked at.

        Args:
            rows: Those that are looked at, ``(m,)``.
        """
        new = rows[~self.known[rows]]
        if not len(new):  # no model is asked about nothing: programs and kernels refuse that
            return self.near
        inputs, labels = self.left.inputs[new], self.left.labels[new]
        self.targets[new], distance = _ranked(self.left.evidence, inputs, labels, self.plan, self.looked)
        self.near[new], self.known[new] = distance[:, 0] <= _REACH, True
        return self.near

    def aims(self, rows: Tensor, rank: int) -> Tensor:
        """Return a target of some examples, ``(m,)``.

        Args:
            rows: Which, ``(m,)``.
            rank: From the nearest, 0.
        """
        self.of(rows)
        return self.targets[rows, rank]


def _ranked(evidence: Evidence, inputs: Tensor, labels: Tensor, plan: Plan, most: int) -> tuple[Tensor, Tensor]:
    """Return the likeliest wrong classes from near to far, and their distances in radii, ``(m, most)`` each.

    A class whose slope is zero has the distance 0: nothing is known of it, and it must not be left out.
    """
    ranked, far = [], []
    for x, y in zip(torch.split(inputs, evidence.batch), torch.split(labels, evidence.batch), strict=True):
        at = x.detach().requires_grad_()
        with torch.enable_grad():
            logits = evidence.slopes(evidence.laid(at))
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


def _finding(
    left: _Standing, plan: Plan, climbs: Sequence[_Climb], ranked: _Ranked, points: Tensor, rng: torch.Generator
) -> Climbing:
    """Return a round of attacks with gradients, from random starts or from the given points."""
    evidence, bounds = left.evidence, left.evidence.bounds()
    begins = [
        points if climb.way == "on" else norms.start(left.inputs, plan.radius, plan.norm, bounds, rng)
        for climb in climbs
    ]
    loss = _losses.toward_or_dlr if any(climb.way == "ratio" for climb in climbs) else _losses.toward

    def target(climb: _Climb, rows: Tensor, start: Tensor) -> Tensor:
        labels = left.labels[rows]
        if climb.way == "ratio" or not len(rows):
            return labels
        if climb.way == "on":
            return _losses.rivals(evidence.answers(start), labels, 1).squeeze(1)
        return ranked.aims(rows, climb.rank)

    def find(asked: Sequence[Tensor]) -> Tensor:
        starts = [begin[rows] for begin, rows in zip(begins, asked, strict=True)]
        to = torch.cat([target(*one) for one in zip(climbs, asked, starts, strict=True)])
        rows, start = torch.cat(list(asked)), torch.cat(starts)
        aims = (loss, left.labels[rows], to)
        budget, copies = plan.gradient_budget(), rows if len(climbs) > 1 else None
        ends = apgd.climbed(
            evidence, left.inputs[rows], aims, budget, start, bounds, stop=True, spare=True, copies=copies
        )
        left.least.scatter_reduce_(0, rows, ends.far, "amin")
        return ends.points

    return find
