"""Time 10,000 resamples of 10,000 right-or-wrong outcomes, beside two bootstraps that work on indices.

Run alone: OMP_NUM_THREADS=1 python bench/resampling.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from scipy import stats

from whatelse.statistics import paired, summaries

N, DRAWS = 10_000, 10_000
ROUNDS = 3


def outcomes() -> tuple[np.ndarray, np.ndarray]:
    """Return outcomes of two classifiers that disagree on 5 % of the examples, and so many real-valued ones."""
    rng = np.random.default_rng(0)
    before = (rng.random(N) < 0.95).astype(np.float64)
    return before, np.where(rng.random(N) < 0.05, 1 - before, before)


def opaque(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the mean, as a behaviour writes it: not known to be one."""
    return np.asarray(counts @ values / counts.sum(1))


def naive(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Return the interval from a matrix of indices, in pieces, since the whole would take 800 MB."""
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWS // 500):
        index = rng.integers(0, N, (500, N))
        drawn.append(after[index].mean(1) - before[index].mean(1))
    low, high = np.quantile(np.concatenate(drawn), [0.025, 0.975])
    return float(low), float(high)


def library(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Return scipy's paired percentile interval."""

    def statistic(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return np.asarray(y.mean(axis) - x.mean(axis))

    found = stats.bootstrap(
        (before, after),
        statistic,
        paired=True,
        n_resamples=DRAWS,
        batch=500,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def ours(before: np.ndarray, after: np.ndarray, summarise: paired.Summarise) -> tuple[float, float]:
    """Return our interval."""
    found = paired.effect([before], [after], summarise, np.random.default_rng(0), draws=DRAWS)
    return found.low, found.high


def best(run: Callable[[], tuple[float, float]], rounds: int) -> tuple[float, tuple[float, float]]:
    """Return the shortest time in seconds, and the interval."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        interval = run()
        times.append(time.perf_counter() - started)
    return min(times), interval


def main() -> None:
    """Print the times, the ratios and the intervals, which must agree.

    Raises:
        SystemExit: Outcomes of 0 and 1 took a second or more.
    """
    before, after = outcomes()
    noise = np.random.default_rng(1).normal(0, 0.01, N)
    rows = {
        "whatelse, 0/1, mean": best(lambda: ours(before, after, summaries.mean), ROUNDS),
        "whatelse, 0/1, any summary": best(lambda: ours(before, after, opaque), ROUNDS),
        "whatelse, real values, any summary": best(lambda: ours(before, after + noise, opaque), ROUNDS),
        "naive index matrix": best(lambda: naive(before, after), 1),
        "scipy.stats.bootstrap": best(lambda: library(before, after), 1),
    }
    own = rows["whatelse, 0/1, any summary"][0]
    print(f"{DRAWS:,} resamples x {N:,} examples, one seed; shortest of {ROUNDS} (others: 1)")
    for name, (seconds, (low, high)) in rows.items():
        print(f"{name:36} {seconds:8.3f} s  {seconds / own:8.1f} x   [{low:.4f}, {high:.4f}]")
    if max(rows[name][0] for name in list(rows)[:2]) >= 1:
        raise SystemExit("0/1 outcomes took 1 s or more")


if __name__ == "__main__":
    main()
