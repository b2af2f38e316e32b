"""What common operations return, by the shapes of what they take: torch would import its compiler to say it.

The first operation on the device ``meta`` takes half a second, and most take one and a half: a good part of an audit,
in every process. What is not known here is asked there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def returned(func: Any, args: Sequence[Any]) -> Tensor | tuple[Tensor, ...] | None:  # noqa: ANN401 - an operation
    """Return what an operation returns at the most, on the device ``meta``; None where that is not known here.

    Args:
        func: An operation, as `torch.utils._python_dispatch` hands it over.
        args: Its positional arguments, tensors on ``meta`` among them.
    """
    made = func._schema.returns  # noqa: SLF001 - torch offers no other way
    if len(made) == 1 and made[0].alias_info is not None and made[0].alias_info.is_write:
        return args[0] if isinstance(args[0], Tensor) else None
    name = func.overloadpacket.__name__
    if name in _KNOWN:
        return _KNOWN[name](*args)
    return _pointwise(args) if torch.Tag.pointwise in func.tags and len(made) == 1 else None


def _pointwise(args: Sequence[Any]) -> Tensor | None:
    """Return what is of the common shape of all tensors, in their common type."""
    tensors = [value for value in args if isinstance(value, Tensor)]
    if not tensors or not all(t.is_floating_point() for t in tensors):  # whole numbers may become others
        return None
    kind = tensors[0].dtype
    for tensor in tensors[1:]:
        kind = torch.promote_types(kind, tensor.dtype)
    return _new(np.broadcast_shapes(*(t.shape for t in tensors)), kind)


def _convolved(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    turned: bool,  # noqa: FBT001 - as torch has it
    more: Sequence[int],
    groups: int,
) -> Tensor | None:
    del bias, more, groups
    sides = x.dim() - 2
    if turned or not len(stride) == len(padding) == len(dilation) == sides or x.shape[1] == 0:
        return None
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:], strict=True)]
    shape = [(n + 2 * p - r) // s + 1 for n, p, r, s in zip(x.shape[2:], padding, reach, stride, strict=True)]
    return _new((x.shape[0], weight.shape[0], *shape), x.dtype) if min(shape) > 0 else None


def _added(start: Tensor, a: Tensor, b: Tensor) -> Tensor:
    del start
    return _product(a, b)


def _product(a: Tensor, b: Tensor) -> Tensor:
    return _new((*a.shape[:-1], b.shape[-1]), a.dtype)


def _joined(parts: Sequence[Tensor], dim: int = 0) -> Tensor:
    shape = list(parts[0].shape)
    shape[dim] = sum(part.shape[dim] for part in parts)
    return _new(shape, parts[0].dtype)


def _alike(first: Tensor, *more: object) -> Tensor:
    return _new(np.broadcast_shapes(first.shape, *(t.shape for t in more if isinstance(t, Tensor))), first.dtype)


def _number(*args: object) -> tuple[Tensor, ...]:
    del args
    return ()


def _new(shape: Sequence[int], kind: torch.dtype) -> Tensor:
    return torch.empty(tuple(shape), dtype=kind, device="meta")


# Beside the layers what looks at answers: numbers, and reductions, which return no more than they are given.
_KNOWN: dict[str, Callable[..., Tensor | tuple[Tensor, ...] | None]] = {
    "convolution": _convolved,
    "addmm": _added,
    "mm": _product,
    "bmm": _product,
    "cat": _joined,
    **dict.fromkeys(("all", "any", "max", "min", "amax", "amin", "bitwise_and", "bitwise_or"), _alike),
    **dict.fromkeys(("_local_scalar_dense", "allclose", "equal"), _number),
}
