"""Which group each example belongs to, and rates by group and class: what the items of this family share.

A grouping is a named column of group codes, an intersection of several (``sex x race``) or of all of them (``*``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.errors import NotMeasurableError, nearest
from whatelse.evidence import Evidence

LEFT_OUT = -1
AND = " x "
HELP = f"Name of the grouping; names joined by '{AND}' intersect; * intersects all; empty takes the first."
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
    """

    name: str
    code: Tensor
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    least: int

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

    def sized_names(self) -> list[str]:
        """Return the names of all groups, those that are too small with their size: ``female x Black (n=12)``."""
        pairs = zip(self.names, self.sizes, strict=True)
        return [name if size >= self.least else f"{name} (n={size})" for name, size in pairs]


def grouping(evidence: Evidence, group: str, least: int, *, atleast: int = 1) -> Grouping:
    """Return the groups of the test examples; what is missing or too small is named in a note.

    Args:
        evidence: Its task has the groups, and it takes the notes.
        group: A grouping, several joined by `AND`, ``*`` for all of them; empty for the task's first.
        least: Examples below which a group is left out.
        atleast: How many groups must remain.

    Raises:
        NotMeasurableError: The task has no such grouping, or too few of its groups are large enough.
    """
    columns = _columns(evidence, group)
    found = _intersect(evidence, columns, least)
    lost = int((found.code < 0).sum())
    if lost:
        evidence.note(f"{found.name} is missing for {lost} of {len(found.code)} examples: they are in no group")
    small = [f"{n} ({size})" for n, size in zip(found.names, found.sizes, strict=True) if size < least]
    if small:
        more = f" and {len(small) - NAMED} more" if len(small) > NAMED else ""
        evidence.note(f"left out as smaller than {least} example{'s' * (least != 1)}: {', '.join(small[:NAMED])}{more}")
    if len(found.large) < atleast:
        raise NotMeasurableError(
            f"needs {atleast} or more groups of {least} examples; {found.name} has {len(found.large)}"
        )
    return found


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


def rates(outcome: np.ndarray, code: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the mean outcome of every group that occurs, by rising code, in every resample, ``(draws, groups)``.

    NaN where a resample has no example of a group.

    Args:
        outcome: ``(N,)``.
        code: Group of each example, ``(N,)``; those below zero belong to none.
        counts: How often each example stands in each resample, ``(draws, N)``.
    """
    known, cell = _occurring(code)
    size, hits = sums(cell, known, counts, np.ones(len(code)), outcome)
    return ratio(hits, size)


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


def table(said: np.ndarray, target: np.ndarray, code: np.ndarray, counts: np.ndarray) -> Table:
    """Return the counts of every class that occurs among the targets and every group that occurs, by rising code.

    Args:
        said: Predicted class, ``(N,)``; one that is no target counts as none.
        target: True class, ``(N,)``; those below zero belong to none.
        code: Group of each example, ``(N,)``; those below zero belong to none.
        counts: How often each example stands in each resample, ``(draws, N)``.
    """
    groups, member = _occurring(code)
    kinds = np.unique(target[target >= 0])
    classes, width = len(kinds), len(kinds) * groups

    def cells(label: np.ndarray) -> np.ndarray:
        place = np.minimum(np.searchsorted(kinds, label), classes - 1)
        known = (kinds[place] == label) & (member >= 0)
        return np.where(known, place * groups + member, LEFT_OUT)

    truth, one = cells(target), np.ones(len(code))
    truly, hits = sums(truth, width, counts, one, (said == target).astype(np.float64))
    (chosen,) = sums(cells(said), width, counts, one)
    (size,) = sums(member, groups, counts, one)
    truly, hits, chosen = (t.reshape(len(counts), classes, groups) for t in (truly, hits, chosen))
    return Table(hits, truly, chosen, np.broadcast_to(size[:, None, :], truly.shape))


def sums(cell: np.ndarray, cells: int, counts: np.ndarray, *weights: np.ndarray) -> list[np.ndarray]:
    """Return the sum of each weight over the examples of each cell in every resample, each ``(draws, cells)``.

    Args:
        cell: Cell of each example, ``(N,)``; those below zero belong to none.
        cells: How many cells there are.
        counts: How often each example stands in each resample, ``(draws, N)``.
        weights: Each ``(N,)``.
    """
    from scipy.sparse import csr_array  # noqa: PLC0415 - listing all items must stay light

    # Sparse, as a row has one cell of what may be hundreds.
    row = np.nonzero(cell >= 0)[0]
    column = cell[row].astype(np.int64)
    entries = np.concatenate([w[row] for w in weights])
    places = np.concatenate([column + i * cells for i in range(len(weights))])
    held = csr_array((entries, (places, np.tile(row, len(weights)))), shape=(cells * len(weights), len(cell)))
    return np.split((held @ counts.T).T, len(weights), axis=1)


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return ``part / whole``, NaN where the whole is nothing.

    Args:
        part: Any shape.
        whole: Of the same shape.
    """
    share: np.ndarray = np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)
    return share


def gap(rate: np.ndarray) -> np.ndarray:
    """Return the largest minus the smallest rate along the last axis; NaN where fewer than two are known.

    Args:
        rate: ``(..., groups)``.
    """
    far: np.ndarray = np.fmax.reduce(rate, axis=-1) - np.fmin.reduce(rate, axis=-1)
    return np.where(np.isfinite(rate).sum(-1) > 1, far, np.nan)


def mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return the mean of what is known along an axis; NaN where nothing is.

    Args:
        values: With NaN for what is not known.
        axis: The axis.
    """
    known = np.isfinite(values)
    return ratio(np.where(known, values, 0).sum(axis), known.sum(axis))


def _occurring(code: np.ndarray) -> tuple[int, np.ndarray]:
    known = np.unique(code[code >= 0])
    return len(known), np.where(code >= 0, np.searchsorted(known, code), LEFT_OUT)


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
    groups, known = evidence.split("test").groups, evidence.task.group_names
    stacked = torch.stack([groups[c] for c in columns], 1)
    whole = (stacked >= 0).all(1)
    # Sorted by the first code, then the next: the same order for every model of a task.
    cells, place, sizes = torch.unique(stacked[whole], dim=0, return_inverse=True, return_counts=True)
    code = torch.full((len(stacked),), LEFT_OUT, dtype=torch.int64)
    code[whole] = place
    names = tuple(
        AND.join(_named(column, each, known.get(column, ())) for column, each in zip(columns, cell, strict=True))
        for cell in cells.tolist()
    )
    return Grouping(AND.join(columns), code, names, tuple(sizes.tolist()), least)


def _named(column: str, code: int, known: tuple[str, ...]) -> str:
    return known[code] if code < len(known) else f"{column} {code}"
