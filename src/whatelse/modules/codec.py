"""A model as named tensors and plain data: what is written to disk, small because it is small, and read back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from whatelse import limits
from whatelse.errors import ArtifactError, MissingExtraError
from whatelse.layers.compressed import CompressedLayer
from whatelse.layers.quantized import Quantized, pack, unpack
from whatelse.modules import architecture, plain
from whatelse.modules.decoder import Decoder, settle

_VALUES, _MASK = ".values", ".mask"


def encode(model: nn.Module) -> tuple[dict[str, Tensor], architecture.Spec]:
    """Return the tensors to store and the description that rebuilds the module tree.

    A tensor is stored as its nonzero values and a bit mask where that is smaller than storing it whole; of a
    quantized layer this holds for its packed codes, zero being the code of zero. Tensors that parts share are
    stored once.

    Args:
        model: Built of parts that `_architecture.describe` knows.

    Raises:
        ArtifactError: The tree holds a part that cannot be described.
    """
    spec: architecture.Spec = {"tree": architecture.describe(model), "shapes": {}, "shared": {}}
    packed = {f"{n}.codes".lstrip("."): part for n, part in model.named_modules() if isinstance(part, Quantized)}
    tensors: dict[str, Tensor] = {}
    first: dict[int, str] = {}
    # A buffer that its author did not want in the state dict is stored too: the class that makes it stays behind.
    unlisted = {n: model.get_buffer(n) for n in architecture.loose(spec["tree"]) if n not in model.state_dict()}
    # Nor is a layer stored that the forward never calls: nothing could be built for it.
    wanted = set(architecture.planned(spec["tree"]).state_dict())
    for name, tensor in [*model.state_dict(keep_vars=True).items(), *unlisted.items()]:
        if name not in wanted:
            continue
        if first.setdefault(id(tensor), name) != name:
            spec["shared"][name] = first[id(tensor)]
            continue
        value = tensor.detach()
        if plain.wrapped(value):
            raise ArtifactError(
                f"{name} is a {type(tensor).__name__} of layout {tensor.layout}, which cannot be stored"
            )
        if name in packed:
            small = _sparse_codes(value, packed[name])
        else:
            small = _sparse(value) if value.is_floating_point() else None
        if small is None:
            tensors[name] = value.contiguous()
        else:
            tensors[name + _VALUES], tensors[name + _MASK] = small
            spec["shapes"][name] = list(value.shape)
    if absent := sorted(wanted - set(first.values()) - set(spec["shared"])):
        raise ArtifactError(
            f"{absent[0]} is made anew in every pass, as by torch.nn.utils.prune or weight_norm, and cannot be stored; "
            "make it a parameter first, as by prune.remove or remove_weight_norm"
        )
    return tensors, spec


def decode(tensors: dict[str, Tensor], spec: architecture.Spec) -> nn.Module:
    """Return the model that `encode` was given, frozen and in evaluation mode.

    Args:
        tensors: Stored tensors.
        spec: The description.

    Raises:
        ArtifactError: Tensors and description do not fit each other, or what they stand for takes more memory than
            `limits` allow.
        MissingExtraError: It is a language model, and transformers is not installed.
    """
    try:
        model = architecture.planned(spec["tree"])
        layers = dict(model.named_modules())
        packed = {f"{n}.codes".lstrip("."): part for n, part in layers.items() if isinstance(part, Quantized)}
        _check(model.state_dict(), tensors, spec, packed)
        # Weights that are made of codes are not stored, and zeros take a bit.
        asked = sum(map(_size, {*model.parameters(), *model.buffers()}))
        limits.check(asked, sum(map(_size, tensors.values())), "a saved model", ArtifactError)
        model._apply(_empty)  # type: ignore[no-untyped-call] # noqa: SLF001 - `to_empty`, which imports sympy
        whole = {n: t for n, t in tensors.items() if not n.endswith((_VALUES, _MASK))}
        for name, shape in spec["shapes"].items():
            values, mask = tensors[name + _VALUES], tensors[name + _MASK]
            whole[name] = _whole_codes(values, mask, packed[name]) if name in packed else _whole(values, mask, shape)
        for name, source in spec["shared"].items():
            _share(model, name, source)
            whole[name] = whole[source]
        model.load_state_dict(whole)
        for part in model.modules():
            if isinstance(part, CompressedLayer) and part.damage():
                raise ArtifactError(f"a saved model is damaged: {part.damage()}")
            if isinstance(part, Decoder):
                settle(part)
    except (ArtifactError, MissingExtraError):
        raise
    except Exception as error:  # whatever torch makes of damaged files
        reason = (str(error).splitlines() or [type(error).__name__])[-1]
        raise ArtifactError(f"a saved model does not fit its description: {reason}") from error
    model.eval()
    return model.requires_grad_(requires_grad=False)


def _empty(planned: Tensor) -> Tensor:
    return torch.empty_strided(planned.shape, planned.stride(), dtype=planned.dtype, device="cpu")


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _check(
    planned: dict[str, Tensor], tensors: dict[str, Tensor], spec: architecture.Spec, packed: dict[str, Quantized]
) -> None:
    """Hold what is stored against what the description asks for, before anything of that size is made.

    Raises:
        ArtifactError: A tensor is missing, too many, of another shape or type, or shared with what is not stored.
    """
    shapes, shared = spec["shapes"], spec["shared"]
    stored = {n.removesuffix(_VALUES).removesuffix(_MASK) for n in tensors}
    for name, tensor in planned.items():
        size = tensor.numel()
        if name in shared:
            of = planned.get(shared[name])
            fits = of is not None and shared[name] in stored and (of.shape, of.dtype) == (tensor.shape, tensor.dtype)
        elif name in shapes:
            values, mask = tensors[name + _VALUES], tensors[name + _MASK]
            bits = packed[name].bits if name in packed else 0
            count = packed[name].weight.numel() if bits else size
            left = int(unpack(mask, 1, count).sum()) if len(mask) == -(-count // 8) else -1
            fits = list(tensor.shape) == shapes[name] and values.dtype == tensor.dtype
            fits = fits and len(values) == (-(-left * bits // 8) if bits else left)
        else:
            fits = name in tensors and (tensors[name].shape, tensors[name].dtype) == (tensor.shape, tensor.dtype)
        if not fits:
            raise ArtifactError(f"a saved model does not fit its description: {name} is missing or of another size")
    known = set(planned)
    if not (stored | set(shapes) | set(shared)) <= known:
        extra = sorted((stored | set(shapes) | set(shared)) - known)[0]
        raise ArtifactError(f"a saved model does not fit its description: nothing there takes the tensor {extra}")


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
    # Only the tables of parameters and buffers are touched: a file must not be able to replace a method.
    (place, _, last), (owner, _, first) = name.rpartition("."), source.rpartition(".")
    taker, giver = model.get_submodule(place), model.get_submodule(owner)
    if last in taker._parameters and first in giver._parameters:
        taker._parameters[last] = giver._parameters[first]
    else:
        taker._buffers[last] = giver._buffers[first]
