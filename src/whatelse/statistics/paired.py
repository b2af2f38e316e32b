"""The effect of a candidate against its control on the same examples, with its intervals.

Any summary is resampled, not only means: an area under a curve or a minimum over groups gets the interval of an area
or of a minimum. One seed is resampled over examples, several over seeds and examples both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from whatelse.statistics import counts as counting
from whatelse.statistics import resample, summaries
from whatelse.statistics.contributions import contributions
from whatelse.statistics.effect import LEVELS, Effect

Summarise = Callable[[np.ndarray, np.ndarray], np.ndarray]
Pairs = list[tuple[np.ndarray, np.ndarray]]

# A sample of at most so many different rows is resampled by row. More would cost more than drawing examples.
_FEW = 64
# A resample may lack a whole group; with more undefined resamples than this share there is no interval.
_UNDEFINED = 0.05
# Skewness of a mean below which its intervals are left as they are.
_SYMMETRIC = 1e-6


def effect(
    before: Sequence[np.ndarray],
    after: Sequence[np.ndarray],
    summarise: Summarise,
    rng: np.random.Generator,
    *,
    draws: int = 10_000,
    clusters: np.ndarray | None = None,
    exact: bool = False,
    resamples: np.ndarray | None = None,
) -> Effect:
    """Return the effect, its 95 % and 90 % intervals, two-sided p value (never 0) and standard error.

    With one seed the interval is the percentile bootstrap over examples, stretched as Student's t is over the normal
    (`stretched`); a mean that every example moves by -1, 0 or 1 has exact bounds (`counts.counted`). With S > 1 seeds
    it is that of the mean over seeds without the part that seeds do not share, plus a Student t with S - 1 degrees of
    freedom over seeds (docs/decisions/0003-crossed-seeds.md). The standard error with S > 1 is half the 95 % interval
    over 1.96, so that it counts how few the seeds are. Where no example changed, the interval is that of an event never
    seen in n examples (the rule of three), not a point. The interval is NaN where values are NaN, where the summary is
    undefined, or where more than 5 % of its resamples are.

    Args:
        before: The control's values, for each seed ``(N,)`` or ``(N, k)``.
        after: The candidate's values for the same seeds and the same N examples, in the same order.
        summarise: From values and counts ``(draws, N)`` to one number for each resample, ``(draws,)``.
        rng: Where the random numbers come from.
        draws: Number of resamples.
        clusters: Code of each example's cluster, ``(N,)``; clusters are resampled whole.
        exact: The values are all there is, not a sample: only seeds vary.
        resamples: Counts that `resample.counts` returned, ``(draws, N)``, for use in several calls; then nothing is
            exact, and clusters are to be given as well where they were drawn whole.

    Raises:
        ValueError: Numbers of seeds or of examples differ, or are 0, or resamples or clusters do not fit them.
    """
    pairs = _paired(before, after, resamples)
    if any(np.isnan(values).any() for pair in pairs for values in pair):
        return _nothing(math.nan, math.nan)
    sample = _Sample(pairs, np.ones(len(pairs[0][0])), summarise, clusters)
    points = sample.both(sample.often[None])[0]
    if not np.isfinite(points).all():
        return _nothing(*points.mean(0))
    if exact:
        return judged(points, None, sample.unseen, rng, draws)
    asymmetry = 0.0
    if clusters is None and resamples is None and len(pairs) == 1:
        each = sample.each(rng)
        found = None if each is None else sample.exactly(*each)
        if found is not None:
            return found
        asymmetry = 0.0 if each is None else skewness(each[1] - each[0])
    units = resample.units(len(pairs[0][0]), clusters)[0]
    if clusters is None and resamples is None:
        sample = sample.collapsed(rng)
    return judged(points, sample.drawn(draws, rng, resamples), sample.unseen, rng, draws, units, asymmetry=asymmetry)


def judged(
    points: np.ndarray,
    drawn: np.ndarray | None,
    unseen: Callable[[int], np.ndarray],
    rng: np.random.Generator,
    draws: int,
    units: int = 0,
    *,
    floored: bool = False,
    asymmetry: float = 0.0,
) -> Effect:
    """Return the effect, its intervals, p value and standard error from what was drawn already.

    Args:
        points: Summaries of control and candidate for every seed, ``(S, 2)``.
        drawn: Effect of every seed in every resample, ``(draws, S)``; None where only seeds vary.
        unseen: Gives the offsets of a sample in which nothing varies, ``(draws,)``.
        rng: Where the random numbers come from.
        draws: Number of draws where only seeds vary.
        units: Number of examples, or of clusters, that were resampled; 0 where it is not known.
        floored: True widens every bound to at least that of ``unseen``, as a part of few examples needs it: a single
            change in one of many seeds shows no more than none at all.
        asymmetry: Skewness of the effect's own distribution, where it is a mean; 0 where that is not known.
    """
    if not np.isfinite(points).all():
        return _nothing(*points.mean(0))
    each = points[:, 1] - points[:, 0]
    offsets = np.zeros(draws)
    if drawn is not None:
        defined = ~np.isnan(drawn).any(1)
        # A part of few is missing from many resamples; that they are few is in its floor.
        if defined.mean() < 1 - _UNDEFINED and not (floored and defined.any()):
            return _nothing(*points.mean(0))
        drawn = drawn[defined]
        offsets = _shared(drawn) if len(each) > 1 else stretched(drawn[:, 0] - each[0], units, rng)
        offsets = offsets if len(each) > 1 else unskewed(offsets, asymmetry)
    if len(each) > 1:
        spread = math.sqrt(each.var(ddof=1) / len(each))
        offsets += rng.standard_t(len(each) - 1, len(offsets)) * spread
    if drawn is not None and np.ptp(offsets) <= 1e-9 * np.abs(points).max():
        offsets = unseen(len(offsets))
    elif drawn is not None and floored:
        near, far = np.sort(offsets), np.sort(unseen(len(offsets)))
        offsets = np.where(far < 0, np.minimum(near, far), np.maximum(near, far))
    return _of(points, offsets)


def stretched(offsets: np.ndarray, units: int, rng: np.random.Generator) -> np.ndarray:
    """Return resampled offsets as wide as Student's t is over the normal, ``(draws,)``.

    A percentile bootstrap of few units is too narrow twice over: its variance lacks n / (n - 1), and it takes that
    variance for known (Hesterberg, The American Statistician 69:371-386, 2015, whose expanded percentiles this equals).
    Of 200 units nothing is left to see.

    Args:
        offsets: Resampled effects less the effect, ``(draws,)``.
        units: Number of examples, or of clusters, that were resampled; with fewer than 2 nothing is done.
        rng: Where the random numbers come from.
    """
    if units < 2:  # noqa: PLR2004 - no variance of one
        return offsets
    spread = rng.chisquare(units - 1, len(offsets))
    return np.asarray(offsets * np.sqrt(units / spread))


def skewness(changes: np.ndarray) -> float:
    """Return the skewness of the mean of changes: that of a change, over the root of their number; 0 of equal ones.

    Args:
        changes: Of each example, ``(N,)``.
    """
    off = changes - changes.mean()
    spread = float(np.sqrt(np.mean(off**2)))
    return float(np.mean((off / spread) ** 3)) / math.sqrt(len(changes)) if spread > 0 else 0.0


def unskewed(offsets: np.ndarray, asymmetry: float) -> np.ndarray:
    """Return resampled offsets of a mean with the bounds that its skewness asks for, ``(draws,)``.

    Where a few examples carry the harm, as with losses, a sample that lacks some of them shows less harm and less
    spread at once, so that percentiles end too near: an upper bound of level .05 errs with .1 to .15. Hall's cubic
    transformation takes the skewness out of Student's ratio, and is monotone (Hall, Journal of the Royal Statistical
    Society B 54:221-228, 1992). Of what it asks beyond the percentiles, only that is added: without skewness nothing.

    Args:
        offsets: Resampled effects less the effect, ``(draws,)``.
        asymmetry: Skewness of the mean.
    """
    if abs(asymmetry) < _SYMMETRIC:
        return offsets
    z = ndtri((np.arange(len(offsets)) + 0.5) / len(offsets))
    shown = z + asymmetry * (z**2 - 1) / 6
    moved: np.ndarray = np.sort(offsets) + offsets.std() * (hall(z, np.array(asymmetry)) - shown)
    return moved


def hall(z: np.ndarray, asymmetry: np.ndarray) -> np.ndarray:
    """Return how many standard errors above a mean its bounds lie, of the shape of both together.

    Args:
        z: Normal quantiles.
        asymmetry: Skewness of the mean.
    """
    near = np.where(np.abs(asymmetry) < _SYMMETRIC, _SYMMETRIC, asymmetry)
    return np.asarray(3 / near * (1 - np.cbrt(1 - near * (z + near / 6))))


@dataclass(frozen=True)
class _Sample:
    """The rows of values of all seeds, how often each row occurs, and the summary that is asked of resamples."""

    pairs: Pairs
    often: np.ndarray
    summarise: Summarise
    clusters: np.ndarray | None = None

    def collapsed(self, rng: np.random.Generator) -> _Sample:
        """Return the same sample with equal rows taken together, if there are few different ones.

        Counts then are drawn for a handful of rows in place of all examples. A summary is a function of how often
        each row stands in a resample, so that nothing changes; this is tried on the sample and two resamples, and a
        summary that answers otherwise gets all examples.

        Args:
            rng: Where the random numbers come from.
        """
        n = len(self.often)
        columns = np.concatenate([v.reshape(n, -1) for pair in self.pairs for v in pair], 1)
        if columns.shape[1] > _FEW:
            return self
        _, first, which, often = np.unique(columns, axis=0, return_index=True, return_inverse=True, return_counts=True)
        if len(first) > min(_FEW, n // 4):
            return self
        few = _Sample([(b[first], a[first]) for b, a in self.pairs], often.astype(np.float64), self.summarise)
        tried = np.concatenate([np.ones((1, n)), resample.counts(n, 2, rng)])
        same = np.stack([np.bincount(which.ravel(), row, len(first)) for row in tried])
        agree = np.allclose(self.both(tried), few.both(same), rtol=1e-9, atol=1e-12, equal_nan=True)
        return few if agree else self

    def each(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray] | None:
        """Return what every example adds to the summary of either side, if that is a mean.

        Args:
            rng: Where the random numbers come from.
        """
        tried = resample.counts(len(self.often), 2, rng).astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            before, after = (contributions(values, self.summarise, tried) for values in self.pairs[0])
        return None if before is None or after is None else (before, after)

    def exactly(self, before: np.ndarray, after: np.ndarray) -> Effect | None:
        """Return the effect from exact counts, if every example moves the mean by -1, 0 or 1.

        Args:
            before: What every example adds to the control's, ``(N,)``.
            after: Likewise to the candidate's.
        """
        if not counting.countable(before):
            return None
        return counting.counted(float(before.mean()), float(after.mean()), after - before)

    def both(self, counts: np.ndarray) -> np.ndarray:
        """Return the summaries of both sides, ``(draws, S, 2)``."""
        # A resample may lack what the summary divides by: NaN is the answer, not a warning.
        with np.errstate(divide="ignore", invalid="ignore"):
            sides = [np.stack([self.summarise(values, counts) for values in pair], 1) for pair in self.pairs]
        return np.stack(sides, 1)

    def effects(self, counts: np.ndarray) -> np.ndarray:
        """Return the effect of every seed, ``(draws, S)``."""
        if self.summarise is summaries.mean:
            # The effect on a mean is the mean of differences: one matrix product for all seeds.
            differences = np.stack([after - before for before, after in self.pairs], 1)
            return np.asarray(counts @ differences / counts.sum(1, keepdims=True))
        return np.diff(self.both(counts))[:, :, 0]

    def drawn(self, draws: int, rng: np.random.Generator, resamples: np.ndarray | None) -> np.ndarray:
        """Return the effect of every seed in every resample, ``(draws, S)``."""
        rows, n = len(self.often), int(self.often.sum())
        total = draws if resamples is None else len(resamples)
        out = np.empty((total, len(self.pairs)))
        for some in resample.blocks(total, rows):
            if resamples is not None:
                counts = resamples[some]
            elif rows < n:
                counts = rng.multinomial(n, self.often / n, some.stop - some.start)
            else:
                counts = resample.counts(n, some.stop - some.start, rng, self.clusters)
            out[some] = self.effects(counts.astype(np.float64, copy=False))
        return out

    def unseen(self, draws: int) -> np.ndarray:
        """Return offsets for a sample in which nothing varies: what n examples cannot exclude, ``(draws,)``.

        A change that strikes a share of 3 / n of the examples stays unseen in n of them once in 20 times. It moves
        the summary at most 3 times as far as one example can: the range of the jackknife, or one unit where all
        values are the same.
        """
        sides = np.concatenate([self.both(counts) for counts in self._left_out()])
        units = int(self.often.sum()) if self.clusters is None else len(sides)
        return spread_of_unseen(sides, units, draws)

    def _left_out(self) -> Iterator[np.ndarray]:
        if np.any(self.often > 1):
            return iter([self.often - np.eye(len(self.often))])
        return resample.left_out(len(self.often), self.clusters)


def spread_of_unseen(left: np.ndarray, units: int, draws: int) -> np.ndarray:
    """Return what an event that units did not show could still move, as offsets ``(draws,)``.

    Args:
        left: Summaries with one unit left out, ``(units, ...)``.
        units: Number of units that were looked at.
        draws: Number of offsets.
    """
    widest = float(np.ptp(left, axis=0).max())
    share = 1 - ((np.arange(draws // 2) + 0.5) / draws) ** (1 / units)
    far = share * (units * widest if widest > 0 else 1.0)
    return np.concatenate([-far, np.zeros(draws % 2), far])


def _paired(before: Sequence[np.ndarray], after: Sequence[np.ndarray], resamples: np.ndarray | None) -> Pairs:
    if len(before) != len(after) or not len(before):
        raise ValueError(f"before has {len(before)} seeds and after has {len(after)}; the same, at least 1, are needed")
    pairs = [(np.asarray(b, np.float64), np.asarray(a, np.float64)) for b, a in zip(before, after, strict=True)]
    n = len(pairs[0][0])
    for seed, (b, a) in enumerate(pairs):
        if len(b) != n or len(a) != n or n < 1:
            raise ValueError(
                f"seed {seed}: before has {len(b)} examples and after has {len(a)}; the same, as in seed 0 ({n}), "
                "and at least 1, are needed"
            )
    if resamples is not None and (resamples.ndim != 2 or resamples.shape[1] != n):
        raise ValueError(f"resamples have the shape {resamples.shape}; (draws, {n}) is needed for {n} examples")
    return pairs


def _shared(drawn: np.ndarray) -> np.ndarray:
    """Return what resampled examples add to the mean effect, ``(draws,)``, without what seeds do not share."""
    together, seeds = drawn.mean(1), drawn.shape[1]
    # Centered: an average over seeds keeps the bias of a summary such as a minimum while its spread shrinks.
    offsets = together - together.mean()
    # The interaction of examples and seeds is in the variance over seeds already.
    alone = np.mean((drawn - together[:, None]).var(0, ddof=1)) / (seeds - 1)
    common = together.var(ddof=1)
    shared = max(0.0, 1 - alone / common) if common > 0 else 0.0
    return np.asarray(offsets * math.sqrt(shared))


def _of(points: np.ndarray, offsets: np.ndarray) -> Effect:
    before, after = points.mean(0)
    shift = float(np.mean(points[:, 1] - points[:, 0]))
    drawn = shift + offsets
    low, low90, high90, high = np.quantile(drawn, [0.025, 0.05, 0.95, 0.975])
    # Of a count, many draws are 0 but for rounding.
    near = 1e-12 * np.abs(points).max()
    rarer = min(int(np.sum(drawn <= near)), int(np.sum(drawn >= -near)))
    p = min(1.0, 2 * (rarer + 1) / (len(drawn) + 1))
    se = drawn.std(ddof=1) if len(points) == 1 else (high - low) / 2 / ndtri(0.975)
    lows, highs = np.quantile(drawn, LEVELS), np.quantile(drawn, 1 - np.array(LEVELS))
    tails = tuple(zip(LEVELS, lows.tolist(), highs.tolist(), strict=True))
    return Effect(
        float(before), float(after), shift, float(low), float(high), float(low90), float(high90), p, float(se), tails
    )


def _nothing(before: float, after: float) -> Effect:
    nan = math.nan
    return Effect(float(before), float(after), nan, nan, nan, nan, nan, nan, nan)
