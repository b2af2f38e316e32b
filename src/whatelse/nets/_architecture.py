"""A module tree as plain data and back, so that a saved model needs no pickle and no code of its own."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from whatelse.errors import ArtifactError
from whatelse.nets._layers import FakeQuantize, Quantized

# The arguments of each kind of layer that a saved file may name: nothing else is ever constructed.
_ARGUMENTS: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Conv2d: ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"),
    nn.Linear: ("in_features", "out_features"),
    nn.ReLU: (),
    nn.GELU: (),
    nn.Sigmoid: (),
    nn.Tanh: (),
    nn.Identity: (),
    nn.Flatten: ("start_dim", "end_dim"),
    nn.MaxPool2d: ("kernel_size", "stride", "padding"),
    nn.AvgPool2d: ("kernel_size", "stride", "padding"),
    nn.AdaptiveAvgPool2d: ("output_size",),
    nn.BatchNorm2d: ("num_features",),
    FakeQuantize: ("bits",),
}
_KINDS = {kind.__name__: kind for kind in _ARGUMENTS}

Spec = dict[str, Any]


def describe(model: nn.Module) -> Spec:
    """Return a module tree as JSON-ready data.

    Args:
        model: Built of ``nn.Sequential`` and the layers that `build` knows.

    Raises:
        ArtifactError: The tree holds a kind of layer that cannot be described.
    """
    if isinstance(model, nn.Sequential):
        return {
            "kind": "Sequential",
            "parts": {name: describe(part) for name, part in model.named_children()},
        }
    if isinstance(model, Quantized):
        like = {"kind": model.like, "bias": model.bias is not None, **_shape_arguments(model)}
        return {
            "kind": "Quantized",
            "like": like,
            "bits": model.bits,
            "activation_bits": model.activation_bits,
        }
    if type(model) not in _ARGUMENTS:
        known = ", ".join(sorted([*_KINDS, "Quantized", "Sequential"]))
        raise ArtifactError(f"cannot save a layer of type {type(model).__name__}; allowed are {known}")
    spec: Spec = {"kind": type(model).__name__}
    spec |= {name: getattr(model, name) for name in _ARGUMENTS[type(model)]}
    if isinstance(model, nn.Conv2d | nn.Linear):
        spec["bias"] = model.bias is not None
    return spec


def build(spec: Spec) -> nn.Module:
    """Return the module tree of a description, its tensors not yet filled.

    No random number is drawn.

    Args:
        spec: What `describe` returned.

    Raises:
        ArtifactError: The description names a kind of layer that is not allowed.
    """
    with torch.device("meta"):
        model = _build(spec)
    return model.to_empty(device="cpu")


def _build(spec: Spec) -> nn.Module:
    arguments = {name: tuple(v) if isinstance(v, list) else v for name, v in spec.items() if name != "kind"}
    kind = spec["kind"]
    if kind == "Sequential":
        return nn.Sequential(OrderedDict((name, _build(part)) for name, part in spec["parts"].items()))
    if kind == "Quantized":
        return Quantized(_build(spec["like"]), spec["bits"], spec["activation_bits"])
    if kind not in _KINDS:
        raise ArtifactError(f"a saved model names the layer {kind!r}; allowed are {', '.join(sorted(_KINDS))}")
    return _KINDS[kind](**arguments)


def _shape_arguments(layer: Quantized) -> Spec:
    if layer.like == "Linear":
        return {"in_features": layer.shape[1], "out_features": layer.shape[0]}
    channels = {"in_channels": layer.shape[1] * layer.options.groups, "out_channels": layer.shape[0]}
    return {**channels, "kernel_size": layer.shape[2:], **layer.options._asdict()}
