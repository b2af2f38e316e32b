"""The layers that methods treat: found by their kind, replaced by their name."""

from __future__ import annotations

from collections import Counter

from torch import nn

Layer = nn.Conv2d | nn.Linear


def layers(model: nn.Module) -> dict[str, Layer]:
    """Return the convolutions and linear layers that a method may treat, by name, in order.

    Two kinds are left out, and so left alone by every method: a layer whose weight another part shares (replacing
    one would untie them), and a subclass, such as the projection inside ``nn.MultiheadAttention``, whose weight is
    read without the layer being called.

    Args:
        model: Any module; its own name is empty.
    """
    owners = Counter(id(p) for m in model.modules() for p in m.parameters(recurse=False))
    found = {name: part for name, part in model.named_modules() if type(part) in {nn.Conv2d, nn.Linear}}
    return {n: part for n, part in found.items() if isinstance(part, Layer) and owners[id(part.weight)] == 1}


def swap(model: nn.Module, name: str, part: nn.Module) -> nn.Module:
    """Put another part in place of one, and return the model: the part itself where the name is empty.

    In evaluation ``nn.TransformerEncoderLayer`` reads the weights of its linear layers without calling them, unless a
    hook is attached: the part gets one that does nothing, or its rounding would be skipped in silence.

    Args:
        model: Changed in place.
        name: Name of the part to replace.
        part: What comes there.
    """
    if not name:
        return part
    part.register_forward_pre_hook(_call_me)
    model.set_submodule(name, part)
    return model


def _call_me(part: nn.Module, given: object) -> None:
    """Do nothing; that it is there makes the part be called."""
    del part, given
