"""Where training computes: here, or on an accelerator that a module visits while it is trained.

Data, the order of batches, losses and targets stay on the CPU: a module is moved there, its inputs follow it and its
answers come back, as for a model under audit. So every method trains there without knowing of it, and one seed decides
the same batches anywhere; what the device rounds otherwise is in the key of what comes of it.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_map

_DEVICE: ContextVar[str] = ContextVar("device", default="")


def home(x: Tensor) -> Tensor:
    """Return a tensor in the memory of the CPU; itself where it is there.

    Args:
        x: Any.
    """
    return x.cpu() if x.device.type != "cpu" else x


@contextmanager
def training_on(device: str) -> Generator[None]:
    """Let modules be trained on a device inside.

    Args:
        device: As torch names it, such as ``cuda``; empty for the CPU.
    """
    before = _DEVICE.set(device)
    try:
        yield
    finally:
        _DEVICE.reset(before)


@contextmanager
def visiting(model: nn.Module) -> Generator[None]:
    """Move a module to where training computes, and back at the end; it is asked from here as ever.

    Args:
        model: All of it is on the CPU.
    """
    device = _DEVICE.get()
    if not device:
        yield
        return

    def there(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        moved = tree_map(lambda part: part.to(device) if isinstance(part, Tensor) else part, (args, kwargs))
        return moved[0], moved[1]

    def back(_: nn.Module, args: object, output: object) -> object:
        del args
        return tree_map(lambda part: home(part) if isinstance(part, Tensor) else part, output)

    model.to(device)
    handles = [model.register_forward_pre_hook(there, with_kwargs=True), model.register_forward_hook(back)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        model.to("cpu")
