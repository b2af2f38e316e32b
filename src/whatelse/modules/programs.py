"""Models that are programs, scripts and graphs of torch's own operations: no module of theirs is called by itself."""

from __future__ import annotations

from itertools import chain

import torch
from torch import fx, nn
from torch._ops import OpOverload


def exported(model: nn.Module) -> bool:
    """Return whether a module is a graph of torch's own operations, as ``torch.export`` makes them.

    Its modes are marks without a meaning: dropout and batch normalization were written out as they were at the export.

    Args:
        model: Any module.
    """
    return isinstance(model, fx.GraphModule) and any(
        isinstance(node.target, OpOverload) for node in model.graph.nodes if node.op == "call_function"
    )


def called(model: nn.Module) -> str:
    """Return what kind of program a model is or holds; empty where it is none.

    Args:
        model: Any module.
    """
    if any(isinstance(part, torch.jit.ScriptModule) for part in model.modules()):
        return "a TorchScript program"
    return "an exported program" if any(exported(part) for part in model.modules()) else ""


def unread(model: nn.Module) -> set[int]:
    """Return the identities of tensors that an exported program keeps and its graph never reads.

    Quantization leaves them behind: the floats whose codes have taken their place.

    Args:
        model: Any module.
    """
    read: set[int] = set()
    kept: set[int] = set()
    for part in model.modules():
        if not exported(part):
            continue
        assert isinstance(part, fx.GraphModule)
        wanted = {str(node.target) for node in part.graph.nodes if node.op == "get_attr"}
        for name, tensor in chain(
            part.named_parameters(remove_duplicate=False), part.named_buffers(remove_duplicate=False)
        ):
            kept.add(id(tensor))
            if name in wanted:
                read.add(id(tensor))
    return kept - read
