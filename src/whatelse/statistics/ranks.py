"""How well a score tells members from others, in many resamples at once: in time linear in the records.

The records are sorted once. Counts of a block of resamples stand a record a row, so that they are copied in the order
of the scores a row at a time. The area under the ROC curve is a sum over pairs: pairs of two chunks of rows are counted
by the sums of the chunks, those within a chunk by a small matrix product of whole numbers, which is exact. The best
threshold lies in one of the few chunks that could hold it, and only these are looked at row by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from whatelse.statistics.asking import Block, Each

# Rows of a chunk, and chunks that are multiplied at once: half a megabyte of 128 resamples.
_ROWS, _CHUNKS = 32, 32
# Resamples of a block whose scores have ties, of which counts in double precision are held.
_FEW = 32
# Counts are whole numbers, shares of their sum are not exact: what lies closer is the same.
_NEAR = 1e-6


@dataclass(frozen=True, eq=False)
class Ranking:
    """Scores of members and of others, from the highest down.

    Attributes:
        order: Places of the records, the highest score first; of one score the others before the members, ``(N,)``.
        starts: Where each row begins in that order: records of one score and side are one row, ``(rows,)``.
        member: Whether a row is of members, ``(rows,)``.
        last: Whether a row is the last of its score, ``(rows,)``.
        score: Of each record, ``(N,)``.
        inside: Whether each record is a member, ``(N,)``.
    """

    order: np.ndarray
    starts: np.ndarray
    member: np.ndarray
    last: np.ndarray
    score: np.ndarray
    inside: np.ndarray

    @cached_property
    def sides(self) -> tuple[np.ndarray, np.ndarray]:
        """Places of the members and of the others, each the highest score first."""
        member = self.inside[self.order]
        return self.order[member], self.order[~member]

    @property
    def tied(self) -> bool:
        """Whether two records of one side have one score."""
        return len(self.starts) < len(self.order)

    def rows(self, across: np.ndarray) -> np.ndarray:
        """Return the counts of each row, ``(rows, draws)``.

        Args:
            across: How often each record stands in each resample, ``(N, draws)``.
        """
        rows = across[self.order]
        return np.add.reduceat(rows, self.starts, axis=0, dtype=np.float64) if self.tied else rows

    @cached_property
    def above(self) -> np.ndarray:
        """What chunks of rows are multiplied with, twice, ``(chunks, rows + 2, rows)``.

        For each row of others the members above it in its chunk, a tie by half; then all members, and all others.
        """
        rows = np.arange(-(-len(self.member) // (_CHUNKS * _ROWS)) * _CHUNKS * _ROWS).reshape(-1, _ROWS)
        known = rows < len(self.member)
        member = known & self.member[np.minimum(rows, len(self.member) - 1)]
        other, first = known & ~member, known & ~self.last[np.minimum(rows, len(self.last) - 1)]
        whole = np.empty((len(rows), _ROWS + 2, _ROWS), np.uint8)
        np.multiply(other[:, :, None], member[:, None, :], out=whole[:, :_ROWS], dtype=np.uint8, casting="unsafe")
        whole[:, :_ROWS] *= 2 * np.tril(np.ones((_ROWS, _ROWS), np.uint8), -1)
        at = np.arange(_ROWS - 1)
        whole[:, at, at + 1] = (first & other)[:, :-1]
        whole[:, _ROWS], whole[:, _ROWS + 1] = 2 * member, 2 * other
        return whole


def ranking(values: np.ndarray) -> Ranking:
    """Return the scores from the highest down.

    Args:
        values: Score, and 1 for a member or 0 for a non-member, ``(N, 2)``.
    """
    score, inside = values[:, 0], values[:, 1] > 0.5  # noqa: PLR2004 - 1 or 0
    order = np.lexsort((inside, -score))
    sorted_, member = score[order], inside[order]
    starts = np.flatnonzero(np.append(True, (sorted_[1:] != sorted_[:-1]) | (member[1:] != member[:-1])))
    each = sorted_[starts]
    last = np.append(each[1:] != each[:-1], True)
    return Ranking(order, starts, member[starts], last, score, inside)


class Ranked:
    """Asks blocks of counts about scores, which are sorted once."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    @cached_property
    def _ranking(self) -> Ranking:
        return ranking(self._values)

    def area_and_balance(self, block: Block) -> np.ndarray:
        """Return the area under the ROC curve and the best balanced accuracy of every resample, ``(draws, 2)``."""
        return area_and_balance(self._ranking, block.across)

    def found_at(self, at: float) -> Each:
        """Return what gives the share of members found at a bounded false positive rate in every resample."""
        return lambda block: found_at(self._ranking, block, at)


def area_and_balance(ranked: Ranking, across: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve and the best balanced accuracy of every resample, ``(draws, 2)``.

    A tie is half a pair; NaN where a side is empty.

    Args:
        ranked: The scores.
        across: How often each record stands in each resample, ``(N, draws)``.
    """
    step = _FEW if ranked.tied else across.shape[1]
    parts = (across[:, start : start + step] for start in range(0, across.shape[1], step))
    return np.concatenate([_area_and_balance(ranked, ranked.rows(part)) for part in parts])


def _area_and_balance(ranked: Ranking, rows: np.ndarray) -> np.ndarray:
    pairs, (members, others) = _chunks(ranked, rows)
    inside, outside = members.sum(0), others.sum(0)
    before = np.cumsum(members, 0) - members
    won = pairs + (others * before).sum(0)
    split = np.flatnonzero(~ranked.last[:-1])  # a tie across two chunks
    split = split[(split + 1) % _ROWS == 0]
    won += (rows[split] * rows[split + 1].astype(np.float64)).sum(0) / 2
    both = (inside > 0) & (outside > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        area = np.where(both, won / (inside * outside), np.nan)
        share = np.stack([-1 / outside, 1 / inside])
        balance = np.where(both, 0.5 + _best(ranked, rows, (members, others), share).clip(0, 1) / 2, np.nan)
    return np.stack([area, balance], 1)


def _chunks(ranked: Ranking, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs won within chunks, ``(draws,)``, and the members and others of each, ``(2, chunks, draws)``."""
    dtype = np.float64 if ranked.tied else np.float32  # 32 counts of up to 255 times as many: exact in either
    draws, pairs, sums = rows.shape[1], np.zeros(rows.shape[1]), []
    for start in range(0, len(rows), _CHUNKS * _ROWS):
        some = rows[start : start + _CHUNKS * _ROWS].astype(dtype)
        if len(some) < _CHUNKS * _ROWS:
            some = np.concatenate([some, np.zeros((_CHUNKS * _ROWS - len(some), draws), dtype)])
        chunks = some.reshape(_CHUNKS, _ROWS, draws)
        at = start // _ROWS
        found = np.matmul(ranked.above[at : at + _CHUNKS].astype(dtype), chunks)
        np.multiply(found[:, :_ROWS], chunks, out=chunks)
        pairs += chunks.sum(1).sum(0, dtype=np.float64)
        sums.append(found[:, _ROWS:].astype(np.float64))
    return pairs / 2, np.moveaxis(np.concatenate(sums), 1, 0) / 2


def _best(ranked: Ranking, rows: np.ndarray, sums: tuple[np.ndarray, np.ndarray], share: np.ndarray) -> np.ndarray:
    """Return the largest share of members less that of others above any threshold, ``(draws,)``.

    Args:
        ranked: The rows.
        rows: Their counts, ``(rows, draws)``.
        sums: Members and others of each chunk, each ``(chunks, draws)``.
        share: What one of the others and one member adds, ``(2, draws)``.
    """
    members, others = sums
    rise = members * share[1]
    upto = np.cumsum(rise + others * share[0], 0)
    start = np.concatenate([np.zeros((1, rows.shape[1])), upto[:-1]])
    # No threshold may lie between ties: of the ends of chunks only those that are ends of scores are known.
    ends = np.minimum(np.arange(1, len(upto) + 1) * _ROWS, len(rows)) - 1
    best = upto[ranked.last[ends]].max(0, initial=0)
    chunk, draw = np.nonzero(start + rise > best)
    for some in np.array_split(np.arange(len(chunk)), len(chunk) // 100_000 + 1):
        g, b = chunk[some], draw[some]
        row = g[:, None] * _ROWS + np.arange(_ROWS)
        known, row = row < len(rows), np.minimum(row, len(rows) - 1)
        gain = np.where(known, rows[row, b[:, None]] * share[ranked.member[row].astype(np.intp), b[:, None]], 0)
        reached = np.where(ranked.last[row], start[g, b][:, None] + np.cumsum(gain, 1), 0).max(1, initial=0)
        np.maximum.at(best, b, reached)
    return np.asarray(best)


def found_at(ranked: Ranking, block: Block, at: float) -> np.ndarray:
    """Return the share of members found at a bounded false positive rate, ``(draws,)``; NaN where a side is empty.

    Only as many of the highest scores are looked at as it takes to raise that many alarms in every resample.

    Args:
        ranked: The scores.
        block: How often each record stands in each resample.
        at: Largest allowed false positive rate, within [0, 1).
    """
    across, (inside, outside) = block.across, ranked.sides
    if not len(outside):
        return np.full(len(block.rows), np.nan)
    others, members = block.sizes(ranked.inside)
    few = 2 * int(at * len(outside)) + 16
    while True:
        alarms = across[outside[:few]].cumsum(0, dtype=np.int64)
        # The first non-member from the top who may not be accused any more; a threshold lies above its score.
        spared = (alarms <= at * others + _NEAR).sum(0)
        if few >= len(outside) or (spared < len(alarms)).all():
            break
        few *= 2
    spared = np.minimum(spared, len(outside) - 1)
    above = np.searchsorted(-ranked.score[inside], -ranked.score[outside[: spared.max() + 1]], side="left")
    upto = np.zeros((above.max() + 1, across.shape[1]), np.int64)
    np.cumsum(across[inside[: above.max()]], axis=0, out=upto[1:])
    found = upto[above[spared], np.arange(across.shape[1])]
    whole = np.where(others > 0, members, 0)
    return np.where(whole > 0, found / np.maximum(whole, 1), np.nan)
