"""What the answers of behaviors tell of budgets, where a model has no class scores: as a language model has none.

What a budget is on is summed from what a behavior answers of every example, such as the log-likelihood of a document.
Those answers are what is predicted: every option of every layer is put in place alone and asked, and what several move
is taken for the sum. Divergences of layers rounded alone nearly add up, and how far they do is learned of every trial
(`whatelse.searching.surrogate`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from whatelse import items
from whatelse.answer import Answer
from whatelse.auditing.ask import Measured, asked_alike
from whatelse.auditing.questions import Measurement
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.items import Behaviour
from whatelse.searching.gauge import Held
from whatelse.searching.judge import ScoresJudge, Sums, exceeded
from whatelse.searching.made_small import at_hand
from whatelse.store.protocol import Store
from whatelse.study.analysis import outcome_of
from whatelse.study.jobs import Job
from whatelse.tasks.task import Task

_NEVER = -1e4  # log-likelihood of a choice that is not there
_DRAWS = 100  # resamples that a predicted standard error is of
_CHARACTERS = 20_000  # of passages that are looked at, about: every option of every layer reads them


@dataclass(frozen=True)
class _Asked:
    """A measurement that has one row an example.

    Attributes:
        measurement: Which.
        item: Its behavior.
        config: Its settings.
        answer: Of the baseline, on the examples that are looked at.
        base: What it sums to, on them and on resamples.
        held: Places of the constraints that are on it.
    """

    measurement: Measurement
    item: Behaviour
    config: object
    answer: Answer
    base: Sums
    held: tuple[int, ...]


class AnswersJudge:
    """Tells from answers by how much budgets are exceeded, as `whatelse.searching.protocol.Judge`.

    What is costly, and what answers otherwise than with a row an example, is not seen: it is measured where a trial may
    win.

    Args:
        constraints: What candidates are held against, as the baseline was.
        measurements: What they are of, by label.
        base: Evidence of the baseline on select, which stands in the place of test.
        rows: Which examples are looked at, ``(n,)``.
        sizes: Of every constraint how many examples it has on select and in the confirmation.
        seed: Of what behaviors draw, as in every trial.

    Attributes:
        counts: Of which budgets the bound of no change at all is the least that can be shown, ``(budgets,)``: of shares
            of examples that lie in no clusters. Of a loss, or of tokens, it is that of an event never seen, as large
            as a whole example, and wider than that of small changes everywhere.
    """

    of_scores = differentiates = False

    def __init__(
        self,
        constraints: Sequence[Held],
        measurements: Mapping[str, Measurement],
        base: Evidence,
        rows: Tensor,
        sizes: Sequence[tuple[int, int]],
        seed: int,
    ) -> None:
        self.names = tuple(one.name for one in constraints)
        self.rows, self._held, self._sizes, self._seed = rows, constraints, sizes, seed
        self._whole, self._task = base, _cut(base.task, rows)
        self._stands_for = len(base.task.test) / len(rows)
        self._weights = _weights(self._task)
        self._base = Evidence(base.subject, self._task)
        labels = dict.fromkeys(one.question.place.label for one in constraints)
        found = [self._seen(measurements[label]) for label in labels]
        self._asked = [one for one in found if one is not None]
        seen = {one.measurement.label for one in self._asked}
        self.seen = np.array([one.question.place.label in seen for one in constraints])
        counted = {one.measurement.label for one in self._asked if _counts(one)}
        alone = base.task.test.clusters is None
        self.counts = np.array([alone and one.question.place.label in counted for one in constraints])

    @torch.no_grad()
    def ask(self, model: nn.Module) -> Tensor:
        """Return what behaviors answer of a language model on the judge's examples, all numbers in a row.

        Args:
            model: A `Decoder`.
        """
        mine = Evidence(at_hand(model), self._task)
        mine.reference = self._base
        return self._row([self._answer(one.measurement, mine, self._base) for one in self._asked])

    def kept(self, job: Job, store: Store) -> Tensor | None:
        """Return the answers of a model that a job measured; None where it failed.

        Args:
            job: Of a trial.
            store: Where results are kept.
        """
        cells = {cell.label: cell.key for cell in job.cells}
        found: list[Answer] = []
        for one in self._asked:
            key = cells.get(one.measurement.label, "")
            outcome = outcome_of(key, store) if key and store.has("values", key) else None
            if not isinstance(outcome, Measured):
                return None
            found.append(outcome.answer.over(outcome.answer.matrix()[self.rows.numpy()]))
        return self._row(found)

    def over(self, scores: Sequence[Tensor]) -> np.ndarray:
        """Return by how much each budget would be exceeded, ``(M, budgets)``, NaN where it cannot tell.

        Args:
            scores: Of M models what `ask` returns.
        """
        found = np.full((len(scores), len(self.names)), np.nan)
        for at, said in enumerate(scores):
            parts = torch.split(said, [one.answer.matrix().size for one in self._asked])
            for one, part in zip(self._asked, parts, strict=True):
                sums = self._sums(one.item, one.config, one.answer.over(part.numpy().reshape(len(self.rows), -1)))
                for k in one.held:
                    known = (one.answer.parts.names, one.base, sums, self._stands_for, self._sizes[k])
                    found[at, k] = exceeded(self._held[k].question, *known)
        return found

    def judged(self, scores: Sequence[Tensor]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return by how much each budget would be exceeded; harms are not drawn, and keep their whole weight.

        Args:
            scores: As `over` takes them.
        """
        found = self.over(scores)
        return found, np.zeros_like(found), np.ones_like(found)

    def _row(self, answers: Sequence[Answer]) -> Tensor:
        return torch.cat([torch.from_numpy(np.asarray(one.matrix(), np.float64)).flatten() for one in answers])

    def _answer(self, m: Measurement, mine: Evidence, base: Evidence) -> Answer:
        item = items.behaviour(m.item)
        rng = asked_alike(m.item, dict(item.changed(m.settings)), base.task.key, self._seed)
        return item.answer(base, mine, item.configure(m.settings), rng)

    def _seen(self, m: Measurement) -> _Asked | None:
        """Return how a measurement is asked; None where it is costly, or does not answer with a row an example."""
        if m.costly:
            return None
        try:
            answer = self._answer(m, self._base, self._base)
        except NotMeasurableError:
            return None
        if answer.rows is not None or len(answer) != len(self.rows):
            return None
        item = items.behaviour(m.item)
        config = item.configure(m.settings)
        held = tuple(k for k, one in enumerate(self._held) if one.question.place.label == m.label)
        return _Asked(m, item, config, answer, self._sums(item, config, answer), held)

    def _sums(self, item: Behaviour, config: object, answer: Answer) -> Sums:
        parts = None if item.by_part is None else item.by_part(answer, config, self._weights)
        return item.summarise(answer, config, self._weights), parts


def _counts(asked: _Asked) -> bool:
    """Return whether a number is the plain mean of what is 0 or 1 of every example."""
    values = np.asarray(asked.answer.matrix(), np.float64)
    if values.ndim > 1 or not np.isin(values, (0, 1)).all():
        return False
    more = values.copy()
    more[0] += 1
    whole = np.ones((1, len(values)))
    said = [float(asked.item.summarise(asked.answer.over(v), asked.config, whole)[0]) for v in (values, more)]
    return bool(np.isclose(said[1] - said[0], 1 / len(values)))


class ChoicesJudge(ScoresJudge):
    """Tells from how likely a language model finds each choice by how much budgets are exceeded.

    Choices are the classes, and their log-likelihoods the scores: whether the right one is chosen is no sum of what
    layers change, and by how much it is likelier than others nearly is.

    Args:
        constraints: As of `ScoresJudge`.
        measurements: Likewise.
        task: Likewise; of choices or pairs.
        baseline: Log-likelihoods of the baseline, ``(N, choices)``; minus infinity where there are fewer.
        rows: Likewise.
        sizes: Likewise.
    """

    differentiates = False

    def __init__(
        self,
        constraints: Sequence[Held],
        measurements: Mapping[str, Measurement],
        task: Task,
        baseline: Tensor,
        rows: Tensor,
        sizes: Sequence[tuple[int, int]],
    ) -> None:
        super().__init__(constraints, measurements, task, _finite(baseline), rows, sizes)
        self._passages = _cut(task, rows)

    @torch.no_grad()
    def ask(self, model: nn.Module) -> Tensor:
        """Return how likely a language model finds each choice of the judge's examples, ``(n, choices)``.

        Args:
            model: A `Decoder`.
        """
        return _finite(Evidence(at_hand(model), self._passages).logits())

    def kept(self, job: Job, store: Store) -> Tensor | None:
        """Return what `ask` does of a model that a job measured; None where it failed.

        Args:
            job: Of a trial.
            store: Where results are kept.
        """
        found = super().kept(job, store)
        return None if found is None else _finite(found)


def _finite(scores: Tensor) -> Tensor:
    """Return scores with no chance in the place of choices that are not there, so that they can be subtracted."""
    return scores.clamp(min=_NEVER)


def looked_at(task: Task, order: Tensor) -> Tensor:
    """Return the examples that every option is asked, ``(n,)``: the first of an order, up to so much text.

    Args:
        task: Of passages, on select.
        order: Of the examples of test, ``(N,)``.
    """
    assert task.language is not None
    inputs = task.test.inputs[order]
    long = [sum(len(before) + len(after) for before, after in one.pairs) for one in task.language.of(inputs)]
    enough = int((torch.tensor(long).cumsum(0) <= _CHARACTERS).sum())
    return order[: max(2, enough)].sort().values


def _cut(task: Task, rows: Tensor) -> Task:
    return replace(task, splits={**task.splits, "test": task.test.take(rows)})


def _weights(task: Task) -> np.ndarray:
    """Return how often each example stands in all of them, then in resamples of whole clusters, ``(1 + draws, n)``."""
    n, rng = len(task.test), np.random.default_rng(0)
    codes = np.arange(n) if task.test.clusters is None else task.test.clusters.numpy()
    _, place = np.unique(codes, return_inverse=True)
    many = int(place.max()) + 1
    counts = rng.multinomial(many, [1 / many] * many, size=_DRAWS)
    return np.concatenate([np.ones((1, n)), counts[:, place]])
