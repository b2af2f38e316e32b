"""A traced module as a list of calls: plain data, every call from an allow-list."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from keyword import iskeyword
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from whatelse.errors import ArtifactError
from whatelse.modules import arithmetic
from whatelse.modules.lent import skeleton

Spec = dict[str, Any]

# Everything that a saved graph may call. None of these reaches a file, a process or a name of Python's.
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{f"operator.{f.__name__}": f for f in (operator.add, operator.sub, operator.mul, operator.truediv)},
    **{f"operator.{f.__name__}": f for f in (operator.floordiv, operator.matmul, operator.neg, operator.getitem)},
    **{f"operator.{f.__name__}": f for f in (operator.iadd, operator.mod, operator.pow)},
    **{f"operator.{f.__name__}": f for f in (operator.eq, operator.ne, operator.lt, operator.le, operator.gt)},
    **{f"operator.{f.__name__}": f for f in (operator.ge, operator.invert, operator.and_, operator.or_)},
    "math.sqrt": math.sqrt,
    "getattr": getattr,
    **{
        f"torch.{name}": getattr(torch, name)
        for name in (
            *("add", "sub", "mul", "div", "matmul", "bmm", "cat", "stack", "flatten", "relu", "sigmoid", "tanh"),
            *("softmax", "mean", "sum", "amax", "exp", "log", "sqrt", "rsqrt", "pow", "abs", "clamp", "where"),
            *(
                "transpose",
                "permute",
                "reshape",
                "squeeze",
                "unsqueeze",
                "chunk",
                "split",
                "einsum",
                "arange",
                "unbind",
            ),
        )
    },
    **{
        f"functional.{name}": getattr(functional, name)
        for name in (
            *("relu", "relu6", "gelu", "silu", "leaky_relu", "softmax", "log_softmax", "pad", "dropout", "max_pool2d"),
            *(
                "avg_pool2d",
                "adaptive_avg_pool2d",
                "layer_norm",
                "normalize",
                "scaled_dot_product_attention",
                "hardswish",
            ),
        )
    },
}
_NAMES = {f: name for name, f in reversed(_FUNCTIONS.items())} | {
    torch._C._nn.gelu: "functional.gelu",  # functional.gelu is this very function under another name
}
_FUNCTIONS |= arithmetic.DOUBTED  # what a graph that was read calls; a graph that is described calls Python's own
_ATTRIBUTES = {"shape", "ndim"}
_METHODS = frozenset(
    [
        *(
            "view",
            "reshape",
            "size",
            "dim",
            "flatten",
            "unflatten",
            "mean",
            "sum",
            "amax",
            "max",
            "permute",
            "transpose",
        ),
        *("contiguous", "unsqueeze", "squeeze", "expand", "expand_as", "repeat", "chunk", "split", "unbind", "softmax"),
        *(
            "relu",
            "sigmoid",
            "tanh",
            "masked_fill",
            "add",
            "mul",
            "div",
            "matmul",
            "long",
            "float",
            "type_as",
            "eq",
            "ne",
        ),
        *("lt", "gt", "clamp", "pow", "sqrt", "rsqrt", "square", "exp", "log", "abs", "narrow", "select", "cumsum"),
    ]
)
_SAFE = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")


class _Tracer(fx.Tracer):
    def __init__(self, is_part: Callable[[nn.Module], bool]) -> None:
        super().__init__()
        self.is_part = is_part

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if self.is_part(m):
            return True
        container = isinstance(m, nn.Sequential | nn.ModuleList | nn.ModuleDict)
        if not container and not list(m.children()) and type(m).__module__.startswith("torch.nn"):
            raise ArtifactError(f"cannot save {module_qualified_name}, a {type(m).__name__}: no allowed layer")
        return False


def describe(model: nn.Module, is_part: Callable[[nn.Module], bool]) -> Spec:
    """Return the calls of a module's forward, and the shapes of the tensors that belong to no part.

    Args:
        model: A module whose forward does not depend on the values of its input.
        is_part: Says of a module whether it is one call.

    Raises:
        ArtifactError: The forward cannot be traced, or calls something that is not allowed.
    """
    try:
        graph = _Tracer(is_part).trace(skeleton(model).eval())
    except ArtifactError:
        raise
    except Exception as error:  # whatever a module's own forward raises under tracing
        reason = " ".join(str(error).split())[:200]
        raise ArtifactError(
            f"cannot save a {type(model).__name__}: torch.fx cannot trace its forward: {reason}"
        ) from error
    calls = [_call(node) for node in graph.nodes]
    loose = {n.target: _tensor(model, str(n.target)) for n in graph.nodes if n.op == "get_attr"}
    return {"calls": calls, "tensors": loose}


def parts(spec: Spec) -> list[str]:
    """Return the names of the modules that a graph calls, each once, in order of their first call.

    Args:
        spec: What `describe` returned.
    """
    return list(dict.fromkeys(call["target"] for call in spec["calls"] if call["op"] == "call_module"))


def build(spec: Spec, modules: Mapping[str, nn.Module]) -> nn.Module:
    """Return a module that makes the calls of a description.

    Args:
        spec: What `describe` returned.
        modules: The parts, by name.

    Raises:
        ArtifactError: A call or a name is not allowed.
    """
    graph = fx.Graph()
    made: dict[str, fx.Node] = {}
    for call in spec["calls"]:
        _check(call, modules, spec["tensors"])
        target = _FUNCTIONS[call["target"]] if call["op"] == "call_function" else call["target"]
        args = tuple(_decode(v, made) for v in call["args"])
        given = {name: _decode(v, made) for name, v in call["kwargs"].items()}
        made[call["name"]] = graph.create_node(call["op"], target, args, given, name=call["name"])
    root: dict[str, Any] = dict(modules)
    for name, (shape, kind) in spec["tensors"].items():
        empty = torch.empty(shape, dtype=_dtype(kind.removeprefix("parameter ")))
        root[name] = nn.Parameter(empty) if kind.startswith("parameter ") else empty
    return fx.GraphModule(root, graph)


def _call(node: fx.Node) -> Spec:
    target = str(node.target)
    if node.op == "call_function":
        if node.target not in _NAMES:
            raise ArtifactError(f"cannot save a call of {getattr(node.target, '__name__', target)}: it is not allowed")
        target = _NAMES[node.target]
    call: Spec = {"op": node.op, "name": node.name, "target": target}
    call |= {"args": [_encode(v) for v in node.args], "kwargs": {n: _encode(v) for n, v in node.kwargs.items()}}
    _check(call)
    return call


def _check(call: Spec, modules: Mapping[str, nn.Module] | None = None, tensors: Spec | None = None) -> None:
    op, target = call["op"], call["target"]
    allowed = {
        "placeholder": target.isidentifier(),
        "output": target == "output",
        "call_function": target in _FUNCTIONS and (target != "getattr" or call["args"][1] in _ATTRIBUTES),
        "call_method": target in _METHODS,
        "call_module": bool(_SAFE.fullmatch(target)) and (modules is None or target in modules),
        "get_attr": bool(_SAFE.fullmatch(target)) and (tensors is None or target in tensors),
    }
    # Names and targets become source text inside torch.fx: nothing but plain identifiers may pass.
    names = [call["name"], *call["kwargs"]]
    if not allowed.get(op, False) or "__" in target or not all(n.isidentifier() and not iskeyword(n) for n in names):
        raise ArtifactError(f"a saved model calls {target!r}, which is not allowed")


def _encode(value: Any) -> Any:  # noqa: ANN401 - whatever a call is given
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, slice):
        return {"slice": [_encode(v) for v in (value.start, value.stop, value.step)]}
    if isinstance(value, dict):
        return {"dict": {name: _encode(v) for name, v in value.items()}}
    if isinstance(value, list | tuple):
        return {"tuple" if isinstance(value, tuple) else "list": [_encode(v) for v in value]}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if value is Ellipsis:
        return {"ellipsis": True}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ArtifactError(f"cannot save a call with an argument of type {type(value).__name__}")


def _decode(value: Any, made: Mapping[str, fx.Node]) -> Any:  # noqa: ANN401 - as `_encode`
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "node":
        return made[inner]
    if kind == "dict":
        return {name: _decode(v, made) for name, v in inner.items()}
    if kind == "dtype":
        return _dtype(inner)
    if kind == "ellipsis":
        return Ellipsis
    several = [_decode(v, made) for v in inner]
    if kind == "slice":
        return slice(*several)
    return tuple(several) if kind == "tuple" else several


def _tensor(model: nn.Module, name: str) -> tuple[list[int], str]:
    place, _, last = name.rpartition(".")
    found = getattr(model.get_submodule(place), last)
    assert isinstance(found, Tensor)
    kind = "parameter " if isinstance(found, nn.Parameter) else ""
    return list(found.shape), kind + str(found.dtype).removeprefix("torch.")


def _dtype(name: str) -> torch.dtype:
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise ArtifactError(f"a saved model names the type {name!r}, which torch does not have")
    return found
