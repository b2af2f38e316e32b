"""The layers that methods treat: found by their kind, replaced by their name; and the copy that methods work on."""

from __future__ import annotations

from collections import Counter
from typing import Any

from torch import Tensor, fx, nn
from torch.nn.modules.conv import _ConvNd

from whatelse.errors import RecipeError
from whatelse.modules.lent import copied as copied
from whatelse.modules.lent import skeleton

Layer = nn.Conv2d | nn.Linear


class Guarded(nn.Module):
    """A model that says which of its layers no method may treat."""

    def apart(self) -> list[nn.Module]:
        """Return these layers.

        Raises:
            NotImplementedError: A model does not say it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say which of its layers stand apart")


def layers(model: nn.Module) -> dict[str, Layer]:
    """Return the convolutions and linear layers that a method may treat, by name, in order.

    A layer that stands under several names comes once, under the first. Three kinds are left out, and so left alone by
    every method: a layer whose weight another part shares (replacing one would untie them); one whose weight is
    computed anew at every pass, as under weight norm or a pruning mask (what is set would be gone); and a subclass,
    such as the projection inside ``nn.MultiheadAttention``, whose weight is read without the layer being called. So is
    what a model holds apart (`Guarded`).

    Args:
        model: Any module; its own name is empty.

    Raises:
        RecipeError: No layer is left because the weights are computed anew at every pass.
    """
    owners = Counter(id(p) for m in model.modules() for p in m.parameters(recurse=False))
    found = {name: part for name, part in model.named_modules() if isinstance(part, Layer)}
    apart = {id(part) for one in model.modules() if isinstance(one, Guarded) for part in one.apart()}
    plain = {n: part for n, part in found.items() if type(part) in {nn.Conv2d, nn.Linear} and not is_computed(part)}
    plain = {n: part for n, part in plain.items() if id(part) not in apart}
    treatable = {n: part for n, part in plain.items() if owners[id(part.weight)] == 1}
    if not treatable:
        refuse_computed(model)
    return treatable


def refuse_computed(model: nn.Module) -> None:
    """Refuse a model that has a convolution or linear layer whose weight is computed anew at every pass.

    Args:
        model: Any module.

    Raises:
        RecipeError: It has; the message says how to make the weight a plain one.
    """
    for name, part in model.named_modules():
        if is_computed(part):
            raise RecipeError(
                f"the weight of {name or 'the model'!r} is computed anew at every pass, as under weight norm, spectral "
                "norm or a pruning mask; make it plain: torch.nn.utils.parametrize.remove_parametrizations, "
                "torch.nn.utils.remove_weight_norm, remove_spectral_norm or prune.remove"
            )


def pruned(model: nn.Module) -> list[nn.Parameter]:
    """Return the weights whose exact zeros are the mask of a pruned model: those of convolutions and linear layers.

    Zeros of any other parameter, such as a table of positions that starts at zero, mean nothing.

    Args:
        model: Any module.
    """
    parts = [part for part in model.modules() if isinstance(part, Layer)]
    return [p for part in parts for name, p in part.named_parameters(recurse=False) if name == "weight"]


def children(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the parts of a module with their names, one that stands twice twice, where ``named_children`` skips it.

    Args:
        model: Any module.
    """
    inside = model.named_modules(remove_duplicate=False)
    return [(name, part) for name, part in inside if name and "." not in name]


def swap(model: nn.Module, name: str, part: nn.Module) -> nn.Module:
    """Put another part in place of one, under every name that this one has, and return the model.

    Returned is the part itself where the name is empty. In evaluation ``nn.TransformerEncoderLayer`` reads the weights
    of its linear layers without calling them, unless a hook is attached: the part gets one that does nothing, or its
    rounding would be skipped in silence. An ``nn.TransformerEncoder`` around it no longer packs padded inputs into
    nested tensors, which torch takes only there; as in training, what comes out at padding is then not zero.

    Args:
        model: Changed in place.
        name: Name of the part to replace, one of them if it has several.
        part: What comes there.
    """
    if not name:
        return part
    if _call_me not in part._forward_pre_hooks.values():  # noqa: SLF001 - torch has no other way to tell
        part.register_forward_pre_hook(_call_me, with_kwargs=True)
    place(model, name, part)
    for around in model.modules():
        if isinstance(around, nn.TransformerEncoder) and any(inner is part for inner in around.modules()):
            around.use_nested_tensor = False
    return model


def place(model: nn.Module, name: str, part: nn.Module) -> nn.Module:
    """Put another part in place of one, as `swap` does, and nothing else.

    Args:
        model: Changed in place.
        name: Name of the part to replace, one of them if it has several.
        part: What comes there.
    """
    if not name:
        return part
    old = model.get_submodule(name)
    for where in [where for where, found in model.named_modules(remove_duplicate=False) if found is old]:
        model.set_submodule(where, part)
    return model


def branches(model: nn.Module) -> bool:
    """Say whether a model may go another way for other inputs: whether torch.fx cannot trace it.

    Args:
        model: Any module.
    """
    try:
        fx.Tracer().trace(skeleton(model))
    except Exception:  # noqa: BLE001 - whatever a forward raises under tracing
        return True
    return False


def is_computed(part: nn.Module | Tensor) -> bool:
    """Say whether a convolution or linear layer computes its weight anew at every pass.

    Args:
        part: Any module, or a tensor, which is no layer.
    """
    return isinstance(part, nn.Linear | _ConvNd) and "weight" not in dict(part.named_parameters(recurse=False))


def _call_me(part: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Hand an only input over by its place, as parts differ in its name; that this is there makes a part be called."""
    del part
    return (args, kwargs) if args or len(kwargs) > 1 else (tuple(kwargs.values()), {})
