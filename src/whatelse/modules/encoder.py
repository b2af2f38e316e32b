"""torch's transformer encoder as plain data and back: built of its parts, whatever a method made of them.

Its forward chooses between two ways of computing and so cannot be traced; it is one call of a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from whatelse.errors import ArtifactError
from whatelse.modules import walk

Spec = dict[str, Any]
KINDS = {kind.__name__: kind for kind in (nn.TransformerEncoderLayer, nn.TransformerEncoder)}
_PARTS = {"self_attn", "linear1", "dropout", "linear2", "norm1", "norm2", "dropout1", "dropout2"}
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": functional.relu, "gelu": functional.gelu}
_SWITCHES = ("enable_nested_tensor", "use_nested_tensor", "mask_check")


def describe(model: nn.Module, inner: Callable[[nn.Module], Spec]) -> Spec:
    """Return an encoder or one of its layers as JSON-ready data.

    Args:
        model: Of one of `KINDS`.
        inner: Describes a part of it.

    Raises:
        ArtifactError: Its activation or one of its layers is the user's own.
    """
    spec: Spec = {"kind": type(model).__name__}
    if isinstance(model, nn.TransformerEncoder):
        parts = {f"layers.{n}": part for n, part in enumerate(model.layers)}
        for part in parts.values():
            if type(part) is not nn.TransformerEncoderLayer:
                raise ArtifactError(f"cannot save a TransformerEncoder with layers of type {type(part).__name__}")
        parts |= {} if model.norm is None else {"norm": model.norm}
        spec |= {name: bool(getattr(model, name)) for name in _SWITCHES}
    else:
        assert isinstance(model, nn.TransformerEncoderLayer)
        parts = dict(model.named_children())
        spec |= {"norm_first": model.norm_first, "activation": _activation(model), "called": _called(model)}
    return {**spec, "parts": {name: inner(part) for name, part in parts.items()}}


def build(spec: Spec, parts: Mapping[str, nn.Module]) -> nn.Module:
    """Return the encoder or the layer of a description.

    Args:
        spec: What `describe` returned.
        parts: Its parts, by name.

    Raises:
        ArtifactError: A part is missing, too many or of another kind.
    """
    return _stack(spec, parts) if spec["kind"] == "TransformerEncoder" else _layer(spec, parts)


def _layer(spec: Spec, parts: Mapping[str, nn.Module]) -> nn.Module:
    own = {"activation"} if spec["activation"] is None else set()
    if set(parts) != _PARTS | own or not isinstance(parts["self_attn"], nn.MultiheadAttention):
        raise ArtifactError(f"a saved TransformerEncoderLayer has the parts {', '.join(parts)}")
    activation = parts["activation"] if own else _ACTIVATIONS[spec["activation"]]
    layer = nn.TransformerEncoderLayer(1, 1, 1, activation=activation, norm_first=bool(spec["norm_first"]))
    for name in _PARTS:
        if spec["called"]:
            walk.swap(layer, name, parts[name])
        else:
            layer.set_submodule(name, parts[name])
    return layer


def _stack(spec: Spec, parts: Mapping[str, nn.Module]) -> nn.Module:
    layers = [part for name, part in parts.items() if name != "norm"]
    kinds = all(type(part) is nn.TransformerEncoderLayer for part in layers)
    if not layers or not kinds or set(parts) - {"norm"} != {f"layers.{n}" for n in range(len(layers))}:
        raise ArtifactError(f"a saved TransformerEncoder has the parts {', '.join(parts)}")
    first = layers[0]
    assert isinstance(first, nn.TransformerEncoderLayer)
    encoder = nn.TransformerEncoder(first, 0, parts.get("norm"), enable_nested_tensor=False)
    encoder.layers, encoder.num_layers = nn.ModuleList(parts[f"layers.{n}"] for n in range(len(layers))), len(layers)
    for name in _SWITCHES:
        setattr(encoder, name, bool(spec[name]))
    return encoder


def _activation(layer: nn.TransformerEncoderLayer) -> str | None:
    """Return the name of a layer's activation, or None where it is a part of its own.

    Raises:
        ArtifactError: It is another function.
    """
    if isinstance(layer.activation, nn.Module):
        return None
    for name, function in _ACTIVATIONS.items():
        if layer.activation is function:
            return name
    named = getattr(layer.activation, "__name__", type(layer.activation).__name__)
    raise ArtifactError(f"cannot save a TransformerEncoderLayer with activation {named}; allowed are relu and gelu")


def _called(layer: nn.Module) -> bool:
    """Return whether a hook makes the layer call its parts, as `_walk.swap` sees to, and not read their weights."""
    return any(part._forward_hooks or part._forward_pre_hooks for part in layer.modules())  # noqa: SLF001 - torch asks so too
