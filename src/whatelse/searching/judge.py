"""What class scores alone tell of budgets: behaviors asked of scores that no model was run for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from whatelse import items
from whatelse.answer import Answer
from whatelse.auditing.ask import asked_alike
from whatelse.auditing.questions import Measurement
from whatelse.auditing.roles import Role
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.gate.match import Question
from whatelse.items import Behaviour
from whatelse.models.model import Model
from whatelse.models.recorded import RecordedScores
from whatelse.searching.gauge import REACHED, Held, over
from whatelse.searching.means import Means
from whatelse.searching.trial import NAME
from whatelse.store.protocol import Store
from whatelse.study.jobs import Job
from whatelse.tasks.task import SPLITS, Split, Task

_DRAWS = 8  # resamples that a predicted standard error is of, where a number is no mean
_AT_ONCE = 2**23  # class scores that are asked at once
# Examples with changes of others that harms are drawn toward, about: of what is predicted, and of what was measured,
# for which they are others than those by which it was chosen.
_OTHERS, _FRESH = 600, 3_600
_KNOWN = 16  # numbers of models whose examples, below each other, are kept
_BATCH = 256
_ALIKE = 5  # examples of a kind, from which on changes are exchanged among these alone

Sums = tuple[np.ndarray, np.ndarray | None]


@dataclass(frozen=True)
class _Asked:
    """A measurement that answers from scores row by row.

    Attributes:
        measurement: Which.
        item: Its behaviour.
        config: Its settings.
        means: How its numbers are means; None where none of them is.
        averaged: Constraints whose numbers are means, each with the parts that it is the plain mean of.
        drawn: The other constraints, by place, whose standard errors are those of resamples.
        base: The baseline's sums on the same resamples: over all, and of every part; None where nothing is drawn.
        names: Of its parts.
    """

    measurement: Measurement
    item: Behaviour
    config: object
    means: Means | None
    averaged: Mapping[int, tuple[int, ...]]
    drawn: tuple[int, ...]
    base: Sums | None
    names: tuple[str, ...]


class ScoresJudge:
    """Tells from class scores by how much budgets are exceeded, as `whatelse.searching.protocol.Judge`.

    A behavior is taken as it is: it is asked of scores that stand below each other, as of one model on as many times
    the examples, and its answer is cut into that of each model. One that does not answer so, row by row, is not seen:
    what needs gradients or inputs, what asks other splits, what picks examples. Bounds of counts are exact, those of
    other means lie 1.645 standard errors above them; the standard error of what is no mean is that of a few resamples.

    Args:
        constraints: What candidates are held against, as the baseline was.
        measurements: What they are of, by label.
        task: The examples, on which verdicts are given in the place of test.
        baseline: Class scores of the baseline on these examples, ``(N, classes)``.
        rows: Which of the examples are looked at, ``(n,)``.
        sizes: Of every constraint how many examples it has on select and in the confirmation.

    Attributes:
        counts: Of which budgets the bound of no change at all is the least that can be shown, ``(budgets,)``; of none
            where examples lie in clusters: it is that of a whole cluster never seen to change.
    """

    of_scores = True

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
        self._stands_for = len(task.test) / len(rows)
        self._inputs = task.test.inputs[rows]
        self._plain, self._base = _bare(task, rows), baseline[rows]
        self._swaps, self._fresh = (
            _swaps(self._plain, self._base, many, at) for at, many in enumerate((_OTHERS, _FRESH))
        )
        counts = np.random.default_rng(0).multinomial(len(rows), [1 / len(rows)] * len(rows), size=_DRAWS)
        self._weights = np.concatenate([np.ones((1, len(rows))), counts])
        self._many: dict[tuple[int, int], Evidence] = {}
        labels = dict.fromkeys(one.question.place.label for one in constraints)
        found = {label: self._seen(measurements[label]) for label in labels}
        self._asked = {label: asked for label, asked in found.items() if asked is not None}
        self.seen = np.array([one.question.place.label in self._asked for one in constraints])
        self.counts = np.full(len(constraints), task.test.clusters is None)

    @torch.no_grad()
    def ask(self, model: nn.Module) -> Tensor:
        """Return class scores of a model on the judge's examples, ``(n, classes)``.

        Args:
            model: Any module that answers like the baseline.
        """
        return torch.cat([model(x) for x in torch.split(self._inputs, _BATCH)])

    def kept(self, job: Job, store: Store) -> Tensor | None:
        """Return the class scores of a model that a job measured, ``(n, classes)``; None where it failed.

        Args:
            job: Of a trial.
            store: Where results are kept.
        """
        if not store.has("values", job.scores):
            return None
        found: Tensor = store.load("values", job.scores)[0]["logits"][self.rows]
        return found

    def over(self, scores: Sequence[Tensor]) -> np.ndarray:
        """Return by how much each budget would be exceeded, ``(M, budgets)``, NaN where it cannot tell.

        Args:
            scores: Class scores of M models on its examples, ``(n, classes)`` each.
        """
        most = max(1, _AT_ONCE // max(1, self._base.numel() * (1 + len(self._swaps))))
        portions = [self._judged(scores[at : at + most], self._swaps)[0] for at in range(0, len(scores), most)]
        return np.concatenate(portions or [np.empty((0, len(self.names)))])

    def judged(self, scores: Sequence[Tensor]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return by how much each budget would be exceeded; by how much harms were drawn, and what weight they kept.

        Whoever looks for the smallest model that passes on some examples finds one that passes on these. So a harm is
        drawn toward that of the same model if its changes of scores fell on other examples of the same kind, which no
        search can choose for: the more so the fewer examples tell of it.

        Args:
            scores: Class scores of M models on its examples, ``(n, classes)`` each.

        Returns:
            ``(M, budgets)`` each; NaN, 0 and 1 where it cannot tell.
        """
        return self._judged(scores, self._fresh)

    def _beside(self, scores: Tensor, swaps: Sequence[Tensor]) -> Tensor:
        """Return scores, and the baseline's with the changes of other examples below them."""
        change = scores - self._base
        return torch.cat([scores, *(self._base + change[swap] for swap in swaps)])

    def _judged(self, scores: Sequence[Tensor], swaps: Sequence[Tensor]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        found = np.full((len(scores), len(self.names)), np.nan)
        shift, weight = np.zeros_like(found), np.ones_like(found)
        pair = self._pair([self._beside(one, swaps) for one in scores], 1 + len(swaps))
        for asked in self._asked.values():
            answer = self._answer(asked.item, asked.config, asked.measurement, pair)
            assert answer is not None
            if asked.means is not None and asked.averaged:
                signs = np.array([sign(self._held[k].question) for k in asked.averaged])
                parts = list(asked.averaged.values())
                harms = asked.means.harms(answer, len(scores), parts, signs, self._stands_for)
                for at, k in enumerate(asked.averaged):
                    value, upper, kept, drawn = (column[:, at] for column in harms)
                    found[:, k] = over(self._held[k].question, value, upper, *self._sizes[k], kept)
                    shift[:, k], weight[:, k] = drawn, kept
            for at in range(len(scores)) if asked.drawn else ():
                sums = self._sums(asked.item, asked.config, answer, at, 1 + len(swaps))
                for k in asked.drawn:
                    found[at, k] = self._exceeded(k, asked, sums)
        return found, shift, weight

    def _exceeded(self, k: int, asked: _Asked, sums: Sums) -> float:
        assert asked.base is not None
        question = self._held[k].question
        return exceeded(question, asked.names, asked.base, sums, self._stands_for, self._sizes[k])

    def _seen(self, m: Measurement) -> _Asked | None:
        """Return how a measurement is asked of scores; None where it does not answer from them row by row."""
        item = items.behaviour(m.item)
        config = item.configure(m.settings)
        moved = self._base.roll(1, 0)  # scores of other examples, so that answers differ
        both = self._answer(item, config, m, self._pair([self._base, moved]))
        alone = [self._answer(item, config, m, self._pair([one])) for one in (self._base, moved)]
        if both is None or any(one is None or len(one) != len(self.rows) for one in alone):
            return None
        cut = [self._cut(both, at) for at in range(2)]
        for one, whole in zip(cut, alone, strict=True):
            assert whole is not None
            if len(both) != 2 * len(self.rows) or not np.array_equal(one.matrix(), whole.matrix(), equal_nan=True):
                return None
        return self._taken(m, item, config, cut, both.parts.names)

    def _taken(
        self, m: Measurement, item: Behaviour, config: object, cut: Sequence[Answer], names: tuple[str, ...]
    ) -> _Asked:
        """Return which constraints of a measurement are means, and the baseline's sums for the others."""
        sums = self._sums(item, config, cut[0])
        parts = 0 if sums[1] is None else sums[1].shape[1]
        means = Means.of(item, config, cut, parts)
        averaged: dict[int, tuple[int, ...]] = {}
        drawn: list[int] = []
        for k, one in enumerate(self._held):
            if one.question.place.label != m.label:
                continue
            group = one.question.group
            mine: tuple[int, ...] = ()
            if means is not None:
                is_mean = item.outcomes is not None
                mine = means.whole if not group else (names.index(group),) if is_mean else ()
            if mine:
                averaged[k] = mine
            else:
                drawn.append(k)
        return _Asked(m, item, config, means, averaged, tuple(drawn), sums if drawn else None, names)

    def _pair(self, scores: Sequence[Tensor], times: int = 1) -> tuple[Evidence, Evidence]:
        """Return evidence of the baseline and of several models below each other, which all behaviors share.

        Args:
            scores: Of each model.
            times: How often each has the examples.
        """
        known = len(scores), times
        base = self._many.get(known)
        if base is None:
            if len(self._many) >= _KNOWN:
                self._many.clear()
            task = _repeated(self._plain, len(scores) * times)
            base = self._many[known] = _evidence(Role.BASELINE, [self._base] * len(scores) * times, task)
        mine = _evidence(NAME, scores, base.task)
        mine.reference = base
        return base, mine

    def _answer(
        self, item: Behaviour, config: object, m: Measurement, pair: tuple[Evidence, Evidence]
    ) -> Answer | None:
        """Return what a behavior answers of several models below each other; None where it needs more than scores."""
        try:
            found = item.answer(*pair, config, asked_alike(m.item, m.settings, "", 0))
        except NotMeasurableError:
            return None
        return found if found.rows is None else None

    def _cut(self, answer: Answer, at: int, times: int = 1) -> Answer:
        n = len(self.rows)
        return answer.over(answer.matrix()[at * times * n : (at * times + 1) * n])

    def _sums(self, item: Behaviour, config: object, answer: Answer, at: int = 0, times: int = 1) -> Sums:
        mine = self._cut(answer, at, times)
        parts = None if item.by_part is None else item.by_part(mine, config, self._weights)
        return item.summarise(mine, config, self._weights), parts


def sign(question: Question) -> int:
    """Return 1 where more is worse of what a budget is on, and -1 where less is.

    Args:
        question: The budget as it is asked.
    """
    finding = question.finding
    assert finding is not None
    parts = finding.parts
    better = (parts.better if question.group and parts is not None else "") or finding.better
    return 1 if better == "lower" else -1


def exceeded(
    question: Question, names: Sequence[str], base: Sums, sums: Sums, stands_for: float, sizes: tuple[int, int]
) -> float:
    """Return by how much a budget is exceeded by a number that is drawn again.

    Args:
        question: The budget as it is asked.
        names: Of the parts.
        base: What the baseline sums to on the examples, then on resamples of them, ``(1 + draws,)``; and its parts,
            ``(1 + draws, parts)``, where there are such.
        sums: What the model sums to.
        stands_for: How many examples one of these stands for.
        sizes: How many examples there are on select and in the confirmation.
    """
    if question.group:
        at = names.index(question.group)
        assert sums[1] is not None
        assert base[1] is not None
        moved = sums[1][:, at] - base[1][:, at]
    else:
        moved = sums[0] - base[0]
    harm = sign(question) * moved
    se = float(np.nanstd(harm[1:])) / stands_for**0.5
    told: float = over(question, float(harm[0]), float(harm[0]) + REACHED * se, *sizes)
    return told


def _evidence(name: str, scores: Sequence[Tensor], task: Task) -> Evidence:
    # A key of their own would be a hash of all of them, and nothing is kept by it.
    return Evidence(Model(name, RecordedScores({"test": torch.cat(list(scores))}, key="predicted"), name), task)


def _bare(task: Task, rows: Tensor) -> Task:
    """Return the examples without their inputs: scores stand for what a model says of them."""
    whole = task.test.take(rows)
    bare = Split(torch.zeros(len(rows), 1), whole.targets, whole.observed, whole.groups)
    return replace(task, splits=dict.fromkeys(SPLITS, bare), bounds=None, features=(), units=(), vocabulary=0, words=())


def _swaps(task: Task, base: Tensor, many: int, seed: int) -> list[Tensor]:
    """Return permutations of the examples among those of a kind: that the baseline says the same of, and of one group.

    Kinds of a few examples are taken together with others that the baseline says the same of.
    """
    n, said, rng = len(base), base.argmax(1).numpy(), np.random.default_rng(seed)
    kinds = np.stack([said, *(codes.numpy() for codes in task.test.groups.values())], 1)
    _, kind, sizes = np.unique(kinds, axis=0, return_inverse=True, return_counts=True)
    kind = np.where(sizes[kind] < _ALIKE, len(sizes) + said, kind)
    found = []
    for _ in range(max(1, round(many / max(1, n)))):
        swap = np.arange(n)
        for one in np.unique(kind):
            places = np.flatnonzero(kind == one)
            swap[places] = rng.permutation(places)
        found.append(torch.from_numpy(swap))
    return found


def _repeated(task: Task, times: int) -> Task:
    return replace(task, splits=dict.fromkeys(SPLITS, task.test.take(torch.arange(len(task.test)).repeat(times))))
