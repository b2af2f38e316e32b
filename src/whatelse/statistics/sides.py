"""Many effects on the same examples: each model is summarized on the resamples once, then held against any other.

A study holds every candidate against several controls. `whatelse.statistics.paired.effect` would summarize each model
anew for every pair; here it is done once, and a pair costs a subtraction. The numbers are those of `effect`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from whatelse.statistics import counts as counting
from whatelse.statistics import paired, resample
from whatelse.statistics.contributions import contributions
from whatelse.statistics.effect import Effect
from whatelse.statistics.resample import Resamples
from whatelse.statistics.shared import Group, Shared

# How many examples are left out in turn: evenly apart, and of different kinds; and which columns tell kinds.
_EVEN, _KINDS, _COLUMNS, _FEW = 64, 256, 8, 64


class Side(NamedTuple):
    """A summary of one model's values, for S seeds.

    Attributes:
        points: On the sample, ``(S,)``.
        drawn: On every resample, ``(draws, S)``; None where the values are all there is, not a sample.
        left: The least and the largest summary with one example left out, ``(2, S)``; None as above.
        units: Number of examples, or of clusters; of a part, those in it.
        each: What every example adds to a summary that is a mean, ``(N,)``; None of other summaries, of several seeds
            and of clusters.
        strata: The outcomes of every part that a summary is the plain mean of; None as above.
        whole: Whether it is a part in which every outcome is 0 or 1, so that one unit moves it by a share of its own.
    """

    points: np.ndarray
    drawn: np.ndarray | None
    left: np.ndarray | None
    units: int
    each: np.ndarray | None = None
    strata: tuple[np.ndarray, ...] | None = None
    whole: bool = False


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Which examples each part is the mean outcome of.

    Attributes:
        each: Outcome of every example, for each seed, ``(S, N)``.
        inside: Places of the examples of each part; an example is in one part of each grouping, or in none.
        counted: Whether the number that is summarized is of the part, ``(parts,)``.
        averaged: Whether that number is the plain mean of those parts: as long as every answer is right, a minimum
            looks like a mean, so that it has to be said.
    """

    each: np.ndarray
    inside: tuple[np.ndarray, ...]
    counted: np.ndarray
    averaged: bool = False

    def sizes(self, clusters: np.ndarray | None = None) -> list[int]:
        """Return how many examples, or clusters, each part has.

        Args:
            clusters: Code of each example's cluster, ``(N,)``.
        """
        return [len(i) if clusters is None else len(np.unique(clusters[i])) for i in self.inside]

    def strata(self) -> tuple[np.ndarray, ...] | None:
        """Return the outcomes of each part of a mean over parts, of the one seed; None of any other number."""
        if not self.averaged or not np.isfinite(self.each).all() or not self.counted.any():
            return None
        return tuple(self.each[0, part] for part, told in zip(self.inside, self.counted, strict=True) if told)


def outcomes(told: Sequence[np.ndarray], parts: int, *, averaged: bool = False) -> Outcomes:
    """Return which examples each part is of, from what a behaviour's ``outcomes`` returned for every seed.

    Args:
        told: Each ``(N, 1 + 2 J)``: the outcome of an example, NaN where parts are no means of outcomes; the place of
            its part in each of J groupings, and the same where the part counts in the number. Below zero is no part.
        parts: How many parts there are; one without an example is of nobody.
        averaged: Whether the number is the plain mean of the parts that count.
    """
    rows = np.asarray(told[0], np.float64)
    half = rows.shape[1] // 2
    codes, counted = rows[:, 1 : 1 + half], rows[:, 1 + half :]
    place, part = np.divmod(np.argsort(codes, axis=None, kind="stable"), max(1, half)), np.sort(codes, axis=None)
    ends = np.searchsorted(part, np.arange(parts + 1))
    inside = tuple(np.sort(place[0][start:end]) for start, end in itertools.pairwise(ends))
    each = np.stack([np.asarray(t, np.float64)[:, 0] for t in told])
    return Outcomes(each, inside, np.isin(np.arange(parts), counted), averaged)


def side(
    values: Sequence[np.ndarray],
    summarise: paired.Summarise,
    resamples: Resamples | None,
    told: Outcomes | None = None,
) -> Side:
    """Return one model's side of its effects.

    Args:
        values: For each seed ``(N,)`` or ``(N, k)``.
        summarise: From values and counts ``(draws, N)`` to one number for each resample, ``(draws,)``.
        resamples: The resamples; None where the values are all there is, not a sample: only seeds vary.
        told: Where the summary is of parts, such as a minimum over groups, what each is of: what the smallest of them
            did not show is not excluded.
    """
    return side_later(values, summarise, _alone(resamples), told)()


def side_later(
    values: Sequence[np.ndarray], summarise: paired.Summarise, group: Group | None, told: Outcomes | None = None
) -> Callable[[], Side]:
    """Return what gives one model's side of its effects once the resamples are drawn.

    Args:
        values: As in `side`.
        summarise: As in `side`.
        group: What it waits for resamples with; None where the values are all there is.
        told: As in `side`.
    """
    asked = _asked(values, lambda v, counts: summarise(v, counts)[:, None], group)
    exactly = told is None and len(values) == 1 and group is not None and group.shared.resamples.clusters is None
    each = None
    if exactly and not np.isnan(values[0]).any():
        tried = resample.counts(len(values[0]), 2, np.random.default_rng(0)).astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            each = contributions(np.asarray(values[0], np.float64), summarise, tried)

    def made() -> Side:
        found = asked()[0]
        if group is None or found.drawn is None:
            return found
        clusters = group.shared.resamples.clusters
        if told is not None:
            sizes = np.array(told.sizes(clusters))[told.counted]
            found = found._replace(units=min([found.units, *sizes.tolist()]))
        if len(values) > 1 or clusters is not None:
            return found
        return found._replace(each=each) if told is None else found._replace(strata=told.strata())

    return made


def parts(
    values: Sequence[np.ndarray],
    by_part: paired.Summarise,
    resamples: Resamples | None,
    told: Outcomes | None = None,
) -> list[Side]:
    """Return one model's sides of its effects on each part, such as a group or a layer.

    Args:
        values: For each seed ``(N,)`` or ``(N, k)``.
        by_part: From values and counts ``(draws, N)`` to a number for each resample and part, ``(draws, parts)``.
        resamples: As in `side`.
        told: Where a part's number is the mean outcome of the examples in it, which those are.
    """
    return parts_later(values, by_part, _alone(resamples), told)()


def parts_later(
    values: Sequence[np.ndarray], by_part: paired.Summarise, group: Group | None, told: Outcomes | None = None
) -> Callable[[], list[Side]]:
    """Return what gives one model's sides of its effects on each part once the resamples are drawn.

    Args:
        values: As in `parts`.
        by_part: As in `parts`.
        group: As in `side_later`.
        told: As in `parts`.
    """
    asked = _asked(values, by_part, group)

    def made() -> list[Side]:
        found = asked()
        if told is None or group is None:
            return found
        clusters = group.shared.resamples.clusters
        exact = len(values) == 1 and clusters is None and bool(np.isfinite(told.each).all())
        whole = bool(np.isin(told.each, (0, 1)).all())
        return [
            part._replace(
                units=units, whole=whole, each=told.each[0, at] if exact and part.drawn is not None and units else None
            )
            for part, at, units in zip(found, told.inside, told.sizes(clusters), strict=True)
        ]

    return made


def _alone(resamples: Resamples | None) -> Group | None:
    return None if resamples is None else Shared(resamples).group()


def _asked(values: Sequence[np.ndarray], answer: paired.Summarise, group: Group | None) -> Callable[[], list[Side]]:
    if any(np.isnan(v).any() for v in values):
        # A number for each part all the same, of values that are numbers: only how many there are is asked.
        count = answer(np.nan_to_num(np.asarray(values[0], np.float64)), np.ones((1, len(values[0])))).shape[1]
        return lambda: [Side(np.full(len(values), np.nan), None, None, 0) for _ in range(count)]

    def of(v: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        def answers(counts: np.ndarray) -> np.ndarray:
            # In double precision one seed at a time: all of them would be twice what was loaded.
            with np.errstate(divide="ignore", invalid="ignore"):
                return answer(np.asarray(v, np.float64), counts)

        return answers

    points = np.stack([of(v)(np.ones((1, len(v))))[0] for v in values])
    if group is None:
        return lambda: [Side(column, None, None, 0) for column in points.T]
    later = [group.ask(of(v), v.nbytes) for v in values]
    clusters, n = group.shared.resamples.clusters, len(values[0])
    size, unit = resample.units(n, clusters)
    out = _telling(values) if clusters is None else np.linspace(0, size - 1, min(size, _EVEN)).astype(int)
    # Of enough of them to see how far one unit moves them, should nothing vary.
    left = np.stack([one.without(out, unit) for one in later], 1)
    extremes = np.stack([left.min(0), left.max(0)])

    def made() -> list[Side]:
        drawn = np.stack([one.drawn() for one in later], 1)
        return [Side(points[:, j], drawn[:, :, j], extremes[:, :, j], size) for j in range(points.shape[1])]

    return made


def _telling(values: Sequence[np.ndarray]) -> np.ndarray:
    """Return examples that are left out in turn: some evenly apart, and one of each kind, such as a small group.

    Kinds are told by the columns of few different values: outcomes, groups, classes.
    """
    n = len(values[0])
    even = np.linspace(0, n - 1, min(n, _EVEN)).astype(int)
    columns = np.concatenate([np.reshape(v, (n, -1))[:, :_COLUMNS] for v in values], 1)
    few = [c for c in columns.T if len(np.unique(c)) <= _FEW]
    if not few:
        return np.unique(even)
    _, first = np.unique(np.stack(few, 1), axis=0, return_index=True)
    return np.unique(np.concatenate([even, first[np.linspace(0, len(first) - 1, min(len(first), _KINDS)).astype(int)]]))


def share(mine: Side, least: Side, most: Side) -> Side:
    """Return how far a model stands on the way from one model to another: 0 at the first, 1 at the second.

    Args:
        mine: The model.
        least: Where the way begins, such as a random model.
        most: Where it ends, such as the placebo.
    """

    def placed(at: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(high == low, np.nan, (at - low) / (high - low)))

    points = placed(mine.points, least.points, most.points)
    if mine.drawn is None or least.drawn is None or most.drawn is None:
        return Side(points, None, None, mine.units)
    # One example moves a share little; where nothing varies, the two points stand for it.
    return Side(points, placed(mine.drawn, least.drawn, most.drawn), np.stack([points, points]), mine.units)


def zero(like: Side) -> Side:
    """Return the side of a model whose summary is zero on every resample.

    Args:
        like: Any side made on the same resamples.
    """
    drawn, left = (None if part is None else np.zeros_like(part) for part in (like.drawn, like.left))
    return Side(np.zeros_like(like.points), drawn, left, like.units, whole=like.whole)


def contrast(before: Side, after: Side, rng: np.random.Generator, *, draws: int = 10_000) -> Effect:
    """Return the effect of one side over another that was made on the same resamples.

    Args:
        before: The control's.
        after: The candidate's.
        rng: Where the random numbers come from.
        draws: Number of draws where the sides are no samples.

    Raises:
        ValueError: Numbers of seeds differ.
    """
    if len(before.points) != len(after.points):
        raise ValueError(
            f"before has {len(before.points)} seeds and after has {len(after.points)}; the same are needed"
        )
    points = np.stack([before.points, after.points], 1)
    found = _counted(before, after, points)
    if found is not None:
        return found
    drawn = None if before.drawn is None or after.drawn is None else after.drawn - before.drawn
    units, whole = after.units or before.units, before.whole and after.whole

    def unseen(count: int) -> np.ndarray:
        if whole:
            return counting.fewest(float((points[:, 1] - points[:, 0]).mean()), units, count)
        assert before.left is not None
        assert after.left is not None
        return paired.spread_of_unseen(np.stack([before.left, after.left], 2), units, count)

    asymmetry = 0.0
    if before.each is not None and after.each is not None and not whole:
        asymmetry = paired.skewness(after.each - before.each)
    return paired.judged(points, drawn, unseen, rng, draws, units, floored=whole, asymmetry=asymmetry)


def of_seeds(of: Side, which: np.ndarray) -> Side:
    """Return a side as it would be with other seeds: some of them, perhaps more than once.

    Args:
        of: Any side, of several seeds.
        which: Numbers of seeds, ``(S,)``.
    """
    drawn = None if of.drawn is None else of.drawn[:, which]
    left = None if of.left is None else of.left[:, which]
    return Side(of.points[which], drawn, left, of.units, whole=of.whole)


def _counted(before: Side, after: Side, points: np.ndarray) -> Effect | None:
    """Return the effect from exact counts, where every example moves the summary by -1, 0 or 1 of its share."""
    ends = points.mean(0).tolist()
    if before.each is not None and after.each is not None and counting.countable(before.each):
        return counting.counted(ends[0], ends[1], after.each - before.each)
    if before.strata is not None and after.strata is not None:
        changes = [a - b for b, a in zip(before.strata, after.strata, strict=True)]
        return counting.averaged(ends[0], ends[1], changes)
    return None


def bias(of: Side) -> float:
    """Return by how many of its standard errors resampling moves a summary away from that of the sample.

    About 0 of a mean. An unsigned sum, such as a binned calibration error, grows with every resampling; what moves by
    more than its error has no interval that covers (docs/decisions/0018-intervals.md).

    Args:
        of: Any side.
    """
    # Exact counts are not resampled; what has no number on the sample, or on no resample, has no bias either.
    if of.drawn is None or of.strata is not None or not np.isfinite(of.points).all() or np.isnan(of.drawn).all(0).any():
        return 0.0
    spread = of.drawn.std(0)
    moved = np.abs(np.nanmean(of.drawn, 0) - of.points)
    return float(np.mean(np.where(spread > 0, moved / np.where(spread > 0, spread, 1), 0)))
