"""Take channels out of parts of a model, for real or by zeroing them, given by the names of the parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd

from whatelse.modules.walk import copied, is_computed

# A part and the side of it that is cut: what it puts out (or only passes on), what it takes in, or a loose parameter.
Place = tuple[str, str]
Cut = Mapping[Place, Iterable[int]]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


def part_at(model: nn.Module, name: str) -> Any:  # noqa: ANN401 - a module or a parameter
    """Return the part or loose parameter of a name.

    Args:
        model: Holds it.
        name: Its dotted name; empty for the model itself.
    """
    place, _, last = name.rpartition(".")
    return getattr(model.get_submodule(place), last) if last else model


def axes(part: nn.Module | Tensor, side: str) -> dict[str, int]:
    """Return the tensors that a cut goes through, and along which dimension; empty where we do not know how to cut.

    A loose parameter has the one name "".

    Args:
        part: A layer, by its exact type, or a loose parameter.
        side: ``out``, ``in`` or ``loose``.
    """
    if isinstance(part, Tensor):
        wide = [i for i, size in enumerate(part.shape) if size > 1]
        return {"": wide[-1]} if wide and side == "loose" else {}
    kind, cut = type(part), {"weight": 0, "bias": 0}
    if is_computed(part):
        cut = {}
    elif isinstance(part, _ConvNd):
        cut = _axes_of_convolution(part, side)
    elif kind is nn.Linear:
        cut = {"weight": 1} if side == "in" else cut
    elif kind in _NORMS:
        cut = {**cut, "running_mean": 0, "running_var": 0}
    elif kind is nn.Embedding or (isinstance(part, nn.PReLU) and part.num_parameters > 1):
        cut = {"weight": int(kind is nn.Embedding)}
    elif not (isinstance(part, nn.LayerNorm) and len(part.normalized_shape) == 1):
        cut = {}
    return {name: dim for name, dim in cut.items() if getattr(part, name) is not None}


def _axes_of_convolution(part: _ConvNd, side: str) -> dict[str, int]:
    transposed = type(part) in _TRANSPOSED
    if not transposed and type(part) not in _CONVOLUTIONS:
        return {}
    if part.groups > 1:
        depthwise = part.groups == part.in_channels == part.out_channels and not transposed
        return {"weight": 0, "bias": 0} if depthwise else {}
    enters, leaves = (0, 1) if transposed else (1, 0)
    return {"weight": enters} if side == "in" else {"weight": leaves, "bias": 0}


def remove(model: nn.Module, cut: Cut) -> nn.Module:
    """Return a copy without the given channels, frozen as the model is.

    Args:
        model: Not changed.
        cut: For every place the indices that go.
    """
    small = copied(model)
    for (name, side), gone in cut.items():
        part = part_at(small, name)
        for tensor_name, dim in axes(part, side).items():
            path = f"{name}.{tensor_name}".strip(".")
            tensor = part_at(small, path)
            kept = torch.ones(tensor.shape[dim], dtype=torch.bool)
            kept[list(gone)] = False
            _put(small, path, tensor.detach()[(slice(None),) * dim + (kept,)].contiguous())
        if isinstance(part, nn.Module):
            _resize(part, side, len(set(gone)))
    return small


def mask(model: nn.Module, cut: Cut) -> nn.Module:
    """Return a copy in which the given channels are zero wherever they are made or read: what `remove` must equal.

    A layer norm of the copy takes its mean and variance over the other channels only.

    Args:
        model: Not changed.
        cut: For every place the indices that go.
    """
    masked = copied(model)
    with torch.no_grad():
        for (name, side), gone in cut.items():
            part, picks = part_at(masked, name), sorted(gone)
            for tensor_name, dim in axes(part, side).items():
                if not tensor_name.startswith("running"):
                    tensor = part_at(masked, f"{name}.{tensor_name}".strip("."))
                    tensor.index_fill_(dim, torch.tensor(picks, dtype=torch.long, device=tensor.device), 0)
            if isinstance(part, nn.LayerNorm):
                part.register_forward_hook(_norm_without(picks))
    return masked


def _norm_without(gone: list[int]) -> Callable[[nn.LayerNorm, tuple[Tensor, ...], Tensor], Tensor]:
    def norm(part: nn.LayerNorm, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        kept = [i for i in range(inputs[0].shape[-1]) if i not in set(gone)]
        weight, bias = (None if p is None else p[kept] for p in (part.weight, part.bias))
        found = torch.zeros_like(output)
        found[..., kept] = functional.layer_norm(inputs[0][..., kept], (len(kept),), weight, bias, part.eps)
        return found

    return norm


def _put(model: nn.Module, path: str, tensor: Tensor) -> None:
    place, _, last = path.rpartition(".")
    old = part_at(model, path)
    if isinstance(old, nn.Parameter):
        tensor = nn.Parameter(tensor, requires_grad=old.requires_grad)
    setattr(model.get_submodule(place), last, tensor)


def _resize(part: nn.Module, side: str, fewer: int) -> None:
    """Bring the sizes that a layer keeps beside its tensors up to date."""
    if isinstance(part, _ConvNd):
        depthwise = part.groups > 1
        part.out_channels -= fewer if side == "out" or depthwise else 0
        part.in_channels -= fewer if side == "in" or depthwise else 0
        part.groups -= fewer if depthwise else 0
    elif isinstance(part, nn.Linear):
        part.out_features -= fewer if side == "out" else 0
        part.in_features -= fewer if side == "in" else 0
    elif isinstance(part, _NORMS):
        part.num_features -= fewer
    elif isinstance(part, nn.LayerNorm):
        part.normalized_shape = (part.normalized_shape[0] - fewer,)
    elif isinstance(part, nn.Embedding):
        part.embedding_dim -= fewer
    elif isinstance(part, nn.PReLU) and part.num_parameters > 1:
        part.num_parameters -= fewer
