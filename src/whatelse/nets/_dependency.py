"""Which channels of which layers must go together: Torch-Pruning's dependency graph, every group of it tried out.

A group couples layers that a removed channel runs through. Torch-Pruning infers groups from a trace, and guesses where
it does not know an operation. So none is believed: channels of each group are removed from a copy, and the copy must
answer as the dense model does with these channels set to zero. Groups that fail this, as those through zero-padded
shortcuts, sizes written into the forward or layers that we cannot cut, are left alone with a reason.

Source:
    Fang et al., DepGraph: Towards any structural pruning, CVPR 2023, arXiv:2301.12900.
"""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from whatelse.errors import MissingExtraError, RecipeError
from whatelse.nets._surgery import Cut, Place, axes, mask, part_at, remove
from whatelse.nets._walk import copied

_Units = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Group:
    """Channels that can be removed, in units of one channel or of one attention head.

    Attributes:
        name: The layer whose output it starts from.
        block: Channels a unit.
        places: For every place that the group runs through, the indices of each unit there.
    """

    name: str
    block: int
    places: dict[Place, _Units]

    def __len__(self) -> int:
        """Return the number of units."""
        return len(next(iter(self.places.values())))

    def cut(self, units: Iterable[int]) -> dict[Place, list[int]]:
        """Return what the removal of some units takes away.

        Args:
            units: Which units go.
        """
        picks = list(units)
        return {place: sorted(i for u in picks for i in of[u]) for place, of in self.places.items()}


def groups(model: nn.Module, example: Tensor, who: str) -> tuple[list[Group], dict[str, str]]:
    """Return the groups that can be removed from, and the reason why each other one is left alone, by name.

    Args:
        model: In evaluation mode; not changed.
        example: A few inputs, ``(n, ...)``.
        who: Begins messages, such as ``prune.structured``.

    Raises:
        MissingExtraError: Torch-Pruning is not installed.
        RecipeError: Torch-Pruning cannot trace the model.
    """
    found: list[Group] = []
    refused: dict[str, str] = {}
    if not isinstance(model(example), Tensor):
        raise RecipeError(f"{who}: this {type(model).__name__} does not return one tensor of logits")
    sizes = _head_sizes(model, example)
    order = {name: i for i, (name, _) in enumerate(model.named_modules())}
    for root, items in sorted(_traced(model, example, who), key=lambda group: order[group[0]]):
        reason = _untouchable(model, items)
        if not reason:
            count = len(items[0][1])
            for block in (1, *(size for size in sizes.get(count, ()) if 1 < size < count)):
                group = Group(root, block, _places(items, count, block))
                reason = _failure(model, example, group)
                if not reason:
                    found.append(group)
                    break
        if reason:
            refused[root or "the only layer"] = reason
    return found, refused


def without(model: nn.Module, example: Tensor, chosen: Sequence[tuple[Group, Sequence[int]]], who: str) -> nn.Module:
    """Return a copy of the model without the chosen units; it answers as the model does with them set to zero.

    Args:
        model: Not changed.
        example: A few inputs, on which the copy is tried.
        chosen: Groups of `groups`, with the units that go.
        who: Begins messages.

    Raises:
        RecipeError: The copy does not answer so.
    """
    cut: defaultdict[Place, list[int]] = defaultdict(list)
    for group, units in chosen:
        for place, gone in group.cut(units).items():
            cut[place] += gone
    cut = defaultdict(list, {place: gone for place, gone in cut.items() if gone})
    reason = _differs(model, example, cut)
    if reason:
        names = ", ".join(group.name for group, units in chosen if units)
        raise RecipeError(f"{who}: removing channels of {names} together breaks the model ({reason}); remove fewer")
    return remove(model, cut)


_Items = list[tuple[Place, list[int], list[int]]]  # place, indices there, and the channel of the root of each


def _traced(model: nn.Module, example: Tensor, who: str) -> list[tuple[str, _Items]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torch_pruning  # type: ignore[import-untyped,unused-ignore]  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{who} needs Torch-Pruning: pip install 'whatelse[structured]'") from error
    copy = copied(model).requires_grad_(requires_grad=True)
    try:
        with warnings.catch_warnings(), torch.enable_grad():  # type: ignore[no-untyped-call,unused-ignore]
            warnings.simplefilter("ignore")
            graph = torch_pruning.DependencyGraph()
            graph.build_dependency(copy, example, forward_fn=lambda m, x: m(x), verbose=False)
            return [_plain(copy, graph, group) for group in graph.get_all_groups()]
    except Exception as error:  # whatever a trace of any model may raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise RecipeError(f"{who}: Torch-Pruning cannot trace this {type(model).__name__}: {reason}") from error


def _plain(copy: nn.Module, graph: Any, group: Any) -> tuple[str, _Items]:  # noqa: ANN401 - Torch-Pruning's own
    names: dict[int, str] = {id(part): name for name, part in copy.named_modules()}
    loose = {id(p): name for name, p in copy.named_parameters()}
    items: _Items = []
    for entry in group:
        target = entry.dep.target.module
        if id(target) in loose:
            place = (loose[id(target)], "loose")
        elif id(target) in names:
            place = (names[id(target)], "out" if graph.is_out_channel_pruning_fn(entry.dep.handler) else "in")
        else:
            continue  # an operation without tensors of its own
        items.append((place, list(entry.idxs), list(entry.root_idxs)))
    return items[0][0][0], items


def _untouchable(model: nn.Module, items: _Items) -> str:
    """Return why a group must be left alone whatever a trial says; nothing where there is no such reason."""
    owners = Counter(id(p) for part in model.modules() for p in part.parameters(recurse=False))
    for (name, side), _, roots in items:
        part = part_at(model, name)
        tensors = axes(part, side)
        if not tensors and not _is_passive(part):
            return f"{name} is a {type(part).__name__} that cannot be cut"
        if None in roots:
            return f"{name} repeats its channels"
        if any(owners[id(part_at(model, f"{name}.{t}".strip(".")))] > 1 for t in tensors):
            return f"{name} shares its weight with another layer"
    return ""


def _is_passive(part: nn.Module | Tensor) -> bool:
    """Say whether channels pass through a part that holds nothing of its own for any of them."""
    return isinstance(part, nn.Module) and all(t.numel() < 2 for t in (*part.parameters(), *part.buffers()))


def _places(items: _Items, count: int, block: int) -> dict[Place, _Units]:
    places: dict[Place, _Units] = {}
    for place, indices, roots in items:
        units: list[list[int]] = [[] for _ in range(count // block)]
        for index, root in zip(indices, roots, strict=True):
            units[root // block].append(index)
        places[place] = tuple(tuple(sorted(unit)) for unit in units)
    return places


def _failure(model: nn.Module, example: Tensor, group: Group) -> str:
    """Remove one unit, then every second one, and return how the copy goes wrong; nothing where it does not."""
    if len(group) < 2:
        return "it has a single channel"
    for units in ([0], range(1, len(group), 2)):
        reason = _differs(model, example, group.cut(units))
        if reason:
            return reason
    return ""


@torch.no_grad()
def _differs(model: nn.Module, example: Tensor, cut: Cut) -> str:
    dense, masked = model(example), mask(model, cut)(example)
    try:
        small = remove(model, cut)(example)
    except (RuntimeError, ValueError, IndexError, TypeError, AssertionError) as error:
        return f"its forward fails without them: {' '.join(str(error).split())[:120]}"
    if small.shape != masked.shape:
        return "its channels are the outputs of the model"
    # Rounding of float32 through a deep network stays near 1e-5 of the outputs' size; a wrong channel does not.
    if not torch.allclose(small, masked, rtol=0, atol=1e-4 * float(dense.abs().max())):
        return "its answers are not those with these channels set to zero"
    return ""


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
def _head_sizes(model: nn.Module, example: Tensor) -> dict[int, list[int]]:
    """Return the sizes of a head that occur for each number of channels."""
    shapes = _Shapes()
    with shapes:
        model(example)
    sizes: defaultdict[int, list[int]] = defaultdict(list)
    for count, size in sorted(shapes.seen):
        sizes[count].append(size)
    return sizes
