"""The same network with fewer units: the architecture of a student."""

from __future__ import annotations

from collections import OrderedDict
from copy import deepcopy

import torch
from torch import Tensor, nn

from whatelse.errors import RecipeError
from whatelse.modules import dependency, walk
from whatelse.modules.notes import note
from whatelse.modules.walk import is_computed

_POINTWISE = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Identity, nn.Dropout)
_PLAIN = (*_POINTWISE, nn.Flatten, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
_WEIGHTED = (nn.Conv2d, nn.Linear)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def narrow(model: nn.Module, width: float, inputs: Tensor) -> nn.Module:
    """Return the architecture with every hidden width multiplied and rounded; weights are not set.

    A chain of layers is built anew; of any other module, also a chain in which a layer with weights stands twice, units
    are removed through its dependency graph, whole heads of attention where that is possible. What the graph must leave
    alone keeps its width.

    Args:
        model: Any module.
        width: Factor of the hidden widths, in (0, 1].
        inputs: A few inputs, ``(N, ...)``, on which the student is tried.

    Raises:
        RecipeError: No width of the model can be changed; the message names the parts.
        MissingExtraError: The model is not a chain, and Torch-Pruning is not installed.
    """
    sized = [p for _, p in model.named_modules(remove_duplicate=False) if isinstance(p, (*_WEIGHTED, *_NORMS))]
    if not _is_chain(model) or len(set(sized)) < len(sized):
        return _thinned(model, width, inputs)
    last = [name for name, part in model.named_modules() if isinstance(part, _WEIGHTED)][-1:]
    with torch.device("meta"):
        chain, _ = _chain(model, "", width, (1, 1), last)
    small = chain.to_empty(device="cpu")
    return small if _runs(small, model, inputs) else _thinned(model, width, inputs)


@torch.no_grad()
def _runs(small: nn.Module, model: nn.Module, inputs: Tensor) -> bool:
    """Say whether the chain takes what the model takes: not where a linear layer reads places and not channels."""
    few = inputs[:2]
    try:
        return bool(deepcopy(small).eval()(few).shape == deepcopy(model).eval()(few).shape)
    except (RuntimeError, ValueError, IndexError):
        return False


def _is_chain(model: nn.Module) -> bool:
    if type(model) is not nn.Sequential:
        return False
    for part in model:
        grouped = isinstance(part, nn.Conv2d) and part.groups != 1
        if grouped or is_computed(part) or not (type(part) in {*_PLAIN, *_WEIGHTED, *_NORMS} or _is_chain(part)):
            return False
    return True


def _chain(
    model: nn.Module, at: str, width: float, fed: tuple[int, int], last: list[str]
) -> tuple[nn.Sequential, tuple[int, int]]:
    """Return the narrowed chain, and the output channels of its last layer in the model and in the student."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for name, part in walk.children(model):
        path = f"{at}.{name}".lstrip(".")
        if isinstance(part, nn.Sequential):
            parts[name], fed = _chain(part, path, width, fed, last)
            continue
        parts[name] = _narrowed(part, width, fed, keep=[path] == last)
        if isinstance(part, _WEIGHTED):
            fed = _outputs(part), _outputs(parts[name])
    return nn.Sequential(parts), fed


def _outputs(part: nn.Module) -> int:
    assert isinstance(part, _WEIGHTED)
    return int(part.weight.shape[0])


def _narrowed(part: nn.Module, width: float, fed: tuple[int, int], *, keep: bool) -> nn.Module:
    before, now = fed
    if isinstance(part, nn.Conv2d):
        size = part.out_channels if keep else max(1, round(width * part.out_channels))
        entering = part.in_channels if before == now == 1 else now
        like = (part.kernel_size, part.stride, part.padding, part.dilation, 1, part.bias is not None, part.padding_mode)
        return nn.Conv2d(entering, size, *like, dtype=part.weight.dtype)  # type: ignore[arg-type]
    if isinstance(part, nn.Linear):
        size = part.out_features if keep else max(1, round(width * part.out_features))
        return nn.Linear(part.in_features // before * now, size, part.bias is not None, dtype=part.weight.dtype)
    if isinstance(part, _NORMS):
        size = part.num_features // before * now
        kind = next((p.dtype for p in part.parameters()), None)
        return type(part)(size, part.eps, part.momentum, part.affine, part.track_running_stats, dtype=kind)
    return deepcopy(part)  # the teacher keeps its own, which training would put into training mode


def _thinned(model: nn.Module, width: float, inputs: Tensor) -> nn.Module:
    for name, part in model.named_modules():
        if isinstance(part, nn.RNNBase):
            raise RecipeError(f"distill: cannot narrow {name}, a {type(part).__name__}; give a recipe as `student`")
    found, refused = dependency.groups(model, inputs, "distill")
    if not found:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        raise RecipeError(
            f"distill: cannot narrow this {type(model).__name__} ({reasons}); give a recipe as `student` instead"
        )
    chosen = [(group, range(max(1, round(width * len(group))), len(group))) for group in found]
    small, undone = dependency.without(model, inputs, chosen, "distill")
    note(small, dependency.left_whole({**refused, **undone}))
    return small
