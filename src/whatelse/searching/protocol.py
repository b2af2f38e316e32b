"""What a search strategy and its driver say to each other: a problem, recipes that are asked for, scores told back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from torch import Tensor, nn

from whatelse.errors import SettingError
from whatelse.searching.space import Configuration, Space
from whatelse.tasks.task import Task


@dataclass(frozen=True)
class Score:
    """How a configuration did.

    Attributes:
        value: What is to be made small, as a share of the baseline's; infinite where the recipe failed.
        over: For every budget by how much it is exceeded, as a share of it; zero or less is inside. It is aimed at the
            confirmation: with what sampling may add there. A costly one may be missing where a cheap one is exceeded.
        scores: What `Judge.ask` returns of it; None where the recipe failed.
        why: What went wrong where the recipe failed.
        spread: For every budget how far what a confirmation shows strays from what is expected: one standard error.
    """

    value: float
    over: Mapping[str, float] = field(default_factory=dict)
    scores: Tensor | None = field(default=None, compare=False)
    why: str = ""
    spread: Mapping[str, float] = field(default_factory=dict)

    @property
    def feasible(self) -> bool:
        """Whether the recipe worked and keeps every budget."""
        return math.isfinite(self.value) and all(over <= 0 for over in self.over.values())


class Judge(Protocol):
    """Tells by how much budgets are exceeded from what models say: class scores, or answers of behaviors.

    Attributes:
        names: Of all budgets, as in `Score.over`.
        rows: Which examples of select it looks at, ``(n,)``.
        seen: Of which budgets it can tell, ``(budgets,)`` bool; attacks and gradients are not seen in scores.
        of_scores: Whether it looks at class scores, ``(n, classes)``, which have gradients; else at what behaviors
            answer of every example, all numbers in a row, as of a language model.
    """

    names: tuple[str, ...]
    rows: Tensor
    seen: np.ndarray
    of_scores: bool

    def ask(self, model: nn.Module) -> Tensor:
        """Return what a model says on its examples, in the form that `over` takes.

        Args:
            model: Any module that answers like the baseline.
        """

    def over(self, scores: Sequence[Tensor]) -> np.ndarray:
        """Return by how much each budget would be exceeded, ``(M, budgets)``, NaN where it cannot tell.

        Args:
            scores: What M models say on its examples.
        """


@dataclass(frozen=True, eq=False)
class Problem:
    """What a strategy may know.

    Attributes:
        space: The configurations that it may propose.
        model: The baseline, frozen and in evaluation mode.
        task: Train, calibration and select; select stands in the place of test, which is not in it.
        judge: Tells from scores by how much budgets are exceeded.
        cost: What is to be made small, of any module that answers like the baseline, in its own unit.
        parts: What an option makes of its layer, by the numbers of axis and option; none of other kinds of axis.
        sizes: By axis what each option costs more than being left alone, ``(options,)``, as a share of the baseline's.
            Exact for bytes, parameters and multiply-accumulates of layers, which add up; of times it is a guess.
        trials: How many configurations are measured at the most; 0 where time alone decides.
    """

    space: Space
    model: nn.Module
    task: Task
    judge: Judge
    cost: Callable[[nn.Module], float]
    parts: Mapping[tuple[int, int], nn.Module]
    sizes: Sequence[np.ndarray]
    trials: int


def refuse_answers(problem: Problem, strategy: str) -> None:
    """Refuse a problem without class scores, for a strategy whose rewards or harms are of such.

    Args:
        problem: Any.
        strategy: How messages call what asks.

    Raises:
        SettingError: There are none.
    """
    if not problem.judge.of_scores:
        raise SettingError(
            f"--strategy {strategy}: it goes by class scores, and a language model has none; use descend, optuna, "
            "uniform or random"
        )


class Search(Protocol):
    """One run of a strategy. Scores may be told in another order than was asked, and several are asked for at once."""

    def ask(self) -> Configuration | None:
        """Return the next configuration to measure; None where the strategy has no more."""

    def tell(self, tried: Configuration, score: Score) -> None:
        """Take note of how a configuration did.

        Args:
            tried: One that was asked for.
            score: How it did.
        """

    def remarks(self) -> Sequence[str]:
        """Return what is to be said of the search at its end, such as how far predictions were off."""
