"""Propose as Optuna does: the tree-structured Parzen estimator, or NSGA-II, with budgets as constraints.

What most people would take off the shelf. Every axis is a parameter, whose values are its options in their order, from
mild to strong. What is made small is the objective; by how much a budget is exceeded is a constraint, as both samplers
take them: what breaks none goes before what breaks some, and of those the one whose sum is least. A budget that was not
measured, since a cheaper one decided, constrains nothing; a recipe that failed exceeds all others.

The first proposal is a mild one, every layer at its first option, so that something feasible is known early. What the
library proposes again is not measured again: it is told the same score, and asked once more.

Departures: NSGA-II is given the one objective, so that its selection is by constraint and size. Its population is
smaller than the library's 50, which trials as few as these would spend on the first generation.

Source:
    Akiba et al., Optuna, KDD 2019, arXiv:1907.10902; Bergstra et al., Algorithms for hyper-parameter optimization,
    NeurIPS 2011; Watanabe & Hutter, c-TPE, IJCAI 2023, arXiv:2211.14411; Deb et al., NSGA-II, IEEE Transactions on
    Evolutionary Computation 6:182-197, 2002.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from whatelse.errors import MissingExtraError
from whatelse.searching.protocol import Problem, Score, Search
from whatelse.searching.space import LAYER, Configuration, Space
from whatelse.settings import param

if TYPE_CHECKING:
    import optuna

VERSION = 1


@dataclass(frozen=True)
class Config:
    """Settings of the library."""

    sampler: str = param("tpe", "What proposes.", choices=("tpe", "nsga2"))
    startup: int = param(10, "Configurations that are drawn before the estimator begins; of tpe.", low=1)
    population: int = param(15, "Configurations of a generation; of nsga2.", low=2)
    ordered: bool = param(True, "Whether neighbors among the options of an axis are taken as alike.")
    misses: int = param(50, "Proposals in a row that were proposed before, after which it has no more.", low=1)


def start(problem: Problem, config: Config, rng: torch.Generator) -> Search:
    """Return a search by the library, with a study of its own in memory.

    Args:
        problem: Gives the space.
        config: Which sampler.
        rng: Source of the sampler's seed.

    Raises:
        MissingExtraError: Optuna is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError("search optuna needs Optuna: pip install 'whatelse[search]'") from error
    seed = int(torch.randint(2**31, (), generator=rng))
    sampler: optuna.samplers.BaseSampler
    if config.sampler == "tpe":
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=config.startup)
    else:
        sampler = optuna.samplers.NSGAIISampler(seed=seed, population_size=config.population)
    log = logging.getLogger("optuna")
    level = log.level
    log.setLevel(logging.WARNING)  # it prints that a study was made
    try:
        study = optuna.create_study(sampler=sampler)
    finally:
        log.setLevel(level)
    return _Optuna(problem.space, config, study)


class _Optuna:
    def __init__(self, space: Space, config: Config, study: optuna.Study) -> None:
        self.config, self.study = config, study
        self.names = [f"{at} {axis.kind} {axis.name}" for at, axis in enumerate(space.axes)]
        self.counts = [len(axis.options) for axis in space.axes]
        self.asked: dict[Configuration, optuna.Trial] = {}
        self.told: dict[Configuration, Score] = {}
        self.again = 0
        layered = [axis.kind == LAYER for axis in space.axes]
        mild = [int(is_layer or not any(layered)) for is_layer in layered]
        study.enqueue_trial(dict(zip(self.names, mild, strict=True)))

    def ask(self) -> Configuration | None:
        for _ in range(self.config.misses):
            trial = self.study.ask()
            drawn = tuple(self._option(trial, *of) for of in zip(self.names, self.counts, strict=True))
            if drawn not in self.asked:
                self.asked[drawn] = trial
                return drawn
            self.again += 1
            if drawn in self.told:
                self._tell(trial, self.told[drawn])
            else:
                self.study.tell(trial, state=_failed())
        return None

    def tell(self, tried: Configuration, score: Score) -> None:
        self.told[tried] = score
        self._tell(self.asked[tried], score)

    def remarks(self) -> Sequence[str]:
        return (f"{self.again} proposals of the library had been measured before",) if self.again else ()

    def _option(self, trial: optuna.Trial, name: str, count: int) -> int:
        if self.config.ordered:
            return int(trial.suggest_int(name, 0, count - 1))
        return int(trial.suggest_categorical(name, range(count)))

    def _tell(self, trial: optuna.Trial, score: Score) -> None:
        worked = math.isfinite(score.value)
        for name, over in score.over.items():
            trial.set_constraint(name, over)
        trial.set_constraint("worked", 0.0 if worked else math.inf)
        self.study.tell(trial, score.value if worked else 1.0)


def _failed() -> optuna.trial.TrialState:
    import optuna

    return optuna.trial.TrialState.FAIL
