"""Which group each example belongs to, and rates by group and class: what the items of this family share.

A grouping is a named column of group codes, an intersection of several (``sex x race``) or of all of them (``*``).
Groupings side by side (``sex + race``, or ``+`` for all of them) keep the groups of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer
from whatelse.errors import NotMeasurableError, nearest
from whatelse.evidence.cache import Evidence
from whatelse.statistics.cells import mean, occurring, rates, ratio, sums
from whatelse.tasks.task import Split

__all__ = ["mean", "occurring", "rates", "ratio", "sums"]  # what the items of this family read here

LEFT_OUT = -1
# Columns of `Parting.columns`: before the name of a grouping.
GROUP, LARGE = "group ", "large group "
AND, BESIDE, ALL_BESIDE = " x ", " + ", "+"
HELP = f"Name of the grouping; names joined by '{AND}' intersect; * intersects all; empty takes the first."
SIDE_BY_SIDE = f"{HELP[:-1]}; names joined by '{BESIDE}' stand side by side, {ALL_BESIDE} takes all so."
BIASED = "an unsigned gap is above zero without any bias: read its change, not its level"

# Names that one note spells out.
NAMED = 8


@dataclass(frozen=True, eq=False)
class Grouping:
    """A partition of the test examples into the groups that occur, in the order of their codes.

    Attributes:
        name: The grouping, such as ``sex x race``.
        code: Group of each example, ``(N,)`` int64 from 0; `LEFT_OUT` where a value is missing.
        names: Name of each group, such as ``female x Black``.
        sizes: Examples of each group.
        least: Examples below which a group is left out of comparisons.
        absent: Names of groups that other splits have, and test has not.
        notes: What is missing, too small or absent.
    """

    name: str
    code: Tensor
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    least: int
    absent: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def large(self) -> tuple[int, ...]:
        """Codes of the groups that are large enough."""
        return tuple(g for g, size in enumerate(self.sizes) if size >= self.least)

    def kept(self) -> Tensor:
        """Return the group of each example, `LEFT_OUT` where the group is too small, ``(N,)``."""
        return torch.where(torch.isin(self.code, torch.tensor(self.large)), self.code, LEFT_OUT)

    def kept_names(self) -> list[str]:
        """Return the names of the groups that are large enough."""
        return [self.names[g] for g in self.large]

    def parts(self) -> list[str]:
        """Return the names of all groups, however small, and of those whose value is missing where there are some."""
        return [*self.names, *([f"{self.name} missing"] if bool((self.code < 0).any()) else [])]

    def codes(self) -> Tensor:
        """Return the place in `parts` of every example, ``(N,)``."""
        return torch.where(self.code < 0, len(self.names), self.code)


@dataclass(frozen=True, eq=False)
class Parting:
    """Every group of one grouping, or of several side by side, as the parts of a question.

    A group that is too small for the number is a part all the same: harm to it shows in its own interval.
    """

    groupings: tuple[Grouping, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What is missing, too small or absent in every grouping."""
        return tuple(note for g in self.groupings for note in g.notes)

    def names(self) -> tuple[str, ...]:
        """Return the names of all parts, and after them those of groups that test has no example of."""
        several = len(self.groupings) > 1
        named = [(g, n) for g in self.groupings for n in g.parts()] + [(g, n) for g in self.groupings for n in g.absent]
        return tuple(f"{g.name}: {n}" if several else n for g, n in named)

    def columns(self) -> dict[str, Tensor]:
        """Return the part of each example in every grouping, then the same without small ones, each ``(N,)``.

        Such as ``group sex`` and ``large group sex``, which is -1 where an example is left out of the number.
        """
        starts = np.cumsum([0, *(len(g.parts()) for g in self.groupings)]).tolist()
        pairs = list(zip(self.groupings, starts[:-1], strict=True))
        every = {GROUP + g.name: (g.codes() + start).float() for g, start in pairs}
        large = {LARGE + g.name: torch.where(g.kept() < 0, LEFT_OUT, g.kept() + start).float() for g, start in pairs}
        return every | large


def parting(evidence: Evidence, group: str, least: int) -> Parting:
    """Return all groups of the test examples as parts, and notes of what is missing, too small or absent.

    Args:
        evidence: Its task has the groups.
        group: As in `grouping`; or several joined by `BESIDE`, or `ALL_BESIDE`.
        least: Examples below which a group is left out of the number.

    Raises:
        NotMeasurableError: The task has no such grouping.
    """
    known = evidence.split("test").groups
    if group == ALL_BESIDE and known:
        asked = list(known)
    else:
        asked = [group] if group in known else [one.strip() for one in group.split(BESIDE)]
    found = (grouping(evidence, one, least, atleast=0) for one in asked)
    return Parting(tuple({one.name: one for one in found}.values()))  # one that is asked for twice stands once


def codes(answer: Answer, *, large: bool) -> list[np.ndarray]:
    """Return the part of each example in every grouping, each ``(N,)``.

    Args:
        answer: Has the columns that `Parting.columns` returned.
        large: Whether only the groups that are large enough are asked for; -1 where an example is in none.
    """
    word = LARGE if large else GROUP
    return [answer[name] for name in answer.columns if name.startswith(word)]


def by_part(answer: Answer, outcome: str, weights: np.ndarray, *, large: bool) -> np.ndarray:
    """Return the mean outcome of every part in every resample, ``(draws, parts)``; NaN where one is empty.

    Args:
        answer: Has the columns that `Parting.columns` returned.
        outcome: Name of the column that is averaged.
        weights: How often each example stands in each resample, ``(draws, N)``.
        large: Whether only the groups that are large enough are asked for.
    """
    return np.concatenate([rates(answer[outcome], code, weights) for code in codes(answer, large=large)], 1)


def grouping(evidence: Evidence, group: str, least: int, *, atleast: int = 1) -> Grouping:
    """Return the groups of the test examples, and notes of what is missing, too small or absent.

    Args:
        evidence: Its task has the groups.
        group: A grouping, several joined by `AND`, ``*`` for all of them; empty for the task's first.
        least: Examples below which a group is left out.
        atleast: How many groups must remain.

    Raises:
        NotMeasurableError: The task has no such grouping, or too few of its groups are large enough.
    """
    columns = _columns(evidence, group)
    found = _intersect(evidence, columns, least)
    if len(found.large) < atleast:
        raise NotMeasurableError(
            f"needs {atleast} or more groups of {least} examples; {found.name} has {len(found.large)}"
        )
    return replace(found, notes=tuple(_remarks(found)))


def _remarks(found: Grouping) -> Iterator[str]:
    lost, least = int((found.code < 0).sum()), found.least
    if lost:
        yield f"{found.name} is missing for {lost} of {len(found.code)} examples: they are in no group"
    small = [f"{n} ({size})" for n, size in zip(found.names, found.sizes, strict=True) if size < least]
    if small:
        yield f"left out of the number as smaller than {least} example{'s' * (least != 1)}: {_some(small)}"
    if found.absent:
        yield f"without a test example: {_some(found.absent)}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def counted(evidence: Evidence, of: int) -> tuple[Tensor, Tensor, list[int]]:
    """Return predictions and targets as codes of the classes that count, each ``(N,)``, and those classes.

    A class that does not count is `LEFT_OUT`. With ``of`` below zero every class counts, one against the rest; of
    two classes only class 1 does, as what is said of the other follows.

    Args:
        evidence: Gives the predictions.
        of: The one class that counts, or -1.

    Raises:
        NotMeasurableError: No test example is of the class.
    """
    targets, said = evidence.split("test").targets, evidence.predictions("test")
    if of < 0 and evidence.task.classes == 2:
        of = 1
    present = torch.unique(targets).tolist()
    if of < 0:
        return said, targets, present
    if of not in present:
        known = ", ".join(str(c) for c in present[: 2 * NAMED])
        raise NotMeasurableError(f"needs test examples of class {of}; the test targets are of classes {known}")
    return torch.where(said == of, 0, LEFT_OUT), torch.where(targets == of, 0, LEFT_OUT), [of]


@dataclass(frozen=True)
class Table:
    """Counts of each class, one against the rest, in each group and resample; every field ``(draws, classes, groups)``.

    Attributes:
        hits: Examples of the class that are predicted as it.
        truly: Examples of the class.
        chosen: Examples that are predicted as the class.
        size: Examples of the group; the same for every class.
    """

    hits: np.ndarray
    truly: np.ndarray
    chosen: np.ndarray
    size: np.ndarray

    def recall(self) -> np.ndarray:
        """Return the true-positive rates; NaN where a group has no example of the class."""
        return ratio(self.hits, self.truly)

    def alarms(self) -> np.ndarray:
        """Return the false-positive rates; NaN where every example of a group is of the class."""
        return ratio(self.chosen - self.hits, self.size - self.truly)

    def selection(self) -> np.ndarray:
        """Return the shares that are predicted as the class; NaN where a group is empty."""
        return ratio(self.chosen, self.size)


def table(said: np.ndarray, target: np.ndarray, code: np.ndarray, weights: np.ndarray) -> Table:
    """Return the counts of every class that occurs among the targets and every group that occurs, by rising code.

    Args:
        said: Predicted class, ``(N,)``; one that is no target counts as none.
        target: True class, ``(N,)``; those below zero belong to none.
        code: Group of each example, ``(N,)``; those below zero belong to none.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    groups, member = occurring(code)
    kinds = np.unique(target[target >= 0])
    classes, width = len(kinds), len(kinds) * groups

    def cells(label: np.ndarray) -> np.ndarray:
        place = np.minimum(np.searchsorted(kinds, label), classes - 1)
        known = (kinds[place] == label) & (member >= 0)
        return np.where(known, place * groups + member, LEFT_OUT)

    truth, one = cells(target), np.ones(len(code))
    truly, hits = sums(truth, width, weights, one, (said == target).astype(np.float64))
    (chosen,) = sums(cells(said), width, weights, one)
    (size,) = sums(member, groups, weights, one)
    truly, hits, chosen = (t.reshape(len(weights), classes, groups) for t in (truly, hits, chosen))
    return Table(hits, truly, chosen, np.broadcast_to(size[:, None, :], truly.shape))


def gap(rate: np.ndarray) -> np.ndarray:
    """Return the largest minus the smallest rate along the last axis; NaN where fewer than two are known.

    Args:
        rate: ``(..., groups)``.
    """
    far: np.ndarray = np.fmax.reduce(rate, axis=-1, initial=np.nan) - np.fmin.reduce(rate, axis=-1, initial=np.nan)
    return np.where(np.isfinite(rate).sum(-1) > 1, far, np.nan)


def _columns(evidence: Evidence, group: str) -> list[str]:
    groups = evidence.split("test").groups
    if not groups:
        raise NotMeasurableError(f"needs groups; task {evidence.task.name} has none")
    if not group:
        return [next(iter(groups))]
    if group == "*":
        return list(groups)
    if group in groups:
        return [group]
    columns = list(dict.fromkeys(part.strip() for part in group.split(AND)))
    for column in columns:
        if column not in groups:
            raise NotMeasurableError(f"needs the grouping {column!r}; {nearest(column, groups)}")
    return columns


def _intersect(evidence: Evidence, columns: list[str], least: int) -> Grouping:
    stacked = _cells(evidence.split("test"), columns)
    whole = (stacked >= 0).all(1)
    # Sorted by the first code, then the next: the same order for every model of a task.
    cells, place, sizes = _distinct(stacked[whole])
    code = torch.full((len(stacked),), LEFT_OUT, dtype=torch.int64)
    code[whole] = place
    elsewhere = [_cells(s, columns) for s in evidence.task.splits.values() if set(columns) <= set(s.groups)]
    every = _distinct(torch.cat(elsewhere))[0]
    here = {tuple(cell) for cell in cells.tolist()}
    absent = [c for c in every[(every >= 0).all(1)].tolist() if tuple(c) not in here]

    def named(cell: list[int]) -> str:
        known = evidence.task.group_names
        return AND.join(_named(column, each, known.get(column, ())) for column, each in zip(columns, cell, strict=True))

    names, gone = (tuple(map(named, some)) for some in (cells.tolist(), absent))
    return Grouping(AND.join(columns), code, names, tuple(sizes.tolist()), least, gone)


def _distinct(cells: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the different rows of codes from -1, sorted, which each row is, and how many are alike.

    Rows are written as one number each, whose digits they are: to sort numbers takes a tenth of the time of rows.
    """
    most = (cells.max(0).values + 2).tolist() if len(cells) else [1] * cells.shape[1]
    key = torch.zeros(len(cells), dtype=torch.int64)
    for column, base in zip(cells.unbind(1), most, strict=True):
        key = key * base + column + 1
    found, place, sizes = torch.unique(key, return_inverse=True, return_counts=True)
    digits = []
    for base in reversed(most):
        digits.append(found % base - 1)
        found = found // base
    return torch.stack(digits[::-1], 1), place, sizes


def _cells(split: Split, columns: list[str]) -> Tensor:
    return torch.stack([split.groups[c] for c in columns], 1)


def _named(column: str, code: int, known: tuple[str, ...]) -> str:
    return known[code] if code < len(known) else f"{column} {code}"
