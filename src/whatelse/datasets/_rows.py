"""Rows of arrays that nothing can be asked about."""

from __future__ import annotations

from torch import Tensor

from whatelse.errors import TaskError

_PART = 4096  # examples that are looked at together


def checked(inputs: Tensor, labels: Tensor, prefix: str, where: str) -> Tensor:
    """Return inputs; rows that nothing can be asked about are refused by the numbers that they have in the file.

    Args:
        inputs: ``(N, ...)``.
        labels: Theirs, ``(N,)``.
        prefix: Of their arrays, such as ``test_``.
        where: How messages call the file.

    Raises:
        TaskError: There is one.
    """
    for row in (labels < 0).nonzero().flatten().tolist()[:1]:
        told = f"{where}: {prefix}targets of row {row}, from 0, are {int(labels[row])}"
        raise TaskError(f"{told}; whole numbers from 0 are needed, in the order of the model's outputs")
    for start in range(0, len(inputs), _PART):  # a mask of all inputs at once would be a quarter of them
        bad = ~inputs[start : start + _PART].flatten(1).isfinite().all(1)
        if bool(bad.any()):
            row = start + int(bad.nonzero()[0])
            raise TaskError(f"{where}: {prefix}inputs of row {row}, from 0, hold NaN or infinity; fill or drop them")
    return inputs
