"""Descend on predicted outputs: budgets are functions of what models say, so that is what is predicted.

One look at the baseline tells how every option of every layer moves the class scores of every example (`sensitivity`).
Of any configuration flips, groups and calibration are then computed, with their bounds, without running it
(`surrogate`). The search begins with the smallest configuration that keeps all budgets if the harms of single layers
add up: an integer linear program. What is measured becomes the new center, its true scores in place of predicted ones;
from there at most a few layers change at a time (``radius``), by the same program on the harms of single moves around
the center, and what they do together is predicted once more before one is chosen. A step that came out infeasible
tightens the next ones. Where nothing smaller can be found nearby, the costs are shaken,
and a step begins at a kick: the best with two layers smaller than it dares.

Configurations are aimed at the confirmation (`whatelse.searching.gauge.over`): they are to pass on other examples. The
first steps aim at a chance of .8; then steps aim in turn at what is safer and at what may just pass, since the
confirmation goes from safe to small (`whatelse.searching.confirm`).
Budgets that class scores do not tell are regressed on how far scores move from the baseline's. After training
(``then``) the surrogate ranks; how much of a predicted step comes true is learned over the trials.

Source:
    This package's own. The integer program on first-order scores of layers: Yao et al., HAWQ-V3, ICML 2021,
    arXiv:2011.10680; search in a trust region around a solved program: Frantar & Alistarh, SPDY, ICML 2022,
    arXiv:2201.13096. Solved by HiGHS (Huangfu & Hall, Math. Prog. Comp. 10:119-142, 2018).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from whatelse.searching.gauge import AIM, STRAYS
from whatelse.searching.program import Program
from whatelse.searching.protocol import Problem, Score, Search
from whatelse.searching.sensitivity import sensitivities, worth
from whatelse.searching.space import Configuration
from whatelse.searching.surrogate import Center, Surrogate, spread
from whatelse.settings import param

VERSION = 1

_TIGHTER = 0.05  # of a budget, by which the program is tightened where what it finds is predicted not to keep it
_SHAKEN = 0.25  # how far costs are shaken where nothing new is found
_FIRST = 8  # steps that aim at the usual chance
_STUCK, _TRIES = 3, 3
_SAME = -1e-6


@dataclass(frozen=True)
class _Aim:
    """What a step is to be predicted to keep.

    Attributes:
        chance: That a confirmation passes.
        room: How much of what the baseline itself leaves of each budget, as a share; 0 where the chance says enough.
    """

    chance: float
    room: float = 0.0


_USUAL = _Aim(AIM)
# What steps aim at in turn after the first: the confirmation begins with what is safe, the more so as select is luckier
# than it seems, and goes on to what may just pass.
_AIMS = (_Aim(0.97), _Aim(AIM, 0.85), _Aim(0.6), _Aim(0.9), _Aim(AIM, 0.65), _Aim(0.95), _USUAL, _Aim(0.5))


@dataclass(frozen=True)
class Config:
    """Settings of the descent."""

    radius: int = param(3, "Layers that change at a time around what was measured.", low=1)
    checked: int = param(24, "Solutions of the program whose joint harm is predicted for a step.", low=1, high=1000)


def start(problem: Problem, config: Config, rng: torch.Generator) -> Search:
    """Return a search that descends from the baseline.

    Args:
        problem: Gives model, space, parts and judge.
        config: How far a step goes.
        rng: Source of how costs are shaken.

    Raises:
        SettingError: The model's scores have no gradient at a layer's output.
    """
    return _Descent(problem, config, rng)


class _Descent:
    def __init__(self, problem: Problem, config: Config, rng: torch.Generator) -> None:
        self.problem, self.config, self.rng = problem, config, rng
        self.sizes = problem.sizes
        moves = sensitivities(problem)
        self.surrogate = Surrogate(moves, problem.judge, problem.judge.ask(problem.model))
        self.made = [_worth(sizes, axis) for sizes, axis in zip(problem.sizes, moves, strict=True)]
        self.centers = [self.surrogate.begin(problem.space.alone)]
        self.asked: dict[Configuration, Center] = {}
        self.told = 0
        self.failures = 0

    def ask(self) -> Configuration | None:
        count = len(self.asked)
        aim = _USUAL if count < _FIRST else _AIMS[(count - _FIRST) % len(_AIMS)]
        best = self._best(aim)
        # Another step from what is known already must differ from the one that is not told yet.
        shaken = _SHAKEN if count > self.told else 0.0
        found = None
        for attempt in range(_TRIES):
            last = self.failures < _STUCK and attempt % 2 == 0 and count < _FIRST
            center = self.centers[-1] if last else best
            # Where nothing near was found for a while, a step begins at a kick from the best.
            kicked = self.failures >= _STUCK and (self.failures + attempt) % 2 == 0
            around = self._kick(center) if kicked else center.at
            radius = self.config.radius if count else len(self.sizes)
            most = self._size(best.at) * (1 + _SAME) if any(best.at) else math.inf
            tight = self._inside(best, aim) - _TIGHTER * attempt
            found, good = self._step(center, around, radius, shaken, tight, most)
            if good:
                break
            shaken = _SHAKEN
        if found is not None:
            [self.asked[found]] = self.surrogate.nearest(self.centers, [found])
        return found

    def _best(self, aim: _Aim) -> Center:
        """Return the smallest configuration that was measured and keeps what is aimed at; at first the baseline."""
        room = self._room(aim)
        passing = [one for one in self.centers if one.chance >= aim.chance and not (one.measured > room).any()]
        return min(passing, key=lambda one: self._size(one.at), default=self.centers[0])

    def _room(self, aim: _Aim) -> np.ndarray:
        """Return what each excess may be, that of the baseline being its own, ``(budgets,)``."""
        own = self.centers[0].measured
        return np.minimum(aim.room * own, 0.0) if aim.room else np.full(len(own), np.inf)

    def _inside(self, center: Center, aim: _Aim) -> np.ndarray:
        """Return what excess, as it is aimed at the usual chance, a step may be predicted to have of each budget."""
        told: np.ndarray = np.minimum((STRAYS - float(ndtri(aim.chance))) * center.spread, self._room(aim))
        return told

    def tell(self, tried: Configuration, score: Score) -> None:
        self.told += 1
        if score.scores is None:
            self.failures += 1
            return
        before = {aim: self._best(aim) for aim in _AIMS}
        found = self.surrogate.center(tried, score)
        self.surrogate.note(self.asked[tried], tried, found)
        self.centers.append(found)
        better = any(self._best(aim) is not one for aim, one in before.items())
        self.failures = 0 if better else self.failures + 1

    def remarks(self) -> list[str]:
        """Return what is to be said of the search: the error of its predictions."""
        off = spread(self.surrogate.errors)
        if off is None:
            return []
        known = [(name, at) for name, at in zip(self.problem.judge.names, off, strict=True) if math.isfinite(at)]
        told = ", ".join(f"{name} {at:.2f}" for name, at in known)
        return [f"median error of a predicted step, in shares of the budget: {told}"] if known else []

    def _kick(self, center: Center) -> Configuration:
        """Return a configuration with two axes, large ones rather than small ones, each at a smaller option."""
        at = list(center.at)
        weights = torch.tensor([axis[option] - axis.min() for axis, option in zip(self.sizes, at, strict=True)])
        for axis in torch.multinomial(weights + 1e-3, min(2, len(at)), generator=self.rng).tolist():
            sizes = self.sizes[axis]
            smaller = [o for o in np.argsort(-sizes) if self.made[axis][o] and sizes[o] < sizes[at[axis]]]
            if smaller:
                at[axis] = int(smaller[int(torch.randint(min(3, len(smaller)), (), generator=self.rng))])
        return tuple(at)

    def _step(
        self, center: Center, around: Configuration, radius: int, shaken: float, tight: np.ndarray, most: float
    ) -> tuple[Configuration | None, bool]:
        """Return the smallest new configuration near one that is predicted to exceed budgets by no more than so much.

        Each is predicted around the measured configuration that it is nearest to. Where none keeps them the one that
        exceeds them least is returned, and False beside it.
        """
        harms = self._singles(center, around)
        noise = 1 + shaken * (2 * torch.rand(self._count(), generator=self.rng).numpy() - 1)
        program = Program(self.sizes, self.made, harms, around, noise)
        found = program.nearby(tight, radius, most, set(self.asked), self.config.checked)
        if not found:
            return None, False
        joint = self.surrogate.over_around(self.surrogate.nearest(self.centers, found), found)
        worst = (np.nan_to_num(joint, nan=-1.0) - tight).max(1)
        good = [at for at in range(len(found)) if worst[at] <= 0]
        if good:
            return min((found[at] for at in good), key=self._size), True
        return found[int(worst.argmin())], False

    def _singles(self, center: Center, around: Configuration) -> list[np.ndarray]:
        """Return by how much each budget is exceeded after single moves, ``(options, budgets)`` each.

        Moves are predicted around the center. Around a kick from it they are taken to move harms by as much: to predict
        them anew would take longer than all else of a step, and what the program finds is predicted jointly anyway.
        """
        moves = [
            (axis, option)
            for axis, options in enumerate(self.made)
            for option in range(len(options))
            if option != center.at[axis] and options[option]
        ]
        asked = [_moved(center.at, axis, option) for axis, option in moves]
        first, *every, last = self.surrogate.over(center, [center.at, *asked, around])
        found = [np.tile(first, (len(options), 1)) for options in self.made]
        for (axis, option), row in zip(moves, every, strict=True):
            found[axis][option] = row
        return [last + (axis - axis[option]) for axis, option in zip(found, around, strict=True)]

    def _size(self, at: Configuration) -> float:
        return float(sum(axis[option] for axis, option in zip(self.sizes, at, strict=True)))

    def _count(self) -> int:
        return sum(map(len, self.sizes))


def _worth(sizes: np.ndarray, moves: Sequence[Tensor | None]) -> list[bool]:
    """Return which options of an axis are worth a try, by how far they move scores."""
    return worth(sizes, [math.inf if move is None else float(move.square().mean()) for move in moves])


def _moved(at: Sequence[int], axis: int, option: int) -> Configuration:
    return (*at[:axis], option, *at[axis + 1 :])
