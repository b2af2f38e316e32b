"""Order statistics of more numbers than fit into memory: exact, from counts of the two halves of their bits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_BINS = 2**16

# Shows every stream, by name and part by part, to what it is given; it is called twice and shows the same.
Stream = Callable[[Callable[[str, Tensor], None]], None]


def tails(stream: Stream, clip: float) -> dict[str, tuple[Tensor, Tensor]]:
    """Return of each stream the number above which all but the share ``clip`` lie, and that below which they do.

    Of ``n`` numbers in ascending order they are those at the places ``int(clip * (n - 1))`` from either end.

    Args:
        stream: Shows numbers, which are taken in single precision.
        clip: Share, in [0, 1).
    """
    upper: dict[str, Tensor] = {}

    def count(name: str, x: Tensor) -> None:
        if x.numel():
            upper[name] = upper.get(name, x.new_zeros(_BINS, dtype=torch.long)) + _histogram(_keys(x) >> 16)

    stream(count)
    sought = {name: [_find(counts, rank) for rank in _ranks(counts, clip)] for name, counts in upper.items()}
    lower = {name: [torch.zeros_like(upper[name]) for _ in pair] for name, pair in sought.items()}

    def refine(name: str, x: Tensor) -> None:
        if x.numel():
            keys = _keys(x)
            for counts, (bin_, _) in zip(lower[name], sought[name], strict=True):
                counts += _histogram(keys[(keys >> 16) == bin_ - _BINS // 2] & (_BINS - 1), 0)

    stream(refine)
    found = {}
    for name, pair in sought.items():
        keys = [
            ((bin_ - _BINS // 2) << 16) | _find(counts, rest)[0]
            for counts, (bin_, rest) in zip(lower[name], pair, strict=True)
        ]
        low, high = _values(torch.tensor(keys, dtype=torch.int32, device=upper[name].device))
        found[name] = (low, high)
    return found


def _ranks(counts: Tensor, clip: float) -> tuple[int, int]:
    total = int(counts.sum())
    beyond = int(clip * (total - 1))
    return beyond, total - 1 - beyond


def _find(counts: Tensor, rank: int) -> tuple[int, int]:
    """Return the bin that holds the number of a rank, and its rank there."""
    upto = counts.cumsum(0)
    at = int(torch.searchsorted(upto, rank, right=True))
    return at, rank - (int(upto[at - 1]) if at else 0)


def _histogram(keys: Tensor, shift: int = _BINS // 2) -> Tensor:
    return torch.bincount(keys + shift, minlength=_BINS)


def _keys(x: Tensor) -> Tensor:
    """Return integers in the order of the numbers: of negative floats larger bits are smaller numbers."""
    bits = x.detach().flatten().float().view(torch.int32)
    return torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


def _values(keys: Tensor) -> Tensor:
    return torch.where(keys < 0, keys ^ 0x7FFFFFFF, keys).view(torch.float32)
