"""How a batch lies in memory, and how it is known that one was too large."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from whatelse import mapped
from whatelse.errors import NotMeasurableError
from whatelse.models import asked

_LARGE = 16  # pixels along a side


def channels_last(x: Tensor) -> Tensor:
    """Return images of some size with their channels last in memory, in which convolutions on a CPU are faster.

    Only for a model that was seen to answer alike: layers that ``view`` their inputs do not.

    Args:
        x: A batch of inputs.
    """
    return asked.channels_last(x) if x.dim() == 4 and x.shape[-1] >= _LARGE else x


def collected(
    inputs: Tensor,
    look: Callable[[Tensor, slice], dict[str, Tensor]],
    size: int,
    least: int,
    smaller: Callable[[int], None],
) -> dict[str, Tensor]:
    """Return what was seen of all inputs, batch by batch, each written into its place at once.

    What is not seen in every batch is left out: some of its rows would be whatever stood in memory.

    Args:
        inputs: ``(N, ...)``.
        look: Takes a batch and its rows, returns tensors with a row for each of its examples, by name.
        size: Of a batch, at the most; halved where memory runs out.
        least: Fewest examples of a batch, where there are as many.
        smaller: Called with the new size when it is halved.

    Raises:
        OutOfMemoryError: Memory ran out with a single example.
        RuntimeError: Whatever else the model raised.
    """
    found: dict[str, Tensor] = {}
    filled: dict[str, int] = {}
    start = 0
    while start < len(inputs):
        rows = slice(start, _upto(start, len(inputs), size, least))
        try:
            seen = look(inputs[rows], rows)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not out_of_memory(error) or size == 1:
                raise
            size //= 2
            smaller(size)
            continue
        for name, part in seen.items():
            if name not in found:
                found[name] = _room(part, len(inputs), name)
            found[name][rows] = part
            filled[name] = filled.get(name, 0) + len(part)
        start = rows.stop
    return {name: whole for name, whole in found.items() if filled[name] == len(inputs)}


def _room(part: Tensor, count: int, name: str) -> Tensor:
    """Return where what is seen of all inputs comes to stand: large ones do not fit into memory beside others."""
    if part.device.type != "cpu":
        return part.new_empty(count, *part.shape[1:])
    return mapped.empty((count, *part.shape[1:]), part.dtype, f"{name} of {count} examples", NotMeasurableError)


def _upto(start: int, count: int, size: int, least: int) -> int:
    """Return where a batch ends, so that what is left over for the last one is no fewer than ``least``."""
    stop = min(start + size, count)
    short = least - (count - stop)
    return stop - short if 0 < short < least and stop - start >= least + short else stop


def out_of_memory(error: Exception) -> bool:
    """Say whether memory ran out: not every allocator has an error of its own.

    Args:
        error: What was raised.
    """
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)
