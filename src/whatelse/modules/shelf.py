"""Room for many numbers: in memory, or in a file without a name where they are many."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

_LARGE = 2**28  # bytes from which on they lie in a file


def shelf(shape: Sequence[int], dtype: torch.dtype, large: int = _LARGE) -> Tensor:
    """Return a tensor without numbers yet.

    Args:
        shape: Of the tensor.
        dtype: Likewise.
        large: Bytes from which on it lies in a file, which is gone with the tensor.
    """
    size = prod(shape) * dtype.itemsize
    if size < large:
        return torch.empty(tuple(shape), dtype=dtype)
    with tempfile.NamedTemporaryFile() as file:  # it lives as long as somebody maps it
        file.truncate(size)
        return torch.from_file(file.name, shared=True, size=prod(shape), dtype=dtype).view(tuple(shape))
