"""Inner activations of teacher and student: which correspond, and how they are read.

An activation is ``(N, channels, height, width)``, ``(N, tokens, channels)`` or ``(N, units)``. A hook that reads one
hands a copy on, so that a later layer that writes in place does not change what was read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse.layers.compressed import CompressedLayer
from whatelse.modules.calibration import batches, split
from whatelse.modules.device import home
from whatelse.modules.walk import branches

See = Callable[[Tensor], dict[str, Tensor]]
_ROOM = 2**26
_BATCH, _STEP = 256, 2**22


@dataclass(frozen=True)
class Point:
    """A place in a model where activations can be read: the output of one of its parts.

    Attributes:
        name: Name of the part.
        depth: Share of the model's layers with weights that are done when it comes.
        shape: Shape of the activation of one example.
        block: Whether the part has parts of its own.
    """

    name: str
    depth: float
    shape: tuple[int, ...]
    block: bool = False

    @property
    def places(self) -> int:
        """Positions of a map or tokens of a sequence; 1 for a vector."""
        if len(self.shape) == 3:
            return self.shape[1] * self.shape[2]
        return self.shape[0] if len(self.shape) == 2 else 1


def points(model: nn.Module, inputs: Tensor) -> list[Point]:
    """Return the places between the first layer with weights and the last, in order of the calls.

    Left out are parts that are called more than once or not by every example, outputs that are no such activation
    (tuples, or tensors whose first axis is not the examples), and layer norms, after which all tokens have one length
    and so a flat map.

    Args:
        model: In evaluation mode.
        inputs: All inputs that will be read, ``(N, ...)``; those of a model that torch.fx can trace go one way, and
            three of them are enough.
    """
    few, more = (_calls(model, inputs[torch.arange(n) % len(inputs)]) for n in (2, 3))
    other = _once(few)
    last = max((depth for _, depth, _ in more), default=0)
    found = []
    for name, (depth, shape) in _once(more).items():
        fits = shape[:1] == (3,) and other.get(name, (0, ()))[1] == (2, *shape[1:]) and len(shape) in {2, 3, 4}
        part = model.get_submodule(name)
        if fits and 0 < depth < last and not isinstance(part, nn.LayerNorm | nn.RMSNorm):
            found.append(Point(name, depth / last, shape[1:], bool(list(part.children()))))
    return _steady(model, found, inputs)


def _once(calls: list[tuple[str, int, tuple[int, ...]]]) -> dict[str, tuple[int, tuple[int, ...]]]:
    times = Counter(name for name, _, _ in calls)
    return {name: (depth, shape) for name, depth, shape in calls if times[name] == 1}


def _steady(model: nn.Module, found: list[Point], inputs: Tensor) -> list[Point]:
    """Return the places that every example reaches, and none twice: not those inside one expert of several."""
    if not branches(model):
        return found
    names = {point.name for point in found}
    for part in batches(model, inputs):
        seen = _once(_calls(model, part))
        names = {name for name in names if seen.get(name, (0, ()))[1][:1] == (len(part),)}
    return [point for point in found if point.name in names]


def partner(point: Point, others: Sequence[Point]) -> Point | None:
    """Return the place of another model that corresponds: the same name, else the nearest depth; None if none fits.

    Args:
        point: A place in the one model.
        others: Places in the other model; only those with as many axes are considered.
    """
    alike = [other for other in others if len(other.shape) == len(point.shape)]
    same = [other for other in alike if other.name == point.name]
    # Of places of one depth the last: behind the nonlinearity, at the end of a block.
    return min(same or reversed(alike), key=lambda other: abs(other.depth - point.depth), default=None)


def before(found: Sequence[Point], depth: float) -> Point:
    """Return the last place that is not deeper than a depth, or the first place.

    Args:
        found: Places in order of the calls; at least one.
        depth: Share of the layers with weights.
    """
    return next((p for p in reversed(found) if p.depth <= depth + 1e-9), found[0])


def ends(found: Sequence[Point]) -> list[Point]:
    """Return the ends of blocks, as inside a block a residual path goes past; all places where there is but one.

    Args:
        found: Places in order of the calls.
    """
    blocks = [point for point in found if point.block]
    return blocks if len({point.depth for point in blocks}) > 1 else list(found)


@contextmanager
def watched(model: nn.Module, names: Sequence[str]) -> Generator[dict[str, Tensor], None, None]:
    """Read activations while the model passes inputs; no hook is left behind.

    Where gradients are on and the model is frozen, they begin at what is read.

    Args:
        model: Any module.
        names: Names of its parts.

    Yields:
        The activations by name, filled in as they come.
    """
    seen: dict[str, Tensor] = {}

    def hook(name: str) -> Callable[[nn.Module, object, Tensor], Tensor]:
        def keep(module: nn.Module, given: object, output: Tensor) -> Tensor:
            del module, given
            fresh = torch.is_grad_enabled() and not output.requires_grad
            seen[name] = home(output.detach().requires_grad_() if fresh else output)
            return seen[name].to(output.device).clone()

        return keep

    handles = []
    try:
        for name in names:
            handles.append(model.get_submodule(name).register_forward_hook(hook(name)))
        yield seen
    finally:
        for handle in handles:
            handle.remove()


class _ReachedError(Exception):
    """Ends a pass at the part whose output is wanted."""


def up_to(model: nn.Module, name: str, inputs: Tensor) -> Tensor:
    """Return the output of a part; what would be called after it is not, so its batch norms see nothing.

    Args:
        model: Any module.
        name: Name of the part.
        inputs: ``(N, ...)``.
    """
    seen: list[Tensor] = []

    def stop(module: nn.Module, given: object, output: Tensor) -> None:
        del module, given
        seen.append(home(output))
        raise _ReachedError

    handle = model.get_submodule(name).register_forward_hook(stop)
    try:
        model(inputs)
    except _ReachedError:
        pass
    finally:
        handle.remove()
    return seen[0]


def reader(model: nn.Module, names: Sequence[str]) -> See:
    """Return a function of inputs that reads activations without gradients, and the logits under the name "".

    Args:
        model: The teacher.
        names: Names of its parts.
    """

    @torch.no_grad()
    def see(inputs: Tensor) -> dict[str, Tensor]:
        with watched(model, names) as seen:
            return {"": model(inputs), **seen}

    return see


def in_batches(model: nn.Module, see: See) -> See:
    """Return a function of inputs that asks another in batches that fit into memory.

    Args:
        model: What the other passes inputs through.
        see: Takes inputs, returns tensors with one row an example.
    """

    def whole(inputs: Tensor) -> dict[str, Tensor]:
        parts = [see(part) for part in batches(model, inputs)]
        return parts[0] if len(parts) == 1 else {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    return whole


def remembered(see: See, inputs: Tensor, room: int | None = None) -> See:
    """Return what a function of inputs says, as a function of the examples' indices.

    It is computed once for all examples if that takes no more than ``room`` bytes, and else at every call.

    Args:
        see: Takes inputs, returns tensors with one row an example.
        inputs: All inputs, ``(N, ...)``.
        room: Bytes; 64 MiB where it is None.
    """
    few = see(inputs[:2])
    each = sum(t.nbytes for t in few.values()) // len(inputs[:2])
    if each * len(inputs) > (_ROOM if room is None else room):
        return lambda batch: see(inputs[batch])
    whole = {name: t.new_empty(len(inputs), *t.shape[1:]) for name, t in few.items()}
    for batch in split(torch.arange(len(inputs)), min(_BATCH, max(2, _STEP // each))):
        for name, t in see(inputs[batch]).items():
            whole[name][batch] = t
    return lambda batch: {name: t[batch] for name, t in whole.items()}


def channels_first(activation: Tensor) -> Tensor:
    """Return an activation as ``(N, channels, ...)``: a sequence ``(N, tokens, channels)`` is transposed.

    Args:
        activation: Two to four axes.
    """
    return activation.mT if activation.dim() == 3 else activation


def unit(maps: Tensor) -> Tensor:
    """Return maps flattened, each of length 1, ``(N, places)``; a map of zeros stays.

    Args:
        maps: ``(N, height, width)`` or ``(N, tokens)``.
    """
    return functional.normalize(maps.flatten(1), dim=1, eps=1e-8)


def one_size(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return two maps averaged down to the smaller of their sizes, axis by axis.

    Args:
        one: ``(N, height, width)`` or ``(N, tokens)``.
        other: With as many axes.
    """
    size = [min(a, b) for a, b in zip(one.shape[1:], other.shape[1:], strict=True)]
    return _pooled(one, size), _pooled(other, size)


def _pooled(maps: Tensor, size: list[int]) -> Tensor:
    if len(size) == 1:
        return functional.adaptive_avg_pool1d(maps, size[0])
    return functional.adaptive_avg_pool2d(maps, (size[0], size[1]))


@torch.no_grad()
def _calls(model: nn.Module, inputs: Tensor) -> list[tuple[str, int, tuple[int, ...]]]:
    """Return name, layers with weights done, and shape of the output (or none) of every call of a part."""
    calls: list[tuple[str, int, tuple[int, ...]]] = []

    def hook(name: str) -> Callable[[nn.Module, object, object], None]:
        def keep(module: nn.Module, given: object, output: object) -> None:
            del given
            depth = (calls[-1][1] if calls else 0) + _has_weights(module)
            real = isinstance(output, Tensor) and output.is_floating_point()
            calls.append((name, depth, tuple(output.shape) if real and isinstance(output, Tensor) else ()))

        return keep

    named: Mapping[str, nn.Module] = {name: part for name, part in model.named_modules() if name}
    handles = [part.register_forward_hook(hook(name)) for name, part in named.items()]
    try:
        model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _has_weights(part: nn.Module) -> bool:
    whole = isinstance(part, nn.MultiheadAttention | CompressedLayer) or not list(part.children())
    return whole and any(p.dim() > 1 for p in part.parameters(recurse=False))
