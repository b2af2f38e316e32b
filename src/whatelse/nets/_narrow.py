"""The same chain of layers with fewer units: the architecture of a student."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from whatelse.errors import RecipeError

_PLAIN = (nn.ReLU, nn.GELU, nn.Sigmoid, nn.Tanh, nn.Flatten, nn.Identity, nn.MaxPool2d, nn.AvgPool2d)


def narrow(model: nn.Module, width: float, example: Tensor) -> nn.Module:
    """Return the architecture with every hidden width multiplied and rounded; weights are not set.

    Args:
        model: Convolutions (ungrouped), linear layers, nonlinearities and pooling in one ``nn.Sequential``.
        width: Factor of the hidden widths, in (0, 1].
        example: One input, ``(1, ...)``.

    Raises:
        RecipeError: The model is not such a chain; the message names the part.
    """
    del example
    if not isinstance(model, nn.Sequential):
        raise RecipeError(f"distill: cannot narrow a {type(model).__name__}; it takes one nn.Sequential")
    last = [n for n, part in model.named_children() if isinstance(part, nn.Linear | nn.Conv2d)][-1:]
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    before, now = 1, 1  # output channels of the layer before, in the model and in the student
    with torch.device("meta"):
        for name, part in model.named_children():
            parts[name] = _narrowed(name, part, width, (before, now), keep=[name] == last)
            if isinstance(part, nn.Conv2d | nn.Linear):
                before, now = _outputs(part), _outputs(parts[name])
    return nn.Sequential(parts).to_empty(device="cpu")


def _outputs(part: nn.Module) -> int:
    assert isinstance(part, nn.Conv2d | nn.Linear)
    return int(part.weight.shape[0])


def _narrowed(name: str, part: nn.Module, width: float, fed: tuple[int, int], *, keep: bool) -> nn.Module:
    before, now = fed
    if isinstance(part, nn.Conv2d) and part.groups == 1:
        size = part.out_channels if keep else max(1, round(width * part.out_channels))
        entering = part.in_channels if before == now == 1 else now
        like = (part.kernel_size, part.stride, part.padding, part.dilation)
        return nn.Conv2d(entering, size, *like, bias=part.bias is not None)  # type: ignore[arg-type]
    if isinstance(part, nn.Linear):
        size = part.out_features if keep else max(1, round(width * part.out_features))
        return nn.Linear(part.in_features // before * now, size, bias=part.bias is not None)
    if isinstance(part, _PLAIN):
        return part
    raise RecipeError(f"distill: cannot narrow {name}, a {type(part).__name__}")
