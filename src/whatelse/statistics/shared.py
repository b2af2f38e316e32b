"""One pass over resamples for many summaries: counts are drawn a block at a time, and every block serves them all.

The sums of all models of one measurement are one product, of counts that stay in a cache (docs/decisions/0030). Time is
linear in the rows. Memory is bounded by the columns that are asked for, a block of counts (`resample.SHEET` bytes,
or 32 resamples) twice, and an answer of each sum in each resample; a summary of more than `_WIDE` sums, or of more
columns than `_HELD` bytes, gets blocks of counts, as does one that is no function of sums.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from whatelse.statistics import resample
from whatelse.statistics.asking import Asked, Block, Known, as_counts, known_by
from whatelse.statistics.resample import Resamples

Answer = Callable[[np.ndarray], np.ndarray]

# Sums of one summary, and bytes of their columns: with more, blocks of counts are less.
_WIDE, _HELD = 2_000, 200_000_000
# Examples whose counts in a block are multiplied at once: with 256 resamples a megabyte, what a core has to itself.
_STEP = 512
# Whole numbers up to which, times counts of a byte, `_STEP` of them add up to less than 2^24.
_WHOLE = 128
# Columns of a product are a multiple of these.
_PANEL = 16
# Sums that a summary is given at once: it may make arrays of resamples, groups and classes.
_REPLAYED = 4_000_000
_NUMBERS = itertools.count()


@dataclass(eq=False)
class Shared:
    """Summaries that wait for the same resamples.

    Attributes:
        resamples: Which.
        waiting: Those that wait.
    """

    resamples: Resamples
    waiting: list[Group] = field(default_factory=list)

    def group(self) -> Group:
        """Return a place for summaries whose sums are taken together, such as those of one measurement."""
        return Group(self)

    def held(self) -> int:
        """Return how many bytes wait, and will be answered."""
        answers = 8 * self.resamples.draws * sum(g.asked.summed for g in self.waiting)
        return sum(g.asked.size() for g in self.waiting) + answers

    def draw(self) -> None:
        """Draw the resamples once for all that wait."""
        groups, self.waiting = self.waiting, []
        found = collect([g.asked for g in groups], self.resamples.sheets(), self.resamples.draws)
        for group, known in zip(groups, found, strict=True):
            group.known[group.times] = known
            group.times, group.asked = group.times + 1, Asked(self.resamples.n)


@dataclass(eq=False)
class Pool:
    """The resamples of all measurements of one task: of the same rows and clusters they are the same.

    Attributes:
        draws: Number of resamples.
        start: Where the random numbers come from; never moved on.
        made: Those that were asked for, by rows and clusters.
    """

    draws: int
    start: np.random.Generator
    made: dict[bytes, Shared] = field(default_factory=dict)

    def of(self, n: int, clusters: np.ndarray | None = None) -> Shared:
        """Return the resamples of so many rows.

        Args:
            n: Number of rows.
            clusters: Code of each row's cluster, ``(n,)``.
        """
        name = known_by("rows", n) if clusters is None else known_by("clusters", clusters)
        return self.made.setdefault(name, Shared(Resamples(n, self.draws, self.start, None, clusters)))

    def heavy(self) -> bool:
        """Say whether so much waits that it should be drawn before more is asked."""
        return sum(one.held() for one in self.made.values()) > _HELD


@dataclass(eq=False)
class Group:
    """Summaries whose sums are taken together.

    Attributes:
        shared: Whose resamples they wait for.
        asked: What they ask for.
        times: How often the resamples were drawn for it.
        known: What was answered each time.
    """

    shared: Shared
    asked: Asked = field(init=False)
    times: int = 0
    known: dict[int, Known] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.asked = Asked(self.shared.resamples.n)

    def ask(self, answer: Answer, holds: int = 0) -> Later:
        """Return a summary that is to be had once the resamples are drawn.

        Args:
            answer: From counts to numbers for each resample, ``(draws, parts)``.
            holds: Bytes of what it is a summary of.
        """
        alone = asked_by(answer, self.shared.resamples.n, self.shared.resamples.clusters)
        alone.holds = holds
        answers = 8 * self.shared.resamples.draws * (self.asked.summed + alone.summed)
        if self.asked.summed and max(self.asked.size() + alone.size(), answers) > _HELD:
            self.shared.draw()
        self.asked.add(alone)
        if self not in self.shared.waiting:
            self.shared.waiting.append(self)
        return Later(self, answer, alone, self.times)

    def forget(self, time: int) -> None:
        """Let go of what was answered before a drawing: all that waited for it has its summary.

        Args:
            time: Number of the drawing.
        """
        self.known = {at: known for at, known in self.known.items() if at >= time}


@dataclass(eq=False)
class Later:
    """A summary of resamples that may not be drawn yet.

    Attributes:
        group: What it waits with.
        answer: The summary.
        asked: What it asks for.
        time: At which drawing it is answered.
    """

    group: Group
    answer: Answer
    asked: Asked
    time: int

    def drawn(self) -> np.ndarray:
        """Return the summary of every resample, ``(draws, parts)``; they are drawn now if they were not."""
        if self.time not in self.group.known:
            self.group.shared.draw()
        return replayed(self.answer, self.asked.whole, self.group.known[self.time])

    def without(self, out: np.ndarray, unit: np.ndarray) -> np.ndarray:
        """Return the summary of the sample with one unit left out, ``(M, parts)``, and let go of what is summed.

        Args:
            out: Units that are left out in turn, ``(M,)``.
            unit: Unit of each example, ``(N,)``.
        """
        found = replayed(self.answer, self.asked.whole, _without(self.asked, out, unit))
        self.asked = Asked(self.asked.n, whole=self.asked.whole)
        return found


def asked_by(answer: Answer, n: int, clusters: np.ndarray | None = None) -> Asked:
    """Return what a summary asks of resamples: sums, if it is a function of sums, or blocks of counts.

    It is believed to be a function of sums only if two resamples agree.

    Args:
        answer: From counts to numbers for each resample, ``(draws, parts)``.
        n: Number of examples.
        clusters: Code of each example's cluster, ``(n,)``.
    """
    asked = Asked(n)
    try:
        answer(as_counts(asked))
        if asked.width <= _WIDE and asked.size() <= _HELD:
            tried = resample.counts(n, 2, np.random.default_rng(0), clusters)
            said = replayed(answer, None, collect([asked], [tried], 2)[0])
            if np.allclose(said, answer(tried.astype(np.float64)), rtol=1e-9, atol=1e-12, equal_nan=True):
                return asked
    except Exception:  # noqa: BLE001, S110 - whatever it needs of counts, blocks have it; an error of its own comes again
        pass
    asked = Asked(n)
    asked.whole = known_by("whole", next(_NUMBERS))
    asked.blocks[asked.whole] = lambda block: answer(block.dense)
    return asked


def replayed(answer: Answer, whole: bytes | None, known: Known) -> np.ndarray:
    """Return a summary of all resamples from what it asked for, ``(draws, parts)``.

    Args:
        answer: The summary.
        whole: What it is known by among the answers, if it is no function of sums.
        known: The answers.
    """
    if whole is not None:
        return known.of_blocks(whole)
    step = max(100, _REPLAYED // (len(known.columns[1]) + sum(sums.shape[1] for sums in known.tables.values()) + 1))
    some = (slice(start, start + step) for start in range(0, known.draws, step))
    return np.concatenate([answer(as_counts(known.some(rows))) for rows in some])


def collect(askeds: Sequence[Asked], counts: Iterable[np.ndarray], draws: int) -> list[Known]:
    """Return what was asked for, of all counts in one pass.

    Args:
        askeds: What was asked for; the sums of all are one product.
        counts: In blocks, ``(some, N)``.
        draws: How many.
    """
    every = Asked(askeds[0].n)
    for asked in askeds:
        every.add(asked)
    sums, start = _Sums(every, draws), 0
    for rows in counts:
        block = Block(rows)
        sums.multiply(block, slice(start, start + len(rows)))
        sums.ask(block)
        start += len(rows)
    return [sums.known(asked) for asked in askeds]


def _without(asked: Asked, out: np.ndarray, unit: np.ndarray) -> Known:
    """Return what was asked for of the sample with one unit left out: of sums the whole less what the unit adds."""
    places = {name: at for at, name in enumerate(asked.columns)}
    totals = np.zeros((len(out), len(places)))
    for name, column in asked.columns.items():
        totals[:, places[name]] = column.sum() - np.bincount(unit, column)[out]
    tables = {name: np.zeros((len(out), cells.shape[1])) for name, cells in asked.tables.items()}
    answers: dict[bytes, list[np.ndarray]] = {name: [] for name in asked.blocks}
    for some in resample.blocks(len(out), asked.n) if tables or answers else ():
        block = Block((unit != out[some, None]).astype(np.uint8))
        for name, cells in asked.tables.items():
            tables[name][some] = block.rows.astype(np.float64) @ cells
        for known_as, ask in asked.blocks.items():
            answers[known_as].append(ask(block))
    blocks: dict[bytes, np.ndarray | Exception] = {name: np.concatenate(each) for name, each in answers.items()}
    return Known(asked.n, len(out), (totals, places), tables, blocks)


class _Sums:
    """All sums that were asked for, as far as they are known."""

    def __init__(self, asked: Asked, draws: int) -> None:
        self.asked, self.draws = asked, draws
        kinds = {name: (name[0], _exact(name[0], column)) for name, column in asked.columns.items()}
        names = sorted(asked.columns, key=kinds.__getitem__)
        self.places = {name: at for at, name in enumerate(names)}
        self.totals = np.zeros((draws, len(names)))
        self.tables = {name: np.zeros((draws, cells.shape[1])) for name, cells in asked.tables.items()}
        self.answers: dict[bytes, list[np.ndarray]] = {name: [] for name in asked.blocks}
        self.failed: dict[bytes, Exception] = {}
        self.counts = Counter(kinds[name] for name in names)
        self.columns = {
            kind: _beside([asked.columns[n] for n in names if kinds[n] == kind], np.float32 if kind[1] else np.float64)
            for kind in self.counts
        }
        self.pieces = {name: _pieces(cells) for name, cells in asked.tables.items()}
        self.needed = {*self.counts, *((power, False) for power, _ in asked.tables)}

    def multiply(self, block: Block, mine: slice) -> None:
        """Add up a block's sums, a few examples at a time: their counts are read from memory once."""
        found = {kind: np.zeros((len(block.rows), columns.shape[1])) for kind, columns in self.columns.items()}
        for start in range(0, block.rows.shape[1], _STEP) if self.needed else ():
            some = block.rows[:, start : start + _STEP]
            for kind in sorted(self.needed):
                power, single = kind
                cached = some.astype(np.float32 if single else np.float64)
                weights = cached if power == 1 else cached**power
                if kind in found:
                    found[kind] += weights @ self.columns[kind][start : start + _STEP]
                for name, pieces in self.pieces.items():
                    if (name[0], False) == kind:
                        self.tables[name][mine] += (pieces[start // _STEP] @ weights.T).T
        first = 0
        for kind, count in self.counts.items():
            self.totals[mine, first : first + count] = found[kind][:, :count]
            first += count

    def ask(self, block: Block) -> None:
        """Ask of a block what is no sum."""
        for name, answers in self.answers.items():
            if name in self.failed:
                continue
            try:
                answers.append(self.asked.blocks[name](block))
            except Exception as error:  # noqa: BLE001 - the others go on; who asked is told
                self.failed[name] = error

    def known(self, asked: Asked) -> Known:
        """Return what one of those who asked wants to know."""
        blocks = {name: self.failed.get(name) or np.concatenate(self.answers[name]) for name in asked.blocks}
        places = {name: self.places[name] for name in asked.columns}
        return Known(asked.n, self.draws, (self.totals, places), {n: self.tables[n] for n in asked.tables}, blocks)


def _exact(power: int, column: np.ndarray) -> bool:
    """Return whether sums of `_STEP` examples are exact in single precision, where a product takes half the time.

    They are of whole numbers up to 128: with counts up to 255 they stay under the 24 bits that it holds.
    """
    return power == 1 and bool((np.abs(column) <= _WHOLE).all()) and bool((column == np.rint(column)).all())


def _beside(columns: Sequence[np.ndarray], kind: type[np.floating[Any]]) -> np.ndarray:
    """Return columns side by side, with zeros up to a multiple of `_PANEL`, ``(N, k)``.

    A product takes so many columns alike, so that what a sum comes to does not depend on who else asked.
    """
    whole = np.zeros((len(columns[0]), -(-len(columns) // _PANEL) * _PANEL), kind)
    for at, column in enumerate(columns):
        whole[:, at] = column
    return whole


def _pieces(cells: Any) -> list[Any]:  # noqa: ANN401 - scipy's sparse arrays have no types
    """Return a sparse table of ``(N, k)`` as tables of `_STEP` examples, each ``(k, some)``."""
    return [cells[start : start + _STEP].T.tocsr() for start in range(0, cells.shape[0], _STEP)]
