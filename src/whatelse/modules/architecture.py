"""A module tree as plain data and back, so that a saved model needs no pickle and no code of its own.

Three kinds of parts: a layer of torch's from an allow-list, a layer of this toolkit, and a container. An
``nn.Sequential`` and a transformer encoder of torch's are described by their parts; any other module is traced
(torch.fx) into a graph of calls, every one of an allow-listed function, method or part.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from whatelse import registry
from whatelse.errors import ArtifactError, MissingExtraError, UnknownItemError
from whatelse.layers.compressed import CompressedLayer
from whatelse.modules import decoder as _decoder
from whatelse.modules import encoder as _encoder
from whatelse.modules import graph as _graph
from whatelse.modules import walk

# The arguments of each kind of layer that a saved file may name: nothing else is ever constructed.
_CONVOLUTION = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
_POOL = ("kernel_size", "stride", "padding")
_NORM = ("num_features", "eps", "momentum", "affine", "track_running_stats")
_ATTENTION = ("embed_dim", "num_heads", "dropout", "batch_first", "add_bias_kv", "add_zero_attn", "kdim", "vdim")
_ARGUMENTS: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Conv1d: _CONVOLUTION,
    nn.Conv2d: _CONVOLUTION,
    nn.ConvTranspose2d: (*_CONVOLUTION, "output_padding"),
    nn.Linear: ("in_features", "out_features"),
    nn.Embedding: ("num_embeddings", "embedding_dim", "padding_idx", "max_norm", "norm_type"),
    nn.MultiheadAttention: _ATTENTION,
    # In place also changes what the layer was given, which a shortcut around it may read.
    **dict.fromkeys((nn.ReLU, nn.ReLU6, nn.SiLU, nn.Mish, nn.Hardswish, nn.Hardsigmoid), ("inplace",)),
    nn.LeakyReLU: ("negative_slope", "inplace"),
    nn.ELU: ("alpha", "inplace"),
    nn.PReLU: ("num_parameters",),
    nn.GELU: ("approximate",),
    nn.Softplus: ("beta", "threshold"),
    nn.Sigmoid: (),
    nn.Tanh: (),
    nn.Softmax: ("dim",),
    nn.LogSoftmax: ("dim",),
    nn.Identity: (),
    nn.Flatten: ("start_dim", "end_dim"),
    **dict.fromkeys((nn.Dropout, nn.Dropout1d, nn.Dropout2d), ("p", "inplace")),
    nn.MaxPool1d: (*_POOL, "dilation", "return_indices", "ceil_mode"),
    nn.MaxPool2d: (*_POOL, "dilation", "return_indices", "ceil_mode"),
    nn.AvgPool1d: (*_POOL, "ceil_mode", "count_include_pad"),
    nn.AvgPool2d: (*_POOL, "ceil_mode", "count_include_pad", "divisor_override"),
    nn.AdaptiveAvgPool1d: ("output_size",),
    nn.AdaptiveAvgPool2d: ("output_size",),
    nn.AdaptiveMaxPool2d: ("output_size", "return_indices"),
    nn.ZeroPad2d: ("padding",),
    nn.Upsample: ("size", "scale_factor", "mode", "align_corners", "recompute_scale_factor"),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.InstanceNorm2d), _NORM),
    nn.LayerNorm: ("normalized_shape", "eps", "elementwise_affine"),
    nn.RMSNorm: ("normalized_shape", "eps", "elementwise_affine"),
    nn.GroupNorm: ("num_groups", "num_channels", "eps", "affine"),
}
_KINDS = {kind.__name__: kind for kind in _ARGUMENTS}
_BIASED = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.LayerNorm)
_MAYBE_BIASED = (nn.BatchNorm1d, nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm)

# Far more than any network that is traced has; a description beyond is refused before anything is built of it.
_MOST, _DEEPEST = 20_000, 64

Spec = dict[str, Any]


def describe(model: nn.Module) -> Spec:
    """Return a module tree as JSON-ready data.

    Args:
        model: ``nn.Sequential`` of layers that `build` knows, or any module that torch.fx can trace into them.

    Raises:
        ArtifactError: The tree holds a layer, or calls something, that cannot be described; the message names it.
    """
    if "forward" in vars(model):  # of the object alone, as other packages wrap it: no description would hold it
        raise ArtifactError(f"cannot save a {type(model).__name__}: its forward was replaced on the object itself")
    if type(model) is nn.Sequential:
        return {"kind": "Sequential", "parts": {name: describe(part) for name, part in walk.children(model)}}
    if isinstance(model, CompressedLayer):
        return {"kind": f"{type(model).__module__.rpartition('.')[2]}.{type(model).__name__}", **model.arguments()}
    if type(model) in _ARGUMENTS:
        return _layer(model)
    if type(model) in _encoder.KINDS.values():
        return _encoder.describe(model, describe)
    if isinstance(model, _decoder.Decoder):
        return _decoder.describe(model, describe)
    if not list(model.children()):
        known = ", ".join([*sorted({**_KINDS, **_encoder.KINDS}), "Sequential"])
        raise ArtifactError(f"cannot save a layer of type {type(model).__name__}; allowed are {known}")
    graph = _graph.describe(model, _is_part)
    parts = {name: describe(model.get_submodule(name)) for name in _graph.parts(graph)}
    return {"kind": "Graph", "parts": parts, **graph}


def planned(spec: Spec) -> nn.Module:
    """Return the module tree of a description on the device ``meta``: shapes and types, and no memory.

    No random number is drawn.

    Args:
        spec: What `describe` returned.

    Raises:
        ArtifactError: The description names a kind of layer, an argument or a call that is not allowed, or more of
            them than any network has.
        MissingExtraError: It is a language model, and transformers is not installed.
    """
    try:
        if _parts(spec) > _MOST:
            raise ArtifactError(f"a saved model has more than {_MOST} layers and calls")
        with torch.device("meta"):
            return _build(spec)
    except (ArtifactError, MissingExtraError):
        raise
    except Exception as error:  # whatever a constructor raises that is given damaged arguments
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ArtifactError(f"the description of a saved model is damaged: {reason}") from error


def _parts(spec: Spec, depth: int = 0) -> int:
    """Return how many layers and calls a description has.

    Raises:
        ArtifactError: Layers stand inside layers deeper than in any network.
    """
    if depth > _DEEPEST:
        raise ArtifactError(f"a saved model has layers inside layers more than {_DEEPEST} deep")
    inner = sum(_parts(part, depth + 1) for part in spec.get("parts", {}).values())
    return 1 + len(spec.get("calls", ())) + len(spec.get("tensors", ())) + inner


def loose(spec: Spec, prefix: str = "") -> list[str]:
    """Return the names of the tensors that belong to no layer, such as a mean that is subtracted.

    Args:
        spec: What `describe` returned.
        prefix: Put before every name.
    """
    inner = [name for key, part in spec.get("parts", {}).items() for name in loose(part, f"{prefix}{key}.")]
    return [*(prefix + name for name in spec.get("tensors", {})), *inner]


def _is_part(module: nn.Module) -> bool:
    return isinstance(module, CompressedLayer) or type(module) in {*_ARGUMENTS, *_encoder.KINDS.values()}


def _layer(layer: nn.Module) -> Spec:
    spec: Spec = {"kind": type(layer).__name__}
    spec |= {name: getattr(layer, name) for name in _ARGUMENTS[type(layer)] if name != "add_bias_kv"}
    if isinstance(layer, _BIASED):
        spec["bias"] = layer.bias is not None
    if isinstance(layer, _MAYBE_BIASED) and layer.weight is not None and layer.bias is None:
        spec["bias"] = False  # only where it is so: before torch 2.13 these took no such argument
    if isinstance(layer, nn.MultiheadAttention):
        spec |= {"bias": layer.in_proj_bias is not None, "add_bias_kv": layer.bias_k is not None}
    for name, tensor in layer.state_dict().items():
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            wrong = f"{name} in {str(tensor.dtype).removeprefix('torch.')}"
            raise ArtifactError(f"cannot save a {spec['kind']} with {wrong}; convert the model with model.float()")
    return spec


def _build(spec: Spec) -> nn.Module:
    arguments = {name: tuple(v) if isinstance(v, list) else v for name, v in spec.items() if name != "kind"}
    kind = spec["kind"]
    if kind == "Sequential":
        return nn.Sequential(OrderedDict((name, _build(part)) for name, part in spec["parts"].items()))
    if kind == "Graph":
        return _graph.build(spec, {name: _build(part) for name, part in spec["parts"].items()})
    if kind in _encoder.KINDS:
        return _encoder.build(spec, {name: _build(part) for name, part in spec["parts"].items()})
    if kind == _decoder.KIND:
        return _decoder.build(spec, {name: _build(part) for name, part in spec["parts"].items()})
    if "." in kind:
        return _own(kind).empty({name: v for name, v in spec.items() if name != "kind"})
    if kind not in _KINDS:
        raise ArtifactError(f"a saved model names the layer {kind!r}; allowed are {', '.join(sorted(_KINDS))}")
    wrong = set(arguments) - {*_ARGUMENTS[_KINDS[kind]], "bias"}
    if wrong or not all(_plain(value) for value in arguments.values()):
        raise ArtifactError(f"a saved model gives the layer {kind} arguments that are not allowed: {sorted(wrong)}")
    return _KINDS[kind](**arguments)


def _plain(value: object) -> bool:
    return all(isinstance(v, int | float | str | None) for v in (value if isinstance(value, tuple) else (value,)))


def _own(kind: str) -> type[CompressedLayer]:
    file, _, name = kind.rpartition(".")
    try:
        found = vars(registry.load("layers", file)).get(name)
    except UnknownItemError as error:
        raise ArtifactError(f"a saved model names the layer {kind!r}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, CompressedLayer)):
        raise ArtifactError(f"a saved model names the layer {kind!r}, and this release has none of that name")
    return found
