"""Evolve a population whose members share one network's weights: CARS, continuous evolution.

The baseline is the supernet: members are parts of it, cut by the axes of kind ``width`` and ``depth``, and train one
set of weights. Steps alternate: *parameters*, one pass over train in which every step goes by the mean gradient of a
few members drawn from the population (a warm-up before draws from the whole space); *architectures*, ``breed`` times
as many offspring as there are members, by crossing two parents and by drawing options anew, all evaluated with
inherited weights, of which pNSGA-III keeps as many as there were. It sorts twice, by harm and size and by harm and
minus size, so that small models, which learn fast, do not push out large ones. After the last generation the members
are proposed for the true measurement, those that are predicted to keep all budgets first, the smallest of them first;
after them those of further generations.

Departures from the paper: harm is, of the budgets that scores tell, the one of which most is used, where the paper has
the error; the supernet begins with the baseline's weights; Adam with a one-cycle schedule for each generation stands
for SGD; harm is evaluated on select, as the budgets are; batch norms are counted anew for each member. Options of
single layers (kind ``layer``) and of the whole model are done to inherited weights when a member is evaluated, and its
parameter steps know nothing of them; options of the whole model that train are not proposed. Where nothing trains what
was made smaller (``then`` is empty), the weights stay the baseline's, as in what is measured.

Source:
    Yang et al., CARS: Continuous evolution for efficient neural architecture search, CVPR 2020, arXiv:1909.04977.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import Tensor

from whatelse import recipe
from whatelse.errors import RecipeError
from whatelse.searching.protocol import Problem, Score, Search, refuse_answers
from whatelse.searching.selection import protected
from whatelse.searching.space import WHOLE, Axis, Configuration
from whatelse.searching.supernet import Supernet
from whatelse.settings import param
from whatelse.study.estimate import training
from whatelse.training.loop import answers

VERSION = 1

_IDLE = 5  # generations in a row without a new member, after which it has no more
_FEW = 5  # measured models below which a correlation says nothing


@dataclass(frozen=True)
class Config:
    """Settings of the evolution."""

    population: int = param(0, "Members; 0 for as many as are measured, or 40 where time alone decides.", low=0)
    generations: int = param(10, "Generations before anything is measured.", low=1, high=10_000)
    breed: float = param(1.0, "Offspring of a generation, as a multiple of the population.", low=0.1, high=100.0)
    mutate: float = param(0.2, "Chance that an axis of an offspring is drawn anew.", low=0.0, high=1.0)
    warmup: int = param(5, "Passes over train in which members are drawn from the whole space.", low=0, high=10_000)
    sampled: int = param(4, "Members whose mean gradient is a step.", low=1, high=1000)
    rate: float = param(2e-3, "Peak learning rate of the shared weights.", low=0.0, high=1.0)
    batch: int = param(50, "Examples a step.", low=1)


def start(problem: Problem, config: Config, rng: torch.Generator) -> Search:
    """Return a search that evolves; nothing is trained before it is asked.

    Args:
        problem: Gives space, model, task, judge and what is to be made small.
        config: How many, how long.
        rng: Source of everything random.

    Raises:
        SettingError: The model has no class scores.
    """
    refuse_answers(problem, "evolve")
    return _Evolution(problem, config, rng)


class _Evolution:
    def __init__(self, problem: Problem, config: Config, rng: torch.Generator) -> None:
        self.problem, self.config, self.rng = problem, config, rng
        self.net = Supernet(problem.space, problem.model, problem.task)
        self.trains = bool(problem.space.trained)
        self.rows = problem.task.test.inputs[problem.judge.rows]
        self.sizes: dict[Configuration, float] = {}
        self.harms: dict[Configuration, float] = {}  # with the weights that are shared now
        self.members: list[Configuration] = []
        self.pairs: list[tuple[float, float]] = []  # harm with inherited weights, and as measured
        self.asked: set[Configuration] = set()

    def ask(self) -> Configuration | None:
        if not self.members:
            self._begin()
        for _ in range(_IDLE):
            new = [member for member in self.members if member not in self.asked]
            if new:
                self.asked.add(new[0])
                return new[0]
            self._generation()
            self._sort()
        return None

    def tell(self, tried: Configuration, score: Score) -> None:
        # As in the paper it goes by inherited weights alone; what is measured only tells how far they can be believed.
        names = [name for name, seen in zip(self.problem.judge.names, self.problem.judge.seen, strict=True) if seen]
        if names and all(name in score.over for name in names) and tried in self.harms:
            self.pairs.append((self.harms[tried], max(score.over[name] for name in names)))

    def remarks(self) -> Sequence[str]:
        if len(self.pairs) < _FEW:
            return ()
        tau = float(kendalltau(*zip(*self.pairs, strict=True)).statistic)
        return (f"Kendall's tau of harm with inherited weights and as measured, {len(self.pairs)} models: {tau:.2f}",)

    def _begin(self) -> None:
        known = self.net.known()
        axes = self.problem.space.axes
        self.options = [self._proposed(axis) if ok else [0] for axis, ok in zip(axes, known, strict=True)]
        count = self.config.population or self.problem.trials or 40
        everyone = int(np.prod([float(len(options)) for options in self.options]).clip(max=1e9))
        if self.trains and self.config.warmup:
            self._train([self._drawn() for _ in range(max(2, 4 * count))], self.config.warmup)
        while len(self.members) < min(count, everyone):
            drawn = self._drawn()
            self.members += [drawn] if drawn not in self.members else []
        for _ in range(self.config.generations):
            self._generation()
        self._sort()

    def _generation(self) -> None:
        if self.trains:
            self._train(self.members, 1)
        count = len(self.members)
        born = [self._offspring() for _ in range(max(1, round(self.config.breed * count)))]
        everyone = list(dict.fromkeys([*self.members, *born]))
        harm = self._harm(everyone)
        made = [at for at in range(len(everyone)) if np.isfinite(harm[at])]
        sizes = np.array([[self.sizes[everyone[at]] for at in made]])
        self.members = [everyone[made[at]] for at in protected(harm[made], sizes, count, self.rng)] or self.members

    def _train(self, members: Sequence[Configuration], epochs: int) -> None:
        config = self.config
        self.harms.clear()
        self.net.train(members, epochs, config.rate, config.batch, config.sampled, self.rng)

    def _sort(self) -> None:
        harm = dict(zip(self.members, self._harm(self.members), strict=True))
        self.members.sort(key=lambda member: (max(harm[member], 0.0), self.sizes.get(member, 0.0)))

    def _harm(self, members: Sequence[Configuration]) -> np.ndarray:
        """Return of each member, with the weights that it inherits, how far it exceeds the budget that binds."""
        said = {member: self._scores(member) for member in members if member not in self.harms}
        made = {member: scores for member, scores in said.items() if scores is not None}
        found = self._judged(list(made.values())) if made else []
        self.harms |= dict.fromkeys(said, np.inf) | dict(zip(made, found, strict=True))
        return np.array([self.harms[member] for member in members])

    def _judged(self, scores: Sequence[Tensor]) -> list[float]:
        judge = self.problem.judge
        over = judge.over(scores)[:, judge.seen]
        if over.shape[1]:
            return [float(one) for one in np.nan_to_num(over.max(1), nan=np.inf)]
        targets = self.problem.task.test.targets[judge.rows]
        return [float((said.argmax(1) != targets).double().mean()) for said in scores]

    def _scores(self, member: Configuration) -> Tensor | None:
        try:
            small = self.net.inherited(member, self.rng)
        except RecipeError:
            return None
        self.sizes.setdefault(member, self.problem.cost(small))
        return answers(small, self.rows)

    def _offspring(self) -> Configuration:
        """Return a child of two members, or a copy of one, some of its options drawn anew."""
        mother, father = (self.members[self._whole(len(self.members))] for _ in range(2))
        crossed = self._chance(0.5)
        child = [f if crossed and self._chance(0.5) else m for m, f in zip(mother, father, strict=True)]
        fresh = self._drawn()
        return tuple(new if self._chance(self.config.mutate) else old for old, new in zip(child, fresh, strict=True))

    def _drawn(self) -> Configuration:
        return tuple(options[self._whole(len(options))] for options in self.options)

    def _whole(self, below: int) -> int:
        return int(torch.randint(below, (), generator=self.rng))

    def _chance(self, chance: float) -> bool:
        return float(torch.rand((), generator=self.rng)) < chance

    def _proposed(self, axis: Axis) -> list[int]:
        """Return the options that can be evaluated without training."""
        if axis.kind != WHOLE:
            return list(range(len(axis.options)))
        task, steps = self.problem.task, map(recipe.parse, axis.options)
        return [at for at, each in enumerate(steps) if not any(training(step, task) for step in each)]
