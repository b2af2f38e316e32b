"""Numbers that are means of outcomes, of many models at once: their harms with the bounds that a measurement gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from whatelse.answer import Answer
from whatelse.gate.degradation import LEVEL
from whatelse.items import Behaviour
from whatelse.searching.gauge import REACHED
from whatelse.statistics import sides
from whatelse.statistics.contributions import contributions
from whatelse.statistics.counts import countable
from whatelse.statistics.mcnemar import reach
from whatelse.statistics.paired import hall

# How far a harm lies from that of the same changes on other examples, as a share of it: one standard error.
_APART = 0.3


class Harms(NamedTuple):
    """Harms of several models, ``(models, numbers)`` each.

    Attributes:
        value: As they are drawn toward what the same changes do to other examples.
        upper: Upper bounds at one-sided level .05 of these.
        weight: How much of that is the examples' own word, from 0 to 1.
        shift: By how much they were drawn.
    """

    value: np.ndarray
    upper: np.ndarray
    weight: np.ndarray
    shift: np.ndarray


@dataclass(frozen=True, eq=False)
class Means:
    """Where the numbers of a behavior are means of what each example adds, or plain means of such means.

    Attributes:
        item: The behavior.
        config: Its settings.
        base: What every example adds at the baseline, ``(n,)``.
        inside: Which examples each part has, ``(n, parts)`` of 0 and 1; the last part is of all of them.
        whole: The parts that the number itself is the plain mean of; none where it is no such mean.
        exact: Whether every example adds 0 or 1, so that bounds are those of counts.
    """

    item: Behaviour
    config: object
    base: np.ndarray
    inside: np.ndarray
    whole: tuple[int, ...]
    exact: bool

    @classmethod
    def of(cls, item: Behaviour, config: object, answers: Sequence[Answer], parts: int) -> Means | None:
        """Return how a behavior's numbers are means; None where no number of it is one.

        Args:
            item: The behavior.
            config: Its settings.
            answers: Of the baseline, and of another model on the same examples: parts must not depend on the model.
            parts: How many parts ``by_part`` has.
        """
        n = len(answers[0])
        if item.outcomes is None:
            each = [_mean(item, config, answer) for answer in answers]
            inside: list[np.ndarray] = []
            whole: tuple[int, ...] = (0,)
        else:
            told = [np.asarray(item.outcomes(answer, config), np.float64) for answer in answers]
            each = [table[:, 0] if np.isfinite(table[:, 0]).all() else None for table in told]
            if not np.array_equal(told[0][:, 1:], told[1][:, 1:]):
                return None
            found = sides.outcomes(told[:1], parts, averaged=item.mean_of_parts)
            inside = [np.bincount(some, minlength=n)[:n].astype(np.float64) for some in found.inside]
            counted = np.flatnonzero(found.counted).tolist() if item.mean_of_parts else []
            whole = tuple(int(at) for at in counted)
        if each[0] is None or each[1] is None:
            return None
        exact = all(countable(one) and bool(np.isin(one, (0, 1)).all()) for one in each if one is not None)
        return cls(item, config, each[0], np.stack([*inside, np.ones(n)], 1), whole, exact)

    def harms(
        self, answer: Answer, models: int, wanted: Sequence[tuple[int, ...]], signs: np.ndarray, scale: float
    ) -> Harms:
        """Return harms of several models.

        Args:
            answer: Of the models below each other: of each the examples, then any times the same examples with what
                others' scores were changed by.
            models: How many.
            wanted: Of every number the parts that it is the plain mean of.
            signs: 1 where more is worse, -1 where less is, ``(wanted,)``.
            scale: How many examples one of these stands for.
        """
        each = answer.matrix() if self.item.outcomes is None else self.item.outcomes(answer, self.config)[:, 0]
        moved = np.asarray(each, np.float64).reshape(models, -1, len(self.base)) - self.base
        parts = sorted({part for some in wanted for part in some})
        inside = self.inside[:, parts]
        n = inside.sum(0)
        own = self._moments(moved[:, 0], inside / n)
        weight, mixed = np.ones_like(own[0]), own
        if moved.shape[1] > 1:
            others = self._moments(moved[:, 1:].reshape(-1, len(self.base)), inside / n)
            times = moved.shape[1] - 1
            others = others.reshape(3, models, times, len(parts)).mean(2)
            se = np.sqrt(np.maximum((own[1] + others[1]) / 2 - (own[0] + others[0]) ** 2 / 4, 0) / (n * scale))
            # What others show is a sample, too: of as many as there are.
            apart = (_APART * others[0]) ** 2 + se**2 * scale / times
            weight = np.where(se > 0, apart / np.where(se > 0, apart + se**2, 1), 1.0)
            mixed = weight * own + (1 - weight) * others
        below, above = self._reach(mixed, n * scale)
        places = {part: at for at, part in enumerate(parts)}
        found = np.empty((4, models, len(wanted)))
        for k, some in enumerate(wanted):
            at = [places[part] for part in some]
            far = (above if signs[k] > 0 else below)[:, at]
            value = signs[k] * mixed[0][:, at].mean(1)
            shift = value - signs[k] * own[0][:, at].mean(1)
            found[:, :, k] = value, value + np.sqrt((far**2).sum(1)) / len(at), weight[:, at].mean(1), shift
        return Harms(*found)

    def _moments(self, moved: np.ndarray, share: np.ndarray) -> np.ndarray:
        """Return first, second and third moments of changes in each part, ``(3, models, parts)``."""
        square = moved**2
        return np.stack([moved @ share, square @ share, moved @ share if self.exact else (square * moved) @ share])

    def _reach(self, moments: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how far below and above each mean its bounds lie, ``(models, parts)`` each."""
        mean, square, cube = moments
        if self.exact:
            # Of changes by -1, 0 and 1: how many rose and fell.
            up, down = n * (square + mean) / 2, n * (square - mean) / 2
            counts = np.stack([up, down, np.broadcast_to(n, up.shape)], -1).reshape(-1, 3)
            # Few different counts occur, and their bounds take longer than to find these.
            few, back = np.unique(np.maximum(counts, 0).round(3), axis=0, return_inverse=True)
            below, above = reach(few[:, 0], few[:, 1], few[:, 2], LEVEL)
            return below[back].reshape(up.shape), above[back].reshape(up.shape)
        variance = np.maximum(square - mean**2, 0)
        third = cube - 3 * mean * variance - mean**3
        with np.errstate(divide="ignore", invalid="ignore"):
            asymmetry = np.nan_to_num(third / variance**1.5) / np.sqrt(n)
        se, z = np.sqrt(variance / np.maximum(n - 1, 1)), np.array(REACHED)
        return -se * hall(-z, asymmetry), se * hall(z, asymmetry)


def _mean(item: Behaviour, config: object, answer: Answer) -> np.ndarray | None:
    values = np.asarray(answer.matrix(), np.float64)
    if values.ndim > 1:
        return None
    tried = np.random.default_rng(0).multinomial(len(values), [1 / len(values)] * len(values), size=2)

    def summarise(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return item.summarise(answer.over(rows), config, weights)

    return contributions(values, summarise, tried.astype(np.float64))
