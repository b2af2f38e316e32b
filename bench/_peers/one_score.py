"""One score a layer and setting, added up: what mixed-precision solvers do; the target is bisected until budgets bind.

The score is the squared change of the loss to first order, ``sum (dL/dy . dy)^2``, as AutoQuantize of ModelOpt and
HAWQ-V3's solver take one number a layer; an integer program finds the smallest configuration of at most so much of it,
and the target is bisected on what trials say of the budgets. Beside the package: it is what `descend` is held against.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from whatelse.searching.program import Program
from whatelse.searching.protocol import Problem, Score, Search
from whatelse.searching.sensitivity import sensitivities
from whatelse.searching.space import Configuration

ITEM = "strategy one_score"
VERSION = 1
_TRIES = 40


@dataclass(frozen=True)
class Config:
    """One score has no settings."""


def start(problem: Problem, config: Config, rng: torch.Generator) -> Search:
    """Return a search that bisects the target.

    Args:
        problem: Gives model, space, parts and examples.
        config: Not used.
        rng: Not used; nothing is random.
    """
    del config, rng
    return _OneScore(problem)


class _OneScore:
    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        rows = problem.judge.rows
        labels = problem.task.test.targets[rows]
        with torch.no_grad():
            scores = torch.cat([problem.model(x) for x in torch.split(problem.task.test.inputs[rows], 256)])
        slope = scores.softmax(1) - torch.nn.functional.one_hot(labels, scores.shape[1])
        moves = sensitivities(problem)
        self.scores = [
            np.array([[math.nan if m is None else float((slope * m).sum(1).square().sum())] for m in axis])
            for axis in moves
        ]
        self.low, self.high = 1e-9, float(sum(axis.max() for axis in self.scores))
        self.asked: dict[Configuration, float] = {}

    def ask(self) -> Configuration | None:
        for _ in range(_TRIES):
            middle = math.sqrt(self.low * self.high)
            found = self._solved(middle)
            if found is None:
                self.low = middle
            elif found not in self.asked:
                self.asked[found] = middle
                return found
            elif self.high / self.low < 1.001:
                return None
            else:  # waiting for what was asked: a little beside it
                self.high *= 0.98
        return None

    def _solved(self, target: float) -> Configuration | None:
        made = [[math.isfinite(one[0]) for one in axis] for axis in self.scores]
        harms = [axis / target for axis in self.scores]
        noise = np.ones(sum(map(len, self.scores)))
        program = Program(self.problem.sizes, made, harms, self.problem.space.alone, noise)
        return program.solve(1.0, len(self.scores))

    def tell(self, tried: Configuration, score: Score) -> None:
        if score.feasible:
            self.low = max(self.low, self.asked[tried])
        else:
            self.high = min(self.high, self.asked[tried])
        if self.low > self.high:
            self.low, self.high = self.high, self.low

    def remarks(self) -> Sequence[str]:
        return ()
