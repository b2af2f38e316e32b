"""What class scores alone tell of budgets: behaviors asked of scores that no model was run for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from whatelse import items
from whatelse.answer import Answer
from whatelse.auditing.ask import asked_alike
from whatelse.auditing.questions import Measurement
from whatelse.auditing.roles import Role
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.items import Behaviour
from whatelse.models.model import Model
from whatelse.models.recorded import RecordedScores
from whatelse.searching.gauge import REACHED, Held, over
from whatelse.searching.trial import NAME
from whatelse.tasks.task import SPLITS, Split, Task

_DRAWS = 8  # resamples that a predicted standard error is of
_AT_ONCE = 2**24  # class scores that are asked at once


@dataclass(frozen=True)
class _Asked:
    """A measurement that answers from scores row by row.

    Attributes:
        measurement: Which.
        item: Its behaviour.
        config: Its settings.
        base: The baseline's sums: over all, and of every part, on the same resamples.
        names: Of its parts.
    """

    measurement: Measurement
    item: Behaviour
    config: object
    base: tuple[np.ndarray, np.ndarray | None]
    names: tuple[str, ...]


class ScoresJudge:
    """Tells from scores by how much budgets are exceeded, as `whatelse.searching.protocol.Judge`.

    A behavior is taken as it is: it is asked of scores that stand below each other, as of one model on as many times
    the examples, and its answer is cut into that of each model. One that does not answer so, row by row, is not seen:
    what needs gradients or inputs, what asks other splits, what picks examples. Standard errors are those of a few
    resamples, and bounds lie 1.645 of them above the estimate.

    Args:
        constraints: What candidates are held against, as the baseline was.
        measurements: What they are of, by label.
        task: The examples, on which verdicts are given in the place of test.
        baseline: Class scores of the baseline on these examples, ``(N, classes)``.
        rows: Which of the examples are looked at, ``(n,)``.
        sizes: Of every constraint how many examples it has on select and in the confirmation.
    """

    def __init__(
        self,
        constraints: Sequence[Held],
        measurements: Mapping[str, Measurement],
        task: Task,
        baseline: Tensor,
        rows: Tensor,
        sizes: Sequence[tuple[int, int]],
    ) -> None:
        self.names = tuple(one.name for one in constraints)
        self.rows, self._held, self._sizes = rows, constraints, sizes
        self._scale = math.sqrt(len(rows) / len(task.test))
        self._task = _bare(task, rows)
        counts = np.random.default_rng(0).multinomial(len(rows), [1 / len(rows)] * len(rows), size=_DRAWS)
        self._weights = np.concatenate([np.ones((1, len(rows))), counts])
        self._base = baseline[rows]
        labels = dict.fromkeys(one.question.place.label for one in constraints)
        found = {label: self._seen(measurements[label]) for label in labels}
        self._asked = {label: asked for label, asked in found.items() if asked is not None}
        self.seen = np.array([one.question.place.label in self._asked for one in constraints])

    def over(self, scores: Sequence[Tensor]) -> np.ndarray:
        """Return by how much each budget would be exceeded, ``(M, budgets)``, NaN where it cannot tell.

        Args:
            scores: Class scores of M models on its examples, ``(n, classes)`` each.
        """
        most = max(1, _AT_ONCE // max(1, self._base.numel()))
        portions = [scores[at : at + most] for at in range(0, len(scores), most)]
        return np.concatenate([self._over(portion) for portion in portions] or [np.empty((0, len(self.names)))])

    def _over(self, scores: Sequence[Tensor]) -> np.ndarray:
        found = np.full((len(scores), len(self.names)), np.nan)
        for label, asked in self._asked.items():
            answer = self._answer(asked.item, asked.config, asked.measurement, scores)
            assert answer is not None
            for at in range(len(scores)):
                sums = self._sums(asked.item, asked.config, answer, at)
                for k, one in enumerate(self._held):
                    if one.question.place.label == label:
                        found[at, k] = self._exceeded(one, asked, sums, self._sizes[k])
        return found

    def _exceeded(
        self, one: Held, asked: _Asked, sums: tuple[np.ndarray, np.ndarray | None], sizes: tuple[int, int]
    ) -> float:
        group = one.question.group
        if group:
            at = asked.names.index(group)
            assert sums[1] is not None
            assert asked.base[1] is not None
            moved = sums[1][:, at] - asked.base[1][:, at]
        else:
            moved = sums[0] - asked.base[0]
        finding = one.question.finding
        assert finding is not None
        parts = finding.parts
        better = (parts.better if group and parts is not None else "") or finding.better
        harm = moved if better == "lower" else -moved
        se = float(np.nanstd(harm[1:])) * self._scale
        return over(one.question, float(harm[0]), float(harm[0]) + REACHED * se, *sizes)

    def _seen(self, m: Measurement) -> _Asked | None:
        """Return how a measurement is asked of scores; None where it does not answer from them row by row."""
        item = items.behaviour(m.item)
        config = item.configure(m.settings)
        moved = self._base.roll(1, 0)  # scores of other examples, so that answers differ
        both = self._answer(item, config, m, [self._base, moved])
        alone = [self._answer(item, config, m, [one]) for one in (self._base, moved)]
        if both is None or any(one is None or len(one) != len(self.rows) for one in alone):
            return None
        cut = [self._cut(both, at) for at in range(2)]
        for one, whole in zip(cut, alone, strict=True):
            assert whole is not None
            if len(both) != 2 * len(self.rows) or not np.array_equal(one.matrix(), whole.matrix(), equal_nan=True):
                return None
        return _Asked(m, item, config, self._sums(item, config, both, 0), both.parts.names)

    def _answer(self, item: Behaviour, config: object, m: Measurement, scores: Sequence[Tensor]) -> Answer | None:
        """Return what a behavior answers of scores of several models below each other; None where it needs more."""
        task = _repeated(self._task, len(scores))
        models = [
            Evidence(Model(name, RecordedScores({"test": torch.cat(held)}), name), task)
            for name, held in ((NAME, list(scores)), (Role.BASELINE, [self._base] * len(scores)))
        ]
        mine, base = models
        mine.reference = base
        try:
            found = item.answer(base, mine, config, asked_alike(m.item, m.settings, "", 0))
        except NotMeasurableError:
            return None
        return found if found.rows is None else None

    def _cut(self, answer: Answer, at: int) -> Answer:
        n = len(self.rows)
        return answer.over(answer.matrix()[at * n : (at + 1) * n])

    def _sums(self, item: Behaviour, config: object, answer: Answer, at: int) -> tuple[np.ndarray, np.ndarray | None]:
        mine = self._cut(answer, at)
        parts = None if item.by_part is None else item.by_part(mine, config, self._weights)
        return item.summarise(mine, config, self._weights), parts


def _bare(task: Task, rows: Tensor) -> Task:
    """Return the examples without their inputs: scores stand for what a model says of them."""
    whole = task.test.take(rows)
    bare = Split(torch.zeros(len(rows), 1), whole.targets, whole.observed, whole.groups)
    return replace(task, splits=dict.fromkeys(SPLITS, bare), bounds=None, features=(), units=(), vocabulary=0, words=())


def _repeated(task: Task, times: int) -> Task:
    return replace(task, splits=dict.fromkeys(SPLITS, task.test.take(torch.arange(len(task.test)).repeat(times))))
