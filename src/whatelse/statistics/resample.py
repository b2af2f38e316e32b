"""How often each example stands in each resample, drawn with replacement or with one unit left out."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass

import numpy as np

# Entries of one block of counts. A summary makes a few copies of a block in 8 bytes: together under 200 MB.
BLOCK = 1_500_000
# Draws of a block however many examples there are: 50 MB for 200,000.
_DRAWS = 32
# Bytes of a block of counts as whole numbers, and the most draws in one.
SHEET, _MOST = 16_000_000, 256
# Units that are drawn at once: a few arrays of them stay in a cache.
_PIECE = 16_384
# Counts up to so many are held (in 4 bytes); more are drawn anew, the same, for every summary.
HELD = 40_000_000


@dataclass(frozen=True, eq=False)
class Resamples:
    """Bootstrap resamples that several summaries are computed on, in blocks of bounded memory.

    Attributes:
        n: Number of examples.
        draws: Number of resamples.
        start: Where the random numbers come from; never moved on.
        held: The counts themselves, ``(draws, n)``; None where they are too many, and drawn anew.
        clusters: Code of each example's cluster, ``(n,)``; clusters are drawn whole.
    """

    n: int
    draws: int
    start: np.random.Generator
    held: np.ndarray | None
    clusters: np.ndarray | None = None

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield counts in blocks of rows, ``(some, n)`` float64: the same ones every time."""
        if self.held is not None:
            for some in blocks(self.draws, self.n):
                yield self.held[some].astype(np.float64, copy=False)
            return
        for sheet in self.sheets():
            yield from (sheet[some].astype(np.float64) for some in blocks(len(sheet), self.n))

    def sheets(self) -> Iterator[np.ndarray]:
        """Yield counts in blocks of rows as whole numbers, ``(some, n)``: the same ones every time."""
        step = min(_MOST, max(_DRAWS, SHEET // self.n))
        drawing = None if self.held is not None else _drawing(self.n, deepcopy(self.start), self.clusters)
        for start in range(0, self.draws, step):
            some = slice(start, min(start + step, self.draws))
            if drawing is None:
                assert self.held is not None
                yield self.held[some]
            else:
                yield drawing.rows(some.stop - some.start)


def resamples(n: int, draws: int, rng: np.random.Generator, clusters: np.ndarray | None = None) -> Resamples:
    """Return resamples for many summaries of the same examples.

    Args:
        n: Number of examples.
        draws: Number of resamples.
        rng: Where the random numbers come from.
        clusters: Code of each example's cluster, ``(n,)``; clusters are drawn whole.
    """
    if n * draws <= HELD:
        return Resamples(n, draws, rng, counts(n, draws, rng, clusters), clusters)
    return Resamples(n, draws, rng.spawn(1)[0], None, clusters)


def counts(n: int, draws: int, rng: np.random.Generator, clusters: np.ndarray | None = None) -> np.ndarray:
    """Return how often each example stands in each bootstrap resample, ``(draws, n)`` float32.

    Args:
        n: Number of examples.
        draws: Number of resamples.
        rng: Where the random numbers come from.
        clusters: Code of each example's cluster, ``(n,)``; clusters (users, documents, patients) are drawn whole, as
            many as there are, so that a resample of clusters of unequal size need not have n examples.

    Raises:
        ValueError: There is no example, no draw, or not one cluster code for each example.
    """
    if draws < 1:
        raise ValueError(f"draws={draws}; at least 1 is needed")
    drawing = _Drawing(n, rng, clusters)
    out = np.empty((draws, n), np.float32)
    for some in blocks(draws, n):
        out[some] = drawing.rows(some.stop - some.start)
    return out


def units(n: int, clusters: np.ndarray | None = None) -> tuple[int, np.ndarray]:
    """Return how many units are resampled, and the number of each example's unit, ``(n,)``.

    Args:
        n: Number of examples.
        clusters: Code of each example's cluster, ``(n,)``; without it every example is its own unit.

    Raises:
        ValueError: There is no example, or not one cluster code for each example.
    """
    if n < 1:
        raise ValueError(f"n={n}; at least 1 example is needed")
    if clusters is None:
        return n, np.arange(n)
    if np.shape(clusters) != (n,):
        raise ValueError(f"clusters have the shape {np.shape(clusters)}; ({n},) is needed, one code for each example")
    codes, unit = np.unique(clusters, return_inverse=True)
    return len(codes), unit


def left_out(n: int, clusters: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Yield the counts of the jackknife in blocks of rows: row i lacks unit i, and has everything else once.

    Args:
        n: Number of examples.
        clusters: Code of each example's cluster, ``(n,)``; clusters are left out whole.

    Raises:
        ValueError: There is no example, or not one cluster code for each example.
    """
    size, unit = units(n, clusters)
    for some in blocks(size, n):
        yield (unit != np.arange(some.start, some.stop)[:, None]).astype(np.float64)


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Yield slices that cut the rows into blocks of bounded memory.

    Args:
        rows: Number of rows.
        columns: Entries of a row.
    """
    # A summary prepares its values anew for every block: with many examples, too, a block holds a few draws.
    step = max(_DRAWS, BLOCK // columns)
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


class _Drawing:
    """Counts that are drawn on and on: how many at once makes no difference."""

    def __init__(self, n: int, rng: np.random.Generator, clusters: np.ndarray | None) -> None:
        self.size, unit = units(n, clusters)
        self.unit, self.rng = None if clusters is None else unit, rng

    def rows(self, draws: int) -> np.ndarray:
        """Return the counts of so many more resamples, ``(draws, n)``."""
        # A count above 255 of so many draws has no chance: 255 of 300 draws are the same once in 10^500.
        out = np.empty((draws, self.size), np.uint8)
        step = max(1, _PIECE // self.size)  # a few small resamples are counted together, beside each other
        beside = np.arange(step)[:, None] * self.size
        for start in range(0, draws, step):
            some = out[start : start + step]
            picks = self.picks(some.size)
            if step > 1:
                picks = (picks.reshape(some.shape) + beside[: len(some)]).ravel()
            # Far faster than Generator.multinomial, which draws one binomial for every entry; a piece stays in a cache.
            some[:] = np.bincount(picks, minlength=some.size).reshape(some.shape)
        return out if self.unit is None else out[:, self.unit]

    def picks(self, count: int) -> np.ndarray:
        """Return the units of some resamples, one after the other, ``(count,)``."""
        return self.rng.integers(0, self.size, count, np.uint32)


class _Alone(_Drawing):
    """The same counts in two thirds of the time, of a generator that nobody else draws from.

    ``Generator.integers`` multiplies 32 bits by the size and takes the upper half of the product; it draws anew where
    the lower half falls short (Lemire, Fast random integer generation in an interval, 2019, arXiv:1805.10941). Here
    this is done of many bits at once.
    """

    def __init__(self, n: int, rng: np.random.Generator, clusters: np.ndarray | None) -> None:
        super().__init__(n, rng, clusters)
        self.short = (2**32 - self.size) % self.size
        self.left = np.empty(0, np.uint32)

    def picks(self, count: int) -> np.ndarray:
        """Return the units of some resamples, one after the other, ``(count,)``."""
        found, have = np.empty(count, np.int64), 0
        while have < count:
            if not len(self.left):
                self.left = self._more(min(count - have, _PIECE))
            some, self.left = self.left[: count - have], self.left[count - have :]
            found[have : have + len(some)] = some
            have += len(some)
        return found

    def _more(self, count: int) -> np.ndarray:
        words = self.rng.bit_generator.random_raw((count + 1) // 2)
        # In the order of the bytes of memory: of a word, and of a product, the lower half comes first.
        bits = words.astype("<u8", copy=False).view("<u4")
        product = np.multiply(bits, self.size, dtype="<u8").view("<u4")
        low, high = product[::2], product[1::2]
        found: np.ndarray = high if low.min() >= self.short else high[low >= self.short]
        return found


def _drawing(n: int, rng: np.random.Generator, clusters: np.ndarray | None) -> _Drawing:
    """Return the faster way where the generator is of the kind whose bits are known, and holds no half of a word."""
    state = rng.bit_generator.state
    known = isinstance(rng.bit_generator, np.random.PCG64) and not state["has_uint32"]
    return (_Alone if known else _Drawing)(n, rng, clusters)
