"""The steps between the levels on which a model in few bits stores its weights, and the weights of a model by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from whatelse.layers.compressed import CompressedLayer
from whatelse.layers.quantized import Quantized

_MATRIX = 2  # dimensions


@runtime_checkable
class Stepped(Protocol):
    """What says on which levels its weights lie, where it stores them in few bits."""

    def steps(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the linear layers that are stored in few bits, and the step of every weight, ``(out, in)``."""

    def weight(self, name: str) -> Tensor | None:
        """Return the weight of a linear layer as floats, ``(out, in)``; None where there is none of that name.

        Args:
            name: Of the layer.
        """


def steps(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the linear layers that are stored in few bits, and the step of every weight, ``(out, in)``.

    Layers of ours, and of compressed-tensors, which keeps its scales beside the floats that it makes.

    Args:
        model: Of transformers.
    """
    for name, part in model.named_modules():
        own = part.coded() if isinstance(part, CompressedLayer) else None
        if isinstance(own, Quantized):
            yield name, own.levels().scale
        elif isinstance(part, nn.Linear) and isinstance(scale := getattr(part, "weight_scale", None), Tensor):
            wide = scale.reshape(-1, scale.shape[-1]) if scale.dim() > 1 else scale.reshape(1, 1)
            each = -(-part.in_features // wide.shape[1])
            yield name, wide.detach().repeat_interleave(each, 1)[:, : part.in_features].expand(part.out_features, -1)


def weight(model: nn.Module, name: str) -> Tensor | None:
    """Return the weight of a linear layer as floats, ``(out, in)``; None where the model has none of that name.

    Args:
        model: Of transformers.
        name: Of the layer.
    """
    part = dict(model.named_modules()).get(name)
    held: Any = getattr(part, "weight", None)
    if part is None or not isinstance(held, Tensor) or held.dim() != _MATRIX or not held.is_floating_point():
        return None
    turned = hasattr(part, "nf")  # as GPT-2 has it
    return torch.t(held.detach()) if turned else held.detach()
