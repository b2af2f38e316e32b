"""A model as named tensors and plain data: what is written to disk, small because it is small, and read back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from whatelse.errors import ArtifactError
from whatelse.layers.quantized import Quantized, pack, unpack
from whatelse.nets import _architecture

_VALUES, _MASK = ".values", ".mask"


def encode(model: nn.Module) -> tuple[dict[str, Tensor], _architecture.Spec]:
    """Return the tensors to store and the description that rebuilds the module tree.

    A tensor is stored as its nonzero values and a bit mask where that is smaller than storing it whole; of a
    quantized layer this holds for its packed codes, zero being the code of zero. Tensors that parts share are
    stored once.

    Args:
        model: Built of parts that `_architecture.describe` knows.

    Raises:
        ArtifactError: The tree holds a part that cannot be described.
    """
    spec: _architecture.Spec = {"tree": _architecture.describe(model), "shapes": {}, "shared": {}}
    packed = {f"{n}.codes".lstrip("."): part for n, part in model.named_modules() if isinstance(part, Quantized)}
    tensors: dict[str, Tensor] = {}
    first: dict[int, str] = {}
    # A buffer that its author did not want in the state dict is stored too: the class that makes it stays behind.
    unlisted = {n: model.get_buffer(n) for n in _architecture.loose(spec["tree"]) if n not in model.state_dict()}
    # Nor is a layer stored that the forward never calls: nothing could be built for it.
    wanted = set(_architecture.build(spec["tree"]).state_dict())
    for name, tensor in [*model.state_dict(keep_vars=True).items(), *unlisted.items()]:
        if name not in wanted:
            continue
        if first.setdefault(id(tensor), name) != name:
            spec["shared"][name] = first[id(tensor)]
            continue
        value = tensor.detach()
        if name in packed:
            small = _sparse_codes(value, packed[name])
        else:
            small = _sparse(value) if value.is_floating_point() else None
        if small is None:
            tensors[name] = value.contiguous()
        else:
            tensors[name + _VALUES], tensors[name + _MASK] = small
            spec["shapes"][name] = list(value.shape)
    return tensors, spec


def decode(tensors: dict[str, Tensor], spec: _architecture.Spec) -> nn.Module:
    """Return the model that `encode` was given, frozen and in evaluation mode.

    Args:
        tensors: Stored tensors.
        spec: The description.

    Raises:
        ArtifactError: Tensors and description do not fit each other.
    """
    model = _architecture.build(spec["tree"])
    layers = dict(model.named_modules())
    whole = {n: t for n, t in tensors.items() if not n.endswith((_VALUES, _MASK))}
    try:
        for name, shape in spec["shapes"].items():
            values, mask = tensors[name + _VALUES], tensors[name + _MASK]
            layer = layers.get(name.removesuffix("codes").removesuffix("."))
            held = isinstance(layer, Quantized) and name.endswith("codes")
            whole[name] = _whole_codes(values, mask, layer) if held else _whole(values, mask, shape)  # type: ignore[arg-type] # held says so
        for name, source in spec["shared"].items():
            _share(model, name, source)
            whole[name] = whole[source]
        model.load_state_dict(whole)
    except (RuntimeError, KeyError, AttributeError) as error:
        raise ArtifactError(f"a saved model does not fit its description: {str(error).splitlines()[-1]}") from error
    model.eval()
    return model.requires_grad_(requires_grad=False)


def _sparse(tensor: Tensor) -> tuple[Tensor, Tensor] | None:
    kept = tensor != 0
    size = int(kept.sum()) * tensor.element_size() + -(-tensor.numel() // 8)
    return (tensor[kept].contiguous(), pack(kept, 1)) if size < tensor.numel() * tensor.element_size() else None


def _whole(values: Tensor, mask: Tensor, shape: list[int]) -> Tensor:
    flat = torch.zeros(torch.Size(shape).numel(), dtype=values.dtype)
    flat[unpack(mask, 1, len(flat)).bool()] = values
    return flat.view(shape)


def _sparse_codes(packed: Tensor, layer: Quantized) -> tuple[Tensor, Tensor] | None:
    codes, zeros = unpack(packed, layer.bits, layer.weight.numel()), layer.zeros()
    kept = codes != zeros
    small = (pack(codes[kept], layer.bits), pack(kept, 1))
    return small if sum(map(len, small)) < len(packed) else None


def _whole_codes(values: Tensor, mask: Tensor, layer: Quantized) -> Tensor:
    kept = unpack(mask, 1, layer.weight.numel()).bool()
    codes = layer.zeros()
    codes[kept] = unpack(values, layer.bits, int(kept.sum()))
    return pack(codes, layer.bits)


def _share(model: nn.Module, name: str, source: str) -> None:
    (place, _, last), (owner, _, first) = name.rpartition("."), source.rpartition(".")
    setattr(model.get_submodule(place), last, getattr(model.get_submodule(owner), first))
