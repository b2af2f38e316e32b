"""Predicts by how much any configuration exceeds each budget, around one that was measured.

Class scores of a configuration are those that were measured at the center, moved by what the changed options move
(`sensitivity`); budgets are held against them by the judge. What the judge predicts of the center itself is replaced by
what was measured there, and of a step from it only a share is believed, learned of the steps that were measured: after
training, or where layers work against each other, it is less or more than 1. A budget that scores do not tell, such as
one on an attack, is regressed on how far scores move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from whatelse.searching.gauge import chance
from whatelse.searching.protocol import Judge, Score
from whatelse.searching.space import Configuration

_PRIOR, _STEP = 4.0, 0.05  # steps, and their size in shares of a budget, that the belief in predictions weighs


@dataclass(eq=False)
class Center:
    """A configuration that was measured.

    Attributes:
        at: The configuration.
        scores: Its class scores on the judge's examples, ``(n, classes)``.
        measured: By how much it exceeds each budget, ``(budgets,)``; NaN where that was not measured.
        judged: What the judge says of its scores, likewise; NaN where it cannot tell.
        spread: How far a confirmation strays in each, likewise; zero where that is not known.
        far: How far its scores are from the baseline's.
        chance: That a confirmation passes, as far as it was measured.
    """

    at: Configuration
    scores: Tensor
    measured: np.ndarray
    judged: np.ndarray
    spread: np.ndarray
    far: float = 0.0
    chance: float = 1.0


@dataclass(eq=False)
class Surrogate:
    """What was learned of how options move scores and budgets.

    Attributes:
        moves: By axis and option what it moves scores by, ``(n, classes)``; None where it cannot be made alone.
        judge: Holds scores against budgets.
        base: Class scores of the baseline, ``(n, classes)``.
        errors: Of every step that was measured, predicted and measured excess of each budget.
    """

    moves: Sequence[Sequence[Tensor | None]]
    judge: Judge
    base: Tensor
    errors: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    _came: np.ndarray | float = 0.0
    _said: np.ndarray | float = 0.0
    _far: list[tuple[float, np.ndarray]] = field(default_factory=list)
    _apart: list[np.ndarray] = field(default_factory=list)
    _judged: dict[tuple[Configuration, Configuration], tuple[np.ndarray, float]] = field(default_factory=dict)
    _line: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def begin(self, at: Configuration) -> Center:
        """Return the baseline as the first center: budgets that scores do not tell are taken as wholly unspent.

        Args:
            at: The configuration that changes nothing.
        """
        judged = self.judge.over([self.base])[0]
        measured = np.where(self.judge.seen, judged, -1.0)
        self._far.append((0.0, measured))
        return Center(at, self.base, measured, judged, np.zeros(len(judged)))

    def center(self, at: Configuration, score: Score) -> Center:
        """Return a measured configuration to predict around.

        Args:
            at: The configuration.
            score: How it did; it has class scores.
        """
        assert score.scores is not None
        measured = np.array([score.over.get(name, np.nan) for name in self.judge.names])
        self._far.append((self.distance(score.scores), measured))
        self._line = None
        strays = np.array([score.spread.get(name, 0.0) for name in self.judge.names])
        judged, sure = self.judge.over([score.scores])[0], chance(score.over, score.spread)
        return Center(at, score.scores, measured, judged, strays, self._far[-1][0], sure)

    def distance(self, scores: Tensor) -> float:
        """Return how far scores are from the baseline's: the root of their mean squared change.

        Args:
            scores: ``(n, classes)``.
        """
        return float((scores - self.base).square().mean().sqrt())

    def nearest(self, centers: Sequence[Center], asked: Sequence[Configuration]) -> list[Center]:
        """Return of each configuration the measured one from which scores are predicted to move least.

        Args:
            centers: Those that were measured.
            asked: The configurations that are to be predicted.
        """
        if not self._apart:
            self._apart = [_apart(options) for options in self.moves]
        have, want = np.array([one.at for one in centers]), np.array(asked)
        far = sum(table[have[:, axis][:, None], want[:, axis]] for axis, table in enumerate(self._apart))
        return [centers[at] for at in np.argmin(far, 0)]

    def scores(self, center: Center, at: Configuration) -> Tensor:
        """Return the class scores that are predicted of a configuration, ``(n, classes)``.

        Args:
            center: What it is predicted around.
            at: The configuration.
        """
        moved = center.scores
        for axis, (old, new) in enumerate(zip(center.at, at, strict=True)):
            if old != new:
                before, after = self.moves[axis][old], self.moves[axis][new]
                if before is not None and after is not None:
                    moved = moved + (after - before)
        return moved

    def over(self, center: Center, asked: Sequence[Configuration]) -> np.ndarray:
        """Return by how much configurations are predicted to exceed each budget, ``(M, budgets)``.

        Args:
            center: What they are predicted around.
            asked: The configurations.
        """
        return self.over_around([center] * len(asked), asked)

    def over_around(self, centers: Sequence[Center], asked: Sequence[Configuration]) -> np.ndarray:
        """Return what `over` does, each around a measured configuration of its own, ``(M, budgets)``.

        Args:
            centers: One for each.
            asked: The configurations.
        """
        raws, far = self._raw(centers, asked)
        by: dict[Configuration, tuple[Center, list[int]]] = {}
        for at, center in enumerate(centers):
            by.setdefault(center.at, (center, []))[1].append(at)
        found = np.empty_like(raws)
        for center, some in by.values():
            found[some] = self._around(center, raws[some], [far[at] for at in some])
        return found

    def _around(self, center: Center, raws: np.ndarray, far: Sequence[float]) -> np.ndarray:
        raw = raws - center.judged
        known = np.where(np.isnan(center.measured), self._guess(center.far), center.measured)
        found = known + self.belief() * raw
        guessed = np.stack([self._guess(one) for one in far]) - self._guess(center.far)
        told: np.ndarray = np.where(self.judge.seen, found, known + guessed)
        return told

    def _raw(self, centers: Sequence[Center], asked: Sequence[Configuration]) -> tuple[np.ndarray, list[float]]:
        """Return what the judge says of predicted scores, ``(M, budgets)``, and how far these are from the baseline's.

        What was asked before is known: a search comes back to its best again and again.
        """
        pairs = list(zip(centers, asked, strict=True))
        new = {(one.at, at): (one, at) for one, at in pairs if (one.at, at) not in self._judged}
        scores = [self.scores(*pair) for pair in new.values()]
        for known, one, row in zip(new, scores, self.judge.over(scores), strict=True):
            self._judged[known] = row, self.distance(one)
        rows = [self._judged[one.at, at] for one, at in pairs]
        return np.stack([row for row, _ in rows]), [far for _, far in rows]

    def note(self, center: Center, at: Configuration, found: Center) -> None:
        """Learn from a configuration that was proposed around a center and then measured.

        Args:
            center: What it was predicted around.
            at: The configuration.
            found: What was measured of it.
        """
        raw = self._raw([center], [at])[0][0] - center.judged
        self.errors.append((center.measured + self.belief() * raw, found.measured))
        real = found.measured - center.measured
        good = np.isfinite(raw) & np.isfinite(real)
        self._came = self._came + np.where(good, raw * real, 0)
        self._said = self._said + np.where(good, raw * raw, 0)

    def belief(self) -> np.ndarray:
        """Return which share of a predicted step is believed, ``(budgets,)``: by regression through the origin."""
        prior = _PRIOR * _STEP**2
        share: np.ndarray = np.clip((self._came + prior) / (self._said + prior), 0.1, 3.0)
        return share

    def _guess(self, distance: float) -> np.ndarray:
        """Return what is expected of each budget at a distance from the baseline, ``(budgets,)``: by a line.

        It never falls with the distance: nearer to the baseline is not taken for worse.
        """
        if self._line is None:
            self._line = _lines(np.array([d for d, _ in self._far]), np.stack([m for _, m in self._far]))
        middle, level, slope = self._line
        told: np.ndarray = level + slope * (distance - middle)
        return told


def _apart(options: Sequence[Tensor | None]) -> np.ndarray:
    """Return how far scores move, squared, from each option of an axis to each other; infinite where it cannot be made.

    ``|a - b|^2 = |a|^2 + |b|^2 - 2 ab``.
    """
    made = [at for at, one in enumerate(options) if one is not None]
    rows = torch.stack([one.flatten() for one in options if one is not None]).double()
    products = (rows @ rows.T / rows.shape[1]).numpy()
    squares = np.diag(products)
    found = np.full((len(options), len(options)), np.inf)
    found[np.ix_(made, made)] = np.maximum(squares[:, None] + squares - 2 * products, 0)
    return found


def _lines(far: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean distance, mean excess and slope of each budget, ``(budgets,)``, over what was measured of it."""
    known = np.isfinite(found)
    count = np.maximum(known.sum(0), 1)
    values = np.where(known, found, 0.0)
    middle = (known * far[:, None]).sum(0) / count
    level = np.where(known.any(0), values.sum(0) / count, -1.0)
    off = np.where(known, far[:, None] - middle, 0.0)
    spread_of = (off**2).sum(0)
    slope = np.where(spread_of > 0, (off * values).sum(0) / np.where(spread_of > 0, spread_of, 1.0), 0.0)
    return middle, level, np.maximum(slope, 0.0)


def spread(errors: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray | None:
    """Return the median absolute error of predictions for each budget; None where nothing was predicted.

    Args:
        errors: As `Surrogate.errors`.
    """
    if not errors:
        return None
    with np.errstate(invalid="ignore"):
        off = np.abs(np.stack([real - said for said, real in errors]))
    return np.array([np.nan if np.isnan(column).all() else np.nanmedian(column) for column in off.T])
