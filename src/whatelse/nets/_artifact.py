"""A model as named tensors and plain data: what is written to disk, small because it is small, and read back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from whatelse.errors import ArtifactError
from whatelse.nets import _architecture
from whatelse.nets._layers import pack, unpack

_VALUES, _MASK = ".values", ".mask"


def encode(model: nn.Module) -> tuple[dict[str, Tensor], _architecture.Spec]:
    """Return the tensors to store and the description that rebuilds the module tree.

    A tensor is stored as its nonzero values and a bit mask where that is smaller than storing it whole;
    quantized layers hold packed codes already.

    Args:
        model: Built of the layers that `_architecture.describe` knows.

    Raises:
        ArtifactError: The tree holds a kind of layer that cannot be described.
    """
    spec = {"tree": _architecture.describe(model), "shapes": {}}
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        kept = tensor != 0
        sparse = int(kept.sum()) * tensor.element_size() + -(-tensor.numel() // 8)
        if tensor.is_floating_point() and sparse < tensor.numel() * tensor.element_size():
            tensors[name + _VALUES] = tensor[kept].contiguous()
            tensors[name + _MASK] = pack(kept, 1)
            spec["shapes"][name] = list(tensor.shape)
        else:
            tensors[name] = tensor.contiguous()
    return tensors, spec


def decode(tensors: dict[str, Tensor], spec: _architecture.Spec) -> nn.Module:
    """Return the model that `encode` was given, in evaluation mode.

    Args:
        tensors: Stored tensors.
        spec: The description.

    Raises:
        ArtifactError: Tensors and description do not fit each other.
    """
    whole = {n: t for n, t in tensors.items() if not n.endswith((_VALUES, _MASK))}
    for name, shape in spec["shapes"].items():
        values = tensors[name + _VALUES]
        flat = torch.zeros(torch.Size(shape).numel(), dtype=values.dtype)
        flat[unpack(tensors[name + _MASK], 1, len(flat)).bool()] = values
        whole[name] = flat.view(shape)
    model = _architecture.build(spec["tree"])
    try:
        model.load_state_dict(whole)
    except RuntimeError as error:
        raise ArtifactError(f"a saved model does not fit its description: {str(error).splitlines()[-1]}") from error
    model.eval()
    return model.requires_grad_(requires_grad=False)
