"""How a batch lies in memory, and how it is known that one was too large."""

from __future__ import annotations

import torch
from torch import Tensor

_LARGE = 16  # pixels along a side


def laid(x: Tensor) -> Tensor:
    """Return images of some size with their channels last in memory, in which convolutions on a CPU are faster.

    Only for a model that was seen to answer alike: layers that ``view`` their inputs do not.

    Args:
        x: A batch of inputs.
    """
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 and x.shape[-1] >= _LARGE else x


def upto(start: int, count: int, size: int, least: int) -> int:
    """Return where a batch ends, so that what is left over for the last one is no fewer than ``least``.

    Args:
        start: Where it begins.
        count: Number of examples.
        size: Of a batch, at the most.
        least: Fewest examples that are asked at once, where there are as many.
    """
    stop = min(start + size, count)
    short = least - (count - stop)
    return stop - short if 0 < short < least and stop - start >= least + short else stop


def out_of_memory(error: Exception) -> bool:
    """Say whether memory ran out: not every allocator has an error of its own.

    Args:
        error: What was raised.
    """
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)
