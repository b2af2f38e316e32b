"""Which channels may go together in a language model: proposed by the shapes of layers that stand side by side.

Torch-Pruning follows the channels of a whole decoder through every residual sum, in minutes where blocks are many. In a
decoder the channels that can go at all, without touching what all blocks share, run from layers to one reader beside
them: of a perceptron from its gates to what leads back, of attention from queries, keys and values to what leads out,
in heads that share their keys. A proposal is no more than that; whoever gets it tries it out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from whatelse.modules.decoder import Decoder

_Units = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Proposal:
    """Channels that may go together.

    Attributes:
        name: Of the layer that reads them.
        block: Channels of a unit, where they are read.
        places: Of every layer and side the channels of each unit.
    """

    name: str
    block: int
    places: dict[tuple[str, str], _Units]


def proposals(model: Decoder, sizes: Mapping[int, Sequence[int]]) -> Iterator[tuple[str, list[Proposal]]]:
    """Return for every layer that may read channels of its neighbors alone what could go, likeliest first.

    Args:
        model: A language model.
        sizes: Of a head, for every number of channels that is split into heads.

    Yields:
        The name of the reader, and proposals.
    """
    for around, parent in model.named_modules():
        beside = {f"{around}.{n}": part for n, part in parent.named_children() if type(part) is nn.Linear}
        for name, reader in beside.items():
            makers = {n: part for n, part in beside.items() if n != name and part.in_features == reader.out_features}
            found = list(_of(name, reader, makers, sizes))
            if found:
                yield name, found


def _of(
    name: str, reader: nn.Linear, makers: Mapping[str, nn.Linear], sizes: Mapping[int, Sequence[int]]
) -> Iterator[Proposal]:
    width = reader.in_features
    alike = {n: width for n, part in makers.items() if part.out_features == width}
    if alike and width != reader.out_features:  # of attention heads go, not channels
        yield _proposal(name, width, alike, width)
    for size in sizes.get(width, ()):
        fed = {n: p.out_features for n, p in makers.items() if width % p.out_features == 0 == p.out_features % size}
        if fed and size > 1:
            yield _proposal(name, width, fed, min(fed.values()) // size)


def _proposal(name: str, width: int, makers: Mapping[str, int], count: int) -> Proposal:
    places = {(n, "out"): _cut(size, count) for n, size in makers.items()}
    return Proposal(name, width // count, {**places, (name, "in"): _cut(width, count)})


def _cut(width: int, count: int) -> _Units:
    step = width // count
    return tuple(tuple(range(at * step, (at + 1) * step)) for at in range(count))


class _Shapes(TorchFunctionMode):
    """Sees where a forward splits its last dimension in two, as attention does into heads and the size of one."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[int, int]] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # noqa: ANN401 - whatever torch returns
        del types
        out = func(*args, **(kwargs or {}))
        given = args[0] if args else None
        if isinstance(out, Tensor) and isinstance(given, Tensor) and out.dim() > max(3, given.dim()):
            self.seen.update((a * b, b) for a, b in pairwise(out.shape[-2:]))
        return out


@torch.no_grad()
def head_sizes(model: nn.Module, example: Tensor) -> dict[int, list[int]]:
    """Return the sizes of a head that occur for each number of channels.

    Args:
        model: In evaluation mode.
        example: Some inputs, ``(N, ...)``.
    """
    shapes = _Shapes()
    with shapes:
        model(example)
    sizes: defaultdict[int, list[int]] = defaultdict(list)
    for count, size in sorted(shapes.seen):
        sizes[count].append(size)
    return sizes
