"""A module that computes on an accelerator and is asked from here: inputs go there, answers come back.

Everything around it stays on the CPU: data, attacks, generators of random numbers, and statistics. One setting moves
the passes, which are what takes time, and no behavior has to know of it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from whatelse.errors import TaskError, in_short
from whatelse.modules.device import home as home


class Placed(nn.Module):
    """A module on a device.

    Attributes:
        model: The module, moved there in place.
        device: Where.
    """

    def __init__(self, model: nn.Module, device: str) -> None:
        super().__init__()
        self.training = model.training
        self.model, self.device = model.to(device), device

    def forward(self, x: Tensor) -> object:
        """Return what the module answers, its tensors where the inputs are.

        Args:
            x: ``(N, ...)``.
        """
        return tree_map(lambda part: home(part) if isinstance(part, Tensor) else part, self.model(x.to(self.device)))


def named(device: str) -> str:
    """Return a device by the name that keys and remarks have: nothing for the CPU.

    Args:
        device: As a user types it; ``auto`` for the accelerator that torch sees, where there is one.
    """
    if device == "auto":
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return "" if found is None else found.type
    return "" if device == "cpu" else device


def check(device: str, *, elsewhere: bool = False) -> None:
    """Refuse a device that this machine has not; or one that says nothing, or too much, of machines elsewhere.

    Args:
        device: As `named` takes it, such as ``cuda``, ``cuda:1`` or ``auto``; empty for the CPU.
        elsewhere: Whether work is done on other machines, whichever of them has such a device.

    Raises:
        TaskError: It has none of that name.
    """
    if elsewhere:
        if device == "auto" or ":" in device:
            told = "machines of a cluster differ; name a kind alone, such as cuda, which is used where there is one"
            raise TaskError(f"--device {device}: {told}; or cpu")
        return
    try:
        torch.empty(1, device=named(device) or "cpu").cpu()
    except Exception as error:  # of many kinds: no such word, a build without it, no driver, too high a number
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        there = "cpu" if found is None else f"cpu, {found.type}"
        raise TaskError(
            f"--device {device}: torch {torch.__version__} cannot compute there ({in_short(error)}); here are: {there}"
        ) from error
