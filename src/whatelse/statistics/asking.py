"""Resamples that are asked for sums, so that one product serves every summary and no summary holds the counts.

A summary is written with a matrix of counts, ``counts @ columns / counts.sum(1)``. It is played once with a `Counts`
that has one row of ones and writes down the columns, and once more, when their sums over all resamples are known, with
a `Counts` that gives these back. What is no sum, such as an area under a curve, is asked of each block (`each`); a
summary that looks at counts in any other way is refused here (`Unasked`) and gets blocks of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import ArrayLike

Each = Callable[["Block"], np.ndarray]

# Sparse columns up to so many are summed as dense ones: faster, and those that two summaries have are summed once.
_DENSE = 64
# Examples whose counts add up exactly in single precision.
_EXACT = 1_024


class Unasked(TypeError):
    """A summary needs the counts themselves, or asks for other sums than it did before."""


@dataclass(frozen=True, eq=False)
class Block:
    """Counts of some resamples.

    Attributes:
        rows: ``(some, N)`` whole numbers.
    """

    rows: np.ndarray
    _sizes: dict[bytes, np.ndarray] = field(default_factory=dict)

    @cached_property
    def across(self) -> np.ndarray:
        """The same an example a row, ``(N, some)``: what is taken in another order is copied a row at a time."""
        return np.ascontiguousarray(self.rows.T)

    @cached_property
    def dense(self) -> np.ndarray:
        """The same in double precision, ``(some, N)``."""
        return self.rows.astype(np.float64)

    def sizes(self, inside: np.ndarray) -> np.ndarray:
        """Return how many examples are outside and inside in each resample, ``(2, some)``.

        Args:
            inside: ``(N,)`` bool.
        """
        name = known_by("", inside)
        if name not in self._sizes:
            sides, found = np.stack([~inside, inside]).astype(np.float32), np.zeros((2, len(self.rows)))
            for start in range(0, len(inside), _EXACT):
                some = slice(start, start + _EXACT)
                found += sides[:, some] @ self.across[some].astype(np.float32)
            self._sizes[name] = found
        return self._sizes[name]


class Source(Protocol):
    """What answers for a matrix of counts."""

    @property
    def n(self) -> int:
        """Number of examples."""

    @property
    def draws(self) -> int:
        """Number of resamples."""

    def sums(self, columns: np.ndarray, power: int) -> np.ndarray:
        """Return the sums of columns ``(N, k)``, weighted by a power of the counts, ``(draws, k)``."""

    def table(self, cells: Any, power: int) -> np.ndarray:  # noqa: ANN401 - scipy's sparse arrays have no types
        """Return the sums of sparse columns ``(N, k)``, weighted by a power of the counts, ``(draws, k)``."""

    def each(self, ask: Each, name: bytes) -> np.ndarray:
        """Return what is asked of every block, ``(draws, k)``."""


@dataclass(frozen=True, eq=False)
class Counts:
    """A matrix of counts ``(draws, N)`` that is never made: it has products, sums and views on some examples.

    Attributes:
        source: Answers.
        power: Of the counts.
        scale: What every example's count is multiplied with, ``(N,)``; None for 1.
        some: Which examples there are, places or a mask; None for all.
    """

    source: Source
    power: int = 1
    scale: np.ndarray | None = None
    some: np.ndarray | None = None

    __array_ufunc__ = None  # an array on the left leaves the product to us

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        """Refuse to be made an array.

        Raises:
            Unasked: Always.
        """
        raise Unasked("counts are asked for as an array")

    @property
    def shape(self) -> tuple[int, int]:
        """Resamples and examples."""
        return self.source.draws, self.source.n if self.some is None else len(self._ones())

    @property
    def T(self) -> _Turned:  # noqa: N802 - numpy's name
        """The other way round: for a product from the left."""
        return _Turned(self)

    def __len__(self) -> int:
        """Return the number of resamples."""
        return self.source.draws

    def __getitem__(self, at: object) -> Counts:
        """Return a view on some examples, ``counts[:, some]``.

        Raises:
            Unasked: Anything else is asked for.
        """
        match at:
            case (slice() as rows, np.ndarray() as some) if rows == slice(None) and self.some is None:
                return Counts(self.source, self.power, self.scale, some)
        raise Unasked("counts are asked for one by one")

    def __mul__(self, other: object) -> Counts:
        """Return the counts of every example times a number of its own, or times themselves.

        Raises:
            Unasked: They are multiplied with anything else.
        """
        if other is self and self.scale is None:
            return Counts(self.source, 2 * self.power, None, self.some)
        if isinstance(other, np.ndarray) and other.shape == (self.shape[1],) and self.some is None:
            mine = other.astype(np.float64)
            return Counts(self.source, self.power, mine if self.scale is None else self.scale * mine)
        raise Unasked("counts are multiplied")

    __rmul__ = __mul__

    def __matmul__(self, columns: object) -> np.ndarray:
        """Return the sums of columns, ``(draws,)`` of ``(N,)`` and ``(draws, k)`` of ``(N, k)``.

        Raises:
            Unasked: The columns are no matrix of numbers, or a view has a sparse one.
        """
        if _sparse(columns):
            if self.scale is not None or self.some is not None:
                raise Unasked("a sparse product of a view")
            return self.source.table(columns, self.power)
        if not isinstance(columns, np.ndarray) or columns.dtype == object or columns.ndim not in (1, 2):
            raise Unasked("a product with something else")
        whole = self._placed(columns.reshape(len(columns), -1).astype(np.float64))
        found = self.source.sums(whole, self.power)
        return found[:, 0] if columns.ndim == 1 else found

    def sum(self, axis: int, *, keepdims: bool = False) -> np.ndarray:
        """Return how many examples each resample has.

        Args:
            axis: 1.
            keepdims: Whether it is a column.

        Raises:
            Unasked: It is summed over resamples.
        """
        if axis not in (1, -1):
            raise Unasked("counts are summed over resamples")
        found = self @ self._ones()
        return found[:, None] if keepdims else found

    def each(self, name: str, ask: Each, *given: ArrayLike) -> np.ndarray:
        """Return what is no sum: asked of one block after another, ``(draws, ...)``.

        Args:
            name: Of what is asked.
            ask: Gives an answer for every resample of a block.
            given: What tells it apart from others of the same name.

        Raises:
            Unasked: They are not the counts themselves.
        """
        if self.power != 1 or self.scale is not None or self.some is not None:
            raise Unasked("a view is asked for blocks")
        return self.source.each(ask, known_by(name, *given))

    def _ones(self) -> np.ndarray:
        return np.ones(self.source.n if self.some is None else np.arange(self.source.n)[self.some].size)

    def _placed(self, columns: np.ndarray) -> np.ndarray:
        if self.some is not None:
            whole = np.zeros((self.source.n, columns.shape[1]))
            np.add.at(whole, np.arange(self.source.n)[self.some], columns)
            columns = whole
        if len(columns) != self.source.n:
            raise Unasked("columns of another length")
        return columns if self.scale is None else columns * self.scale[:, None]


@dataclass(frozen=True)
class _Turned:
    counts: Counts

    __array_ufunc__ = None

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise Unasked("counts are asked for as an array")

    def __rmatmul__(self, columns: object) -> np.ndarray:
        if not isinstance(columns, np.ndarray) or columns.ndim != 2:  # noqa: PLR2004 - a matrix
            raise Unasked("a product with something else")
        found: np.ndarray = (self.counts @ columns.T).T
        return found


@dataclass(eq=False)
class Asked:
    """What a summary asks of the resamples, written down while it is played on the sample itself.

    Attributes:
        n: Number of examples.
        columns: By power and what they are known by: columns ``(N,)`` to be summed.
        tables: Sparse ones ``(N, k)``.
        blocks: What is asked of every block.
        width: How many sums, those asked for twice counted twice.
        whole: The one of the blocks that is the whole summary, if it is no function of sums.
        holds: Bytes of what the summaries are of.
    """

    n: int
    draws: int = 1
    columns: dict[tuple[int, bytes], np.ndarray] = field(default_factory=dict)
    tables: dict[tuple[int, bytes], Any] = field(default_factory=dict)
    blocks: dict[bytes, Each] = field(default_factory=dict)
    width: int = 0
    whole: bytes | None = None
    holds: int = 0

    @property
    def summed(self) -> int:
        """How many columns are to be summed, and so how many answers each resample has."""
        tables: int = sum(cells.shape[1] for cells in self.tables.values())
        return len(self.columns) + tables

    def sums(self, columns: np.ndarray, power: int) -> np.ndarray:
        """Write columns down and return their sums over the sample, ``(1, k)``."""
        self.width += columns.shape[1]
        for each in np.ascontiguousarray(columns.T):
            self.columns.setdefault((power, known_by("", each)), each)
        found: np.ndarray = np.ones((1, self.n)) @ columns
        return found

    def table(self, cells: Any, power: int) -> np.ndarray:  # noqa: ANN401
        """Write sparse columns down and return their sums over the sample, ``(1, k)``."""
        self.width += cells.shape[1]
        if cells.shape[1] <= _DENSE:
            return self.sums(cells.toarray(), power)
        self.tables.setdefault((power, _of_table(cells)), cells)
        return np.asarray(np.ones((1, self.n)) @ cells)

    def each(self, ask: Each, name: bytes) -> np.ndarray:
        """Write down what is asked of blocks and return its answer for the sample, ``(1, k)``."""
        self.blocks.setdefault(name, ask)
        return ask(Block(np.ones((1, self.n), np.uint8)))

    def add(self, other: Asked) -> None:
        """Take over what another summary of the same examples asks for.

        Args:
            other: What it asks for.
        """
        self.columns = other.columns | self.columns
        self.tables = other.tables | self.tables
        self.blocks = other.blocks | self.blocks
        self.holds += other.holds

    def size(self) -> int:
        """Return how many bytes are held."""
        held = [self.holds, *(c.nbytes for c in self.columns.values())]
        return int(sum(held) + sum(t.data.nbytes + t.indices.nbytes for t in self.tables.values()))


@dataclass(frozen=True, eq=False)
class Known:
    """The sums that were asked for, over all resamples or some of them.

    Attributes:
        n: Number of examples.
        draws: Number of resamples.
        columns: ``(draws, k)``, and the place of each column that was asked for.
        tables: Each ``(draws, k)``.
        blocks: Each ``(draws, ...)``, or what it raised.
    """

    n: int
    draws: int
    columns: tuple[np.ndarray, dict[tuple[int, bytes], int]]
    tables: dict[tuple[int, bytes], np.ndarray]
    blocks: dict[bytes, np.ndarray | Exception]

    def some(self, rows: slice) -> Known:
        """Return those over some resamples.

        Args:
            rows: Which.
        """
        tables = {name: sums[rows] for name, sums in self.tables.items()}
        blocks = {name: said if isinstance(said, Exception) else said[rows] for name, said in self.blocks.items()}
        sums = self.columns[0][rows]
        return Known(self.n, len(sums), (sums, self.columns[1]), tables, blocks)

    def sums(self, columns: np.ndarray, power: int) -> np.ndarray:
        """Return what was asked for before, ``(draws, k)``."""
        sums, places = self.columns
        at = [_found(places, (power, known_by("", each))) for each in np.ascontiguousarray(columns.T)]
        return sums[:, at]

    def table(self, cells: Any, power: int) -> np.ndarray:  # noqa: ANN401
        """Return what was asked for before, ``(draws, k)``."""
        if cells.shape[1] <= _DENSE:
            return self.sums(cells.toarray(), power)
        return cast(np.ndarray, _found(self.tables, (power, _of_table(cells))))

    def each(self, ask: Each, name: bytes) -> np.ndarray:
        """Return what was asked for before, ``(draws, ...)``."""
        del ask
        return self.of_blocks(name)

    def of_blocks(self, name: bytes) -> np.ndarray:
        """Return what was asked of every block, ``(draws, ...)``.

        Args:
            name: What it is known by.
        """
        said = _found(self.blocks, name)
        if isinstance(said, Exception):
            raise said
        return cast(np.ndarray, said)


def known_by(name: str, *given: ArrayLike) -> bytes:
    """Return what tells a question apart: a hash of its name and of all that it is given.

    Args:
        name: Of what is asked.
        given: Arrays and numbers.
    """
    digest = blake2b(name.encode(), digest_size=16)
    for one in given:
        array = np.ascontiguousarray(one)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.view(np.uint8).data if array.ndim else array.tobytes())
    return digest.digest()


def _of_table(cells: Any) -> bytes:  # noqa: ANN401
    return known_by("table", cells.data, cells.indices, cells.indptr, cells.shape)


def _found(held: dict[Any, Any], name: object) -> Any:  # noqa: ANN401
    if name not in held:
        raise Unasked("other sums are asked for than on the sample")
    return held[name]


def _sparse(columns: object) -> bool:
    from scipy.sparse import csr_array  # noqa: PLC0415 - listing all items must stay light

    return isinstance(columns, csr_array)


def as_counts(source: Source) -> np.ndarray:
    """Return counts for a summary, which is written for an array of them.

    Args:
        source: Answers.
    """
    return cast(np.ndarray, Counts(source))
