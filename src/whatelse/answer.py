"""What a behaviour answers: named columns, one value per row, and all that must be said beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Doubt:
    """A failed validity check: the verdict becomes *not trusted*.

    Attributes:
        text: One line that names the check and the number.
        one_sided: The value can only look better than it is, as under too weak an attack: *worsened* stands.
    """

    text: str
    one_sided: bool = False


@dataclass(frozen=True)
class Parts:
    """What the numbers of ``by_part`` are of, in its order.

    Attributes:
        names: The same, in the same order, for every model; last, those of parts without an example, unanswered.
        unit: Of the parts, where it is not the behaviour's own.
        better: Of the parts, ``higher``, ``lower`` or ``neither``, where it is not the behaviour's own.
    """

    names: tuple[str, ...] = ()
    unit: str = ""
    better: str = ""


@dataclass(frozen=True, eq=False)
class Shown:
    """What people can look at, for the report.

    Attributes:
        kind: Which exhibit draws it, of `whatelse.exhibits`, such as ``rebuilt`` or ``tree``.
        tensors: What it is drawn from.
    """

    kind: str
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Answer:
    """What a behaviour says of one model.

    Attributes:
        columns: By name, one value per row each, ``(N,)``. The first ones tell kinds of rows apart, such as a small
            group, where examples are left out in turn.
        rows: Which test examples the rows are of, ``(N,)``; None where they are the first N, in order.
        parts: What the numbers of ``by_part`` are of.
        notes: Remarks on how far the values go; printed beside the verdict.
        doubts: Failed validity checks.
        shown: What people can look at.
        ends: ``worst`` and ``blind``, where the data or the settings decide them and not the item's constants.
    """

    columns: Mapping[str, Tensor]
    rows: Tensor | None = None
    parts: Parts = Parts()
    notes: tuple[str, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    shown: tuple[Shown, ...] = ()
    ends: Mapping[str, float | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {name: tuple(column.shape) for name, column in self.columns.items()}
        if not lengths or len(set(lengths.values())) > 1 or any(len(shape) != 1 for shape in lengths.values()):
            raise ValueError(f"columns of shapes {lengths}; at least one is needed, all of the same (N,)")

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(next(iter(self.columns.values())))

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a column as an array, ``(N,)``.

        Args:
            name: Its name.
        """
        array: np.ndarray = self.columns[name].numpy()
        return array

    def table(self, *names: str) -> np.ndarray:
        """Return columns side by side, ``(N, k)``; all of them, in their order, where none is named.

        Args:
            names: Their names.
        """
        columns = [self.columns[name] for name in names or self.columns]
        whole = _beside(columns)
        return np.column_stack([column.numpy() for column in columns]) if whole is None else whole

    def matrix(self) -> np.ndarray:
        """Return all values in the form that statistics take: ``(N,)`` of one column, ``(N, k)`` of several."""
        return self[next(iter(self.columns))] if len(self.columns) == 1 else self.table()

    def over(self, values: np.ndarray) -> Answer:
        """Return the same answer over other values, such as those in double precision, or of some rows.

        Args:
            values: In the form of `matrix`.
        """
        rows = np.reshape(values, (len(values), -1))
        return replace(self, columns=dict(zip(self.columns, torch.from_numpy(rows).unbind(1), strict=True)))


def _beside(columns: Sequence[Tensor]) -> np.ndarray | None:
    """Return columns that lie side by side in memory as they are, ``(N, k)``: a summary asks for them on every block.

    None where they do not.
    """
    first = columns[0]
    start, (stride,), memory = first.storage_offset(), first.stride(), first.untyped_storage().data_ptr()
    for at, column in enumerate(columns):
        place = (column.storage_offset() - at, *column.stride(), column.untyped_storage().data_ptr(), column.dtype)
        if place != (start, stride, memory, first.dtype):
            return None
    found: np.ndarray = first.as_strided((len(first), len(columns)), (stride, 1)).numpy()
    return found
