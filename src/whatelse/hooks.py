"""Where a model is looked into: the layers whose outputs are activations, and where the gradients of texts begin."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

NONLINEAR = (nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh)
_LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d)

Hook = Callable[[nn.Module, object, object], object]


def watched(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the layers whose outputs are activations, in order, each with its name.

    They are the nonlinearities; in a network that has these as functions, the outermost of its blocks; in one without
    blocks all linear and convolutional layers but the last.

    Args:
        model: Any classifier.
    """
    parts = list(model.named_modules())[1:]
    found: list[tuple[str, nn.Module]] = [(name, part) for name, part in parts if isinstance(part, NONLINEAR)]
    if found:
        return found
    blocks = [(n, p) for n, p in parts if not isinstance(p, _LISTS) and next(p.children(), None) is not None]
    blocks = [(n, p) for n, p in blocks if n not in _wrappers(model)]
    outer = [(n, p) for n, p in blocks if not any(n.startswith(f"{o}.") for o, _ in blocks)]
    if len(outer) > 1:
        return outer
    found = [(name, part) for name, part in parts if isinstance(part, _LINEAR)]
    return found[:-1]


def _wrappers(model: nn.Module) -> set[str]:
    """Return the names of modules that hold all the rest: the whole again, not a block of it."""
    found, name, part = set(), "", model
    while len(children := list(part.named_children())) == 1:
        name, part = f"{name}.{children[0][0]}".lstrip("."), children[0][1]
        found.add(name)
    return found


def keeper(name: str, seen: dict[str, Tensor], told: Tensor | None) -> Hook:
    """Return a forward hook that keeps a layer's output, averaged over space or tokens, ``(N, units)``.

    Args:
        name: Under which it is kept.
        seen: Where it is kept.
        told: Which tokens are not padding, ``(N, tokens)``; None where inputs are no texts.
    """

    def keep(module: nn.Module, inputs: object, output: object) -> None:
        del module, inputs
        whole = output[0] if isinstance(output, tuple) else output
        if isinstance(whole, Tensor):
            seen[name] = _pooled(whole, told)

    return keep


def _pooled(output: Tensor, told: Tensor | None) -> Tensor:
    if output.dim() <= 2:
        return output
    if told is None or output.shape[1] != told.shape[1]:
        return output.flatten(2).mean(2)
    told = told.to(output)
    return (output * told[:, :, None]).sum(1) / told.sum(1, keepdim=True).clamp(min=1)


def editor(edit: Callable[[Tensor], Tensor]) -> Hook:
    """Return a forward hook that changes a layer's output on its way.

    Args:
        edit: Takes the output, returns what goes on.
    """

    def change(module: nn.Module, inputs: object, output: object) -> object:
        del module, inputs
        if isinstance(output, tuple):
            return (edit(output[0]), *output[1:])
        return edit(output) if isinstance(output, Tensor) else output

    return change


def embedding(model: nn.Module) -> nn.Embedding | None:
    """Return the layer that turns token ids into vectors, the first of its kind, or None.

    Args:
        model: A classifier of texts.
    """
    return next((m for m in model.modules() if isinstance(m, nn.Embedding)), None)


@contextmanager
def entering(model: nn.Module, vectors: Tensor | None = None) -> Generator[list[Tensor]]:
    """Let gradients begin at the embedding.

    Args:
        model: A classifier of texts.
        vectors: Taken in place of the embedding's own output, if given.

    Yields:
        A list that receives, in every pass, the leaf which stands for the embedding's output.
    """
    seen: list[Tensor] = []

    def enter(part: nn.Module, inputs: object, output: Tensor) -> Tensor:
        del part, inputs
        seen.append(output.detach().requires_grad_(torch.is_grad_enabled()) if vectors is None else vectors)
        return seen[-1]

    layer = embedding(model)
    assert layer is not None
    hook = layer.register_forward_hook(enter)
    try:
        yield seen
    finally:
        hook.remove()
