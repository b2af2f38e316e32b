"""Multiply-accumulates of one operation of PyTorch as it runs.

Most formulas are those of ``torch.utils.flop_counter``, whose operations are two a multiply-accumulate; users add to
them by its ``register_flop_formula``. What it lacks stands here: it counts 0 for recurrent layers, attention on CPUs,
the fast path of transformers, products with vectors, integers, packed weights and sparse matrices.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils import flop_counter

# Libraries whose operations are all known by name; those of others may do anything.
_CLOSED = frozenset({"aten", "prim", "prims", "quantized", "_quantized", "quantized_decomposed"})
# How those call what multiplies and sums; interpolation, norms and sums of squares are not counted.
_MULTIPLIES = re.compile(
    r"mm($|_)|mv|dot|addr|conv(?!ert)|linear|matmul|rnn|lstm|gru|attention|multi_head|transformer|dist(_forward)?$"
    r"|fft|linalg|cholesky|triangular|solve|geqrf|ormqr|householder|^lu_|dynamic_quant"
)
_HARMLESS = re.compile(r"upsample|vector_norm|powsum|_cross$|fused_sdp_choice|thnn_fused|prepack|unpack|linear1d_relu$")


def macs(func: OpOverload, args: Sequence[Any], kwargs: dict[str, Any], out: object) -> int | None:
    """Return the multiply-accumulates of one call; None where the operation may multiply and no formula is known.

    Args:
        func: The operation.
        args: What it was given.
        kwargs: What it was given by name.
        out: What it returned.
    """
    formula = _formula(func, args)
    if formula is None:
        return None if _may_multiply(func) else 0
    try:
        return formula(*args, **kwargs, out_val=out)
    except (AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError):  # shapes it does not know
        return None


def known(func: OpOverload, args: Sequence[Any]) -> bool:
    """Return whether there is a formula for an operation, so that it need not be taken apart.

    Args:
        func: The operation.
        args: What it was given.
    """
    return _formula(func, args) is not None


def name(func: Any) -> str:  # noqa: ANN401 - operations of every kind, untyped in torch
    """Return the name of an operation without its overload, such as ``aten::mm``.

    Args:
        func: The operation.
    """
    return str(func.name()).partition(".")[0]


def _formula(func: OpOverload, args: Sequence[Any]) -> Callable[..., int] | None:
    called = name(func)
    if called in _SPARSE and any(isinstance(a, Tensor) and a.layout != torch.strided for a in args):
        return _SPARSE[called]
    if called in _FORMULAS:
        return _FORMULAS[called]
    theirs = flop_counter.flop_registry.get(func.overloadpacket)
    return None if theirs is None else _halved(theirs)


def _may_multiply(func: OpOverload) -> bool:
    space, _, called = name(func).partition("::")
    if torch.Tag.pointwise in func.tags or func.is_view:
        return False
    return space not in _CLOSED or (bool(_MULTIPLIES.search(called)) and not _HARMLESS.search(called))


def _halved(flops: Callable[..., int]) -> Callable[..., int]:
    return lambda *args, **kwargs: flops(*args, **kwargs) // 2


def _first(out: Any) -> Tensor:  # noqa: ANN401 - a tensor or several
    found: Tensor = out if isinstance(out, Tensor) else out[0]
    return found


def _entries(matrix: Tensor) -> int:
    if matrix.layout == torch.strided:
        return matrix.numel()
    return (matrix._values() if matrix.layout == torch.sparse_coo else matrix.values()).numel()  # noqa: SLF001 - may not be coalesced


def _product(a: Tensor, b: Tensor, **_: object) -> int:
    """Every entry of one meets every row or column of the other; of a sparse matrix only those that it stores."""
    if b.layout != torch.strided:
        return int(a.shape[-2]) * _entries(b)
    return _entries(a) * int(b.shape[-1])


def _added(base: Tensor, a: Tensor, b: Tensor, *rest: object, **_: object) -> int:
    del base, rest
    return _product(a, b)


def _vector(a: Tensor, b: Tensor, **_: object) -> int:
    del b
    return _entries(a)


def _added_vector(base: Tensor, a: Tensor, b: Tensor, *rest: object, **_: object) -> int:
    del base, rest
    return _vector(a, b)


def _outer(base: Tensor, a: Tensor, b: Tensor, *rest: object, **_: object) -> int:
    del base, rest
    return a.numel() * b.numel()


def _batches(base: Tensor, a: Tensor, b: Tensor, *rest: object, **_: object) -> int:
    del base, rest
    return a.numel() * int(b.shape[-1])


def _nothing(*_: object, **__: object) -> int:
    return 0


def _linear(x: Tensor, *rest: object, out_val: object, **_: object) -> int:
    """Every output sums over the last axis of the input."""
    del rest
    return _first(out_val).numel() * int(x.shape[-1])


def _convolution(x: Tensor, *rest: Any, out_val: object, **_: object) -> int:  # noqa: ANN401 - tensors and packed ones
    """Every output sums over one filter."""
    del x
    weight = _weight(rest)
    return _first(out_val).numel() * weight.numel() // int(weight.shape[0])


def _transposed(x: Tensor, *rest: Any, out_val: object, **_: object) -> int:  # noqa: ANN401 - tensors and packed ones
    """Every input spreads over one filter."""
    del out_val
    weight = _weight(rest)
    return x.numel() * weight.numel() // int(weight.shape[0])


def _weight(rest: Sequence[Any]) -> Tensor:
    packed: list[Any] = [a for a in rest if isinstance(a, torch.ScriptObject)]
    found: Tensor = packed[0].unpack()[0] if packed else rest[0]
    return found


def _time_batch_channel(x: Tensor, weight: Tensor, *rest: object, out_val: object, **_: object) -> int:
    del x, rest
    return _first(out_val).numel() * weight.numel() // int(weight.shape[-1])


def _bilinear(i1: Tensor, i2: Tensor, i3: Tensor, *expand: Any, **_: object) -> int:  # noqa: ANN401 - lists of axes
    spread = []
    for tensor, axes in zip((i1, i2, i3), expand, strict=False):
        shape = list(tensor.shape)
        for axis in sorted(axes):
            shape.insert(axis, 1)
        spread.append(shape)
    return math.prod(max(sizes) for sizes in zip(*spread, strict=True))


def _attention(query: Tensor, key: Tensor, value: Tensor, *rest: object, **_: object) -> int:
    del rest
    flops: int = flop_counter.sdpa_flop_count(query.shape, key.shape, value.shape)  # type: ignore[no-untyped-call] # torch's own
    return flops // 2


def _lengths(x: Tensor) -> list[int]:
    """Return how many tokens every example has; those of nested tensors differ."""
    if x.is_nested:
        return [int(row.shape[0]) for row in x.unbind()]
    return [int(x.shape[1])] * int(x.shape[0])


def _many_heads(query: Tensor, key: Tensor, value: Tensor, width: int, *rest: object, **_: object) -> int:
    """Four projections, and the two products between every query and every key."""
    del rest, value
    pairs = zip(_lengths(query), _lengths(key), strict=True)
    return sum(2 * (q + k) * width**2 + 2 * q * k * width for q, k in pairs)


def _encoder(x: Tensor, width: int, *rest: Any, **_: object) -> int:  # noqa: ANN401 - weights and numbers
    hidden = int(rest[12].shape[0])
    return _many_heads(x, x, x, width) + sum(2 * n * width * hidden for n in _lengths(x))


def _recurrent(x: Tensor, weight: Any, *rest: Any, **_: object) -> int:  # noqa: ANN401 - one tensor, or those of all layers
    """Every matrix meets every step; one call of ``mkldnn`` is one layer, one of cuDNN all."""
    matrices = weight if isinstance(weight, (list, tuple)) else (weight, rest[0])
    total: int = sum(w.numel() for w in matrices if w.dim() > 1)
    return math.prod(x.shape[:2]) * total


def _quantized_recurrent(gates: int) -> Callable[..., int]:
    def count(x: Tensor, hx: Any, params: Any, *rest: Any, **_: object) -> int:  # noqa: ANN401 - tensors and packed ones
        del params
        biases, layers, dropout, train, both, _ = rest
        del biases, dropout, train
        hidden, ways, total = int((hx[0] if isinstance(hx, (list, tuple)) else hx).shape[-1]), 1 + bool(both), 0
        for layer in range(layers):
            width = int(x.shape[-1]) if layer == 0 else ways * hidden
            total += ways * gates * hidden * (width + hidden)
        return math.prod(x.shape[:2]) * total

    return count


_SPARSE: dict[str, Callable[..., int]] = {
    "aten::mm": _product,
    "aten::bmm": _product,
    "aten::addmm": _added,
    "aten::baddbmm": _added,
    "aten::_sparse_addmm": _added,
    "aten::hspmm": _product,
    "aten::mv": _vector,
    "aten::addmv": _added_vector,
}
_FORMULAS: dict[str, Callable[..., int]] = {
    "aten::mv": _vector,
    "aten::addmv": _added_vector,
    "aten::addmv_": _added_vector,
    "aten::dot": _vector,
    "aten::vdot": _vector,
    "aten::addr": _outer,
    "aten::addr_": _outer,
    "aten::addbmm": _batches,
    "aten::addbmm_": _batches,
    "aten::addmm_": _added,
    "aten::baddbmm_": _added,
    "aten::_addmm_activation": _added,
    "aten::_int_mm": _product,
    "aten::_trilinear": _bilinear,
    "aten::conv_tbc": _time_batch_channel,
    "aten::_scaled_dot_product_flash_attention_for_cpu": _attention,
    "aten::_scaled_dot_product_fused_attention_overrideable": _attention,
    "aten::_native_multi_head_attention": _many_heads,
    "aten::_transformer_encoder_layer_fwd": _encoder,
    "aten::mkldnn_rnn_layer": _recurrent,
    "aten::_cudnn_rnn": _recurrent,
    "aten::quantized_lstm": _quantized_recurrent(4),
    "aten::quantized_gru": _quantized_recurrent(3),
    "quantized::matmul": _product,
    **dict.fromkeys(
        (
            "aten::mkldnn_linear",
            "aten::_weight_int8pack_mm",
            "aten::_weight_int4pack_mm",
            "aten::_weight_int4pack_mm_for_cpu",
            "aten::_dyn_quant_matmul_4bit",
            "aten::_mixed_dtypes_linear",
            "quanto::qbytes_mm",
            "bitsandbytes::gemm_4bit",
            "bitsandbytes::gemv_4bit",
            "bitsandbytes::int8_linear_matmul",
            "bitsandbytes::int8_scaled_mm",
            "bitsandbytes::int8_mixed_scaled_mm",
            *(f"quantized::linear{kind}" for kind in ("", "_relu", "_leaky_relu", "_tanh", "_dynamic")),
            *(f"quantized::linear{kind}" for kind in ("_relu_dynamic", "_dynamic_fp16", "_relu_dynamic_fp16")),
            "quantized::linear_with_input_q_dq_qweight_dq_output_fp32",
            "quantized::linear_with_input_q_dq_qweight_dq_relu_output_fp32",
        ),
        _linear,
    ),
    **dict.fromkeys(
        (
            "aten::mkldnn_convolution",
            "aten::cudnn_convolution_relu",
            "aten::_conv_depthwise2d",
            "aten::conv_depthwise3d",
            *(f"quantized::conv{n}d{kind}" for n in (1, 2, 3) for kind in ("", "_relu", "_dynamic")),
            *(f"quantized::conv2d{kind}" for kind in ("_add", "_add_relu")),
        ),
        _convolution,
    ),
    # These round, or take roundings back, number by number.
    **dict.fromkeys(
        (
            *(f"quanto::{kind}" for kind in ("quantize_symmetric", "quantize_affine", "unpack")),
            *(f"bitsandbytes::{kind}_4bit" for kind in ("quantize", "dequantize")),
            *(f"bitsandbytes::{kind}_blockwise" for kind in ("quantize", "dequantize")),
            *(f"bitsandbytes::int8_{kind}" for kind in ("vectorwise_quant", "vectorwise_dequant", "mm_dequant")),
            "bitsandbytes::int8_double_quant",
        ),
        _nothing,
    ),
    **dict.fromkeys(
        (f"quantized::conv_transpose{n}d{kind}" for n in (1, 2, 3) for kind in ("", "_dynamic")), _transposed
    ),
}
