"""What tensors really consist of, so that they can be counted: packed, sparse and wrapped ones say a float's size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from whatelse.errors import NotMeasurableError

_BITS = 8  # a byte of a mask
_ROWS, _COLUMNS = ("crow_indices", "col_indices", "values"), ("ccol_indices", "row_indices", "values")
_SPARSE = {
    torch.sparse_coo: ("indices", "values"),
    **dict.fromkeys((torch.sparse_csr, torch.sparse_bsr), _ROWS),
    **dict.fromkeys((torch.sparse_csc, torch.sparse_bsc), _COLUMNS),
}


def wrapped(tensor: Tensor) -> bool:
    """Return whether a tensor is held by others: packed, sparse, quantized, or of a type of its own.

    Args:
        tensor: Of any layout or type.
    """
    return tensor.layout != torch.strided or tensor.is_quantized or is_traceable_wrapper_subclass(tensor)


def parts(tensor: Tensor) -> list[Tensor]:
    """Return the dense tensors that hold a tensor, such as the codes and scales of a quantized one.

    Args:
        tensor: Of any layout or type.

    Raises:
        NotMeasurableError: It holds no numbers, or what it holds cannot be reached.
    """
    if nn.parameter.is_lazy(tensor) or tensor.device.type == "meta":
        raise NotMeasurableError("holds a tensor without numbers, lazy or on the device meta")
    if is_traceable_wrapper_subclass(tensor):
        names, _ = tensor.__tensor_flatten__()
        return [part for name in names for part in parts(getattr(tensor, name))]
    if tensor.is_quantized:
        return [tensor.int_repr(), *_grid(tensor)]
    if tensor.layout in _SPARSE:
        whole = tensor.detach().coalesce() if tensor.layout == torch.sparse_coo else tensor
        return [getattr(whole, way)() for way in _SPARSE[tensor.layout]]
    if tensor.is_mkldnn:
        return [tensor.to_dense()]
    if tensor.layout != torch.strided or tensor.is_nested:
        raise NotMeasurableError(f"holds a tensor of layout {tensor.layout}, which cannot be counted")
    return [tensor]


def nonzero(tensor: Tensor) -> int:
    """Return how many of the numbers that a tensor stands for are not zero.

    Args:
        tensor: Of any layout or type.

    Raises:
        NotMeasurableError: Its numbers cannot be read: they are packed in a way that is not known.
    """
    plain = tensor.detach()
    if not wrapped(tensor):
        if not (tensor.is_floating_point() or tensor.is_complex()):
            raise NotMeasurableError(f"holds weights as {tensor.dtype}, packed codes whose number is not known")
        parts(tensor)  # refuses what holds no numbers
        return _count(plain)
    if is_traceable_wrapper_subclass(tensor) or tensor.is_quantized:
        try:
            return _count(plain.dequantize())
        except (AttributeError, RuntimeError, NotImplementedError, TypeError) as error:
            raise NotMeasurableError(f"holds a {type(tensor).__name__} whose numbers cannot be read") from error
    return _count(parts(tensor)[-1])


def size(tensor: Tensor) -> int:
    """Return the bytes that a tensor takes, as it lies.

    Args:
        tensor: Of any layout or type.
    """
    return sum(part.numel() * part.element_size() for part in parts(tensor))


def packed_size(tensor: Tensor) -> int:
    """Return the bytes that a tensor takes in a file that stores zeros as a bit mask where that is smaller.

    Args:
        tensor: Of any layout or type.
    """
    total = 0
    for part in parts(tensor):
        whole = part.numel() * part.element_size()
        if part.is_floating_point():
            whole = min(whole, _count(part) * part.element_size() + -(-part.numel() // _BITS))
        total += whole
    return total


def same(one: Tensor, other: Tensor) -> bool:
    """Return whether two dense tensors are equal in type, shape and numbers.

    Args:
        one: Of any shape.
        other: Likewise.
    """
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(*((t.float() if t.element_size() == 1 else t) for t in (one, other)))


def places(tensor: Tensor) -> set[int]:
    """Return where the numbers of a tensor lie, so that tensors that share them are known by it.

    Args:
        tensor: Of any layout or type.
    """
    if tensor.is_quantized:
        return {tensor.data_ptr()}
    if tensor.is_mkldnn:  # opaque: only itself is known by it
        return {id(tensor)}
    return {part.untyped_storage().data_ptr() for part in parts(tensor)}


def _count(dense: Tensor) -> int:
    # torch counts no float8.
    return int((dense.float() if dense.element_size() == 1 else dense).count_nonzero())


def _grid(tensor: Tensor) -> list[Tensor]:
    if tensor.qscheme() in {torch.per_tensor_affine, torch.per_tensor_symmetric}:
        return [torch.tensor([tensor.q_scale()]), torch.tensor([tensor.q_zero_point()])]
    return [tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points()]
