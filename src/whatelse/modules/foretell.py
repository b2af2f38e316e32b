"""Every operation of a forward pass doubted before it is done: what it would make is found by shapes alone.

A saved model may pad, repeat or expand its input to any size, or multiply what takes years, in a description of a few
bytes. Each operation is therefore first done on the device ``meta``, which has shapes and no memory; what it would make
and how long it would take at least is held against a limit.
"""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from whatelse import limits
from whatelse.errors import WhatElseError
from whatelse.modules import shapes

# What one core does in a second at least: multiply-adds of a product, other products and comparisons, numbers moved.
_PRODUCTS, _LOOPS, _MOVED = 2e10, 1e9, 3e8
_PIECES = 100_000  # Views that one operation may make: each is an object of Python's.
_SHAPES, _IMPORTS = 0.1, 5.0  # Seconds that shapes never take, and that imports may take in all.
_ATTENTION = "_scaled_dot_product_flash_attention_for_cpu"


class _Excess(RuntimeError):
    """An operation would take more than is allowed."""


class _Foretold(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch's own
    def __init__(self, room: int, seconds: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # torch's own
        self.room, self.seconds = room, seconds
        self.until = time.process_time() + seconds
        self.live, self.excess, self.spare = 0, "", _IMPORTS
        self.slow = (
            f"more than {seconds:.3g} seconds for two examples; {limits.TIME} in the environment raises the limit"
        )

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and torch would import its compiler, which takes seconds

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - an operation of torch's
        types: Any,  # noqa: ANN401 - not used
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the operation returns
        given = dict(kwargs or {})
        self._doubt(func, args, given)
        out = func(*args, **given)
        self._hold(out, (args, given))
        return out

    def _doubt(self, func: Any, args: tuple[Any, ...], given: dict[str, Any]) -> None:  # noqa: ANN401 - as above
        if time.process_time() > self.until:
            self._refuse(f"takes {self.slow}")
        if _pieces(func, args) > _PIECES:
            self._refuse(f"cuts a tensor into more than {_PIECES} pieces")
        if func.is_view:
            return
        started = time.process_time()
        told = _on_meta(func, args, given)
        self._forgive(time.process_time() - started)
        if told is None:
            return
        inputs, outputs = told
        made = sum(_bytes(t) for t in _new(outputs, inputs))
        if self.live + made > self.room:
            asked, allowed = limits.size(self.live + made), limits.size(self.room)
            self._refuse(f"would take {asked} of memory; allowed are {allowed}; {limits.RAISE}")
        if _seconds(func, inputs, outputs) > self.seconds:
            self._refuse(f"would take {self.slow}")

    def _forgive(self, taken: float) -> None:
        """Put the clock back where shapes took long: torch imports thousands of lines for the first of some."""
        if taken > _SHAPES:
            self.until += min(taken, self.spare)
            self.spare -= min(taken, self.spare)

    def _hold(self, out: Any, given: Any) -> None:  # noqa: ANN401 - whatever an operation takes and returns
        for tensor in _new(out, given):
            held = tensor.untyped_storage()
            self.live += held.nbytes()
            weakref.finalize(held, self._free, held.nbytes())

    def _free(self, count: int) -> None:
        self.live -= count

    def _refuse(self, reason: str) -> None:
        self.excess = self.excess or reason
        raise _Excess(reason)


@contextmanager
def foretold(what: str, held: int, raising: type[WhatElseError]) -> Generator[None, None, None]:
    """Refuse every operation inside that would take more memory or time than is allowed, before it is done.

    Fused kernels for whole encoders are switched off inside: what they make on the way is not to be seen.

    Args:
        what: The subject of the message.
        held: Bytes that the files of the model have on disk.
        raising: The error that is raised, whatever the code inside makes of it.
    """
    limit, fused = limits.current(), torch.backends.mha.get_fastpath_enabled()
    mode = _Foretold(limit.room(held), limit.time(held))
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with mode:
            yield
    except Exception:
        if not mode.excess:
            raise
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    if mode.excess:
        raise raising(f"{what} {mode.excess}")


def _on_meta(func: Any, args: tuple[Any, ...], given: dict[str, Any]) -> tuple[tuple[Any, Any], Any] | None:  # noqa: ANN401 - an operation
    """Return the inputs and outputs of an operation by shape; None where they depend on values.

    Of the operations that a saved model may call those return no more than they are given.
    """

    def shape(value: Any) -> Any:  # noqa: ANN401 - any argument
        if isinstance(value, Tensor):
            return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
        return torch.device("meta") if isinstance(value, torch.device) else value

    try:
        there = tree_map(shape, (args, given))
        if any(a.name == "device" for a in func._schema.arguments):  # noqa: SLF001 - torch offers no other way
            there[1]["device"] = torch.device("meta")
        known = None if there[1] else shapes.returned(func, there[0])
        return there, func(*there[0], **there[1]) if known is None else known
    except Exception:  # noqa: BLE001 - whatever an operation raises that has no shapes to tell, or that is wrong anyway
        return None


def _pieces(func: Any, args: tuple[Any, ...]) -> int:  # noqa: ANN401 - an operation
    """Return how many views an operation makes of one tensor."""
    name = func.overloadpacket.__name__
    if name not in {"unbind", "split", "chunk", "tensor_split", "unsafe_split", "unsafe_chunk"}:
        return 0
    tensor, *rest = args
    largest = max(tensor.shape, default=0)
    asked = rest[0] if name != "unbind" and rest and isinstance(rest[0], int) else 1
    return min(largest, asked) if "chunk" in name or name == "tensor_split" else largest // max(1, asked)


def _tensors(values: Any) -> list[Tensor]:  # noqa: ANN401 - whatever an operation takes or returns
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


def _new(outputs: Any, inputs: Any) -> list[Tensor]:  # noqa: ANN401 - as above
    """Return the outputs that have memory of their own, one for each piece of memory."""
    try:
        seen = {t.untyped_storage()._cdata for t in _tensors(inputs)}  # noqa: SLF001 - its identity
        own = {t.untyped_storage()._cdata: t for t in _tensors(outputs)}  # noqa: SLF001
    except (RuntimeError, NotImplementedError):  # a tensor of a library's own, without storage
        return []
    return [tensor for place, tensor in own.items() if place not in seen]


def _bytes(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()


def _seconds(func: Any, inputs: tuple[Any, Any], outputs: Any) -> float:  # noqa: ANN401 - an operation
    """Return how long an operation takes at least on one core."""
    (args, given), told = inputs, _tensors(outputs)
    moved = sum(t.numel() for t in [*_tensors(inputs), *told]) / _MOVED
    named = {a.name: v for a, v in zip(func._schema.arguments, args, strict=False)} | given  # noqa: SLF001 - as above
    loops = 0
    if "kernel_size" in named and told:  # a window of a pooling
        loops = told[0].numel() * math.prod(named["kernel_size"])
    packet = func.overloadpacket
    if packet.__name__ == _ATTENTION:
        products: int = sdpa_flop_count(*(t.shape for t in args[:3]))  # type: ignore[no-untyped-call] # torch's own
    else:
        products = flop_registry[packet](*args, **given, out_val=outputs) if packet in flop_registry else 0
    # A convolution in groups is no product of matrices.
    rate: float = _LOOPS if named.get("groups", 1) > 1 else _PRODUCTS
    return moved + loops / _LOOPS + products / rate
