"""Many effects on the same examples: each model is summarized on the resamples once, then held against any other.

A study holds every candidate against several controls. `whatelse.statistics.paired.effect` would summarize each model
anew for every pair; here it is done once, and a pair costs a subtraction. The numbers are those of `effect`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from whatelse.statistics import paired, resample
from whatelse.statistics.contributions import contributions
from whatelse.statistics.resample import Resamples

# How many examples are left out in turn: evenly apart, and of different kinds; and which columns tell kinds.
_EVEN, _KINDS, _COLUMNS, _FEW = 64, 256, 8, 64
# A part's number that differs from the mean outcome by less is that mean.
_ROUNDING = 1e-9


class Side(NamedTuple):
    """A summary of one model's values, for S seeds.

    Attributes:
        points: On the sample, ``(S,)``.
        drawn: On every resample, ``(draws, S)``; None where the values are all there is, not a sample.
        left: The least and the largest summary with one example left out, ``(2, S)``; None as above.
        units: Number of examples, or of clusters; of a part, those in it.
        each: What every example adds to a summary that is a mean, ``(N,)``; None of other summaries, of several seeds
            and of clusters.
    """

    points: np.ndarray
    drawn: np.ndarray | None
    left: np.ndarray | None
    units: int
    each: np.ndarray | None = None


def side(
    values: Sequence[np.ndarray], summarise: paired.Summarise, resamples: Resamples | None, smallest: int = 0
) -> Side:
    """Return one model's side of its effects.

    Args:
        values: For each seed ``(N,)`` or ``(N, k)``.
        summarise: From values and counts ``(draws, N)`` to one number for each resample, ``(draws,)``.
        resamples: The resamples; None where the values are all there is, not a sample: only seeds vary.
        smallest: Examples of the smallest part, where the summary is of parts, such as a minimum over groups: what they
            did not show is not excluded.
    """
    found = _sides(values, lambda v, counts: summarise(v, counts)[:, None], resamples)[0]
    if resamples is None or found.drawn is None:
        return found
    if smallest:
        # No mean over examples, even where none of them differs from the others.
        return found._replace(units=min(found.units, smallest))
    if len(values) > 1 or resamples.clusters is not None:
        return found
    tried = next(resamples.blocks())[:2]
    with np.errstate(divide="ignore", invalid="ignore"):
        return found._replace(each=contributions(np.asarray(values[0], np.float64), summarise, tried))


def parts(
    values: Sequence[np.ndarray],
    breakdown: paired.Summarise,
    resamples: Resamples | None,
    outcomes: np.ndarray | None = None,
) -> list[Side]:
    """Return one model's sides of its effects on each part, such as a group or a layer.

    Args:
        values: For each seed ``(N,)`` or ``(N, k)``.
        breakdown: From values and counts ``(draws, N)`` to a number for each resample and part, ``(draws, parts)``.
        resamples: As in `side`.
        outcomes: Where a part's number is made of the outcomes of the examples in it: for each seed and example the
            outcome and the code of its part, ``(S, N, 2)``; codes below zero are of none, parts go by rising code. A
            number that is their mean gets exact bounds.
    """
    found = _sides(values, breakdown, resamples)
    if outcomes is None or resamples is None:
        return found
    code = outcomes[0, :, 1]
    inside = [code == known for known in np.unique(code[code >= 0])]
    exact = len(values) == 1 and resamples.clusters is None
    return [_sized(part, outcomes[0, mine, 0], exact=exact) for part, mine in zip(found, inside, strict=True)]


def _sized(part: Side, each: np.ndarray, *, exact: bool) -> Side:
    mean = exact and part.drawn is not None and abs(float(part.points[0]) - float(each.mean())) < _ROUNDING
    return part._replace(units=len(each), each=each if mean else None)


def _sides(values: Sequence[np.ndarray], breakdown: paired.Summarise, resamples: Resamples | None) -> list[Side]:
    if any(np.isnan(v).any() for v in values):
        # A number for each part all the same, of values that are numbers: only how many there are is asked.
        count = breakdown(np.nan_to_num(np.asarray(values[0], np.float64)), np.ones((1, len(values[0])))).shape[1]
        return [Side(np.full(len(values), np.nan), None, None, 0) for _ in range(count)]

    def answers(counts: np.ndarray) -> np.ndarray:
        # In double precision one seed at a time: all of them would be twice what was loaded.
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.stack([breakdown(np.asarray(v, np.float64), counts) for v in values], 1)

    if resamples is None:
        alone = [breakdown(np.asarray(v, np.float64), np.ones((1, len(v))))[0] for v in values]
        return [Side(column, None, None, 0) for column in np.stack(alone, 1)]
    n = len(values[0])
    points = answers(np.ones((1, n)))[0]
    drawn = np.concatenate([answers(block) for block in resamples.blocks()])
    extremes = _extremes(values, answers, resamples.clusters)
    units = resample.units(n, resamples.clusters)[0]
    return [Side(points[:, j], drawn[:, :, j], extremes[:, :, j], units) for j in range(points.shape[1])]


def _extremes(
    values: Sequence[np.ndarray], answers: Callable[[np.ndarray], np.ndarray], clusters: np.ndarray | None
) -> np.ndarray:
    """Return the least and the largest summaries with one unit left out, ``(2, S, parts)``.

    Of enough of them to see how far one unit moves them, should nothing vary.
    """
    n = len(values[0])
    size, unit = resample.units(n, clusters)
    out = _telling(values) if clusters is None else np.linspace(0, size - 1, min(size, _EVEN)).astype(int)
    left = np.concatenate([answers(1.0 - (out[some, None] == unit)) for some in resample.blocks(len(out), n)])
    return np.stack([left.min(0), left.max(0)])


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
    return Side(np.zeros_like(like.points), drawn, left, like.units)


def contrast(before: Side, after: Side, rng: np.random.Generator, *, draws: int = 10_000) -> paired.Effect:
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
    if before.each is not None and after.each is not None and paired.countable(before.each):
        found = paired.counted(float(points[0, 0]), float(points[0, 1]), after.each - before.each)
        if found is not None:
            return found
    drawn = None if before.drawn is None or after.drawn is None else after.drawn - before.drawn
    units = after.units or before.units

    def unseen(count: int) -> np.ndarray:
        assert before.left is not None
        assert after.left is not None
        return paired.spread_of_unseen(np.stack([before.left, after.left], 2), units, count)

    return paired.judged(points, drawn, unseen, rng, draws, units)


def bias(of: Side) -> float:
    """Return by how many of its standard errors resampling moves a summary away from that of the sample.

    About 0 of a mean. An unsigned sum, such as a binned calibration error, grows with every resampling; what moves by
    more than its error has no interval that covers (docs/decisions/0018-intervals.md).

    Args:
        of: Any side.
    """
    if of.drawn is None or np.isnan(of.drawn).all(0).any():
        return 0.0
    spread = of.drawn.std(0)
    moved = np.abs(np.nanmean(of.drawn, 0) - of.points)
    return float(np.mean(np.where(spread > 0, moved / np.where(spread > 0, spread, 1), 0)))
