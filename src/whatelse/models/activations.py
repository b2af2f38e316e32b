"""Where a model is looked into: the layers whose outputs are activations, and where the gradients of texts begin."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from whatelse.errors import NotMeasurableError
from whatelse.models.placed import home

NONLINEAR = (nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh)
_LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d)

Hook = Callable[[nn.Module, object, object], object]


def watched(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the layers whose outputs are activations, in order, each with its name.

    They are the nonlinearities; in a network that has these as functions, the outermost of its blocks; in one without
    blocks all linear and convolutional layers but the last. Inside a script layers are not called one by one.

    Args:
        model: Any classifier.
    """
    parts = [(name, part) for name, part in list(model.named_modules())[1:] if not _scripted(part)]
    found: list[tuple[str, nn.Module]] = [(name, part) for name, part in parts if _nonlinear(part)]
    if found:
        return found
    blocks = [(n, p) for n, p in parts if not isinstance(p, _LISTS) and next(p.children(), None) is not None]
    blocks = [(n, p) for n, p in blocks if n not in _wrappers(model)]
    outer = [(n, p) for n, p in blocks if not any(n.startswith(f"{o}.") for o, _ in blocks)]
    if len(outer) > 1:
        return outer
    found = [(name, part) for name, part in parts if isinstance(part, _LINEAR) or _packed(part)]
    return found[:-1]


def _nonlinear(part: nn.Module) -> bool:
    """Return whether a layer is a nonlinearity, or a packed one that has it inside, as torch fuses them."""
    return isinstance(part, NONLINEAR) or (_packed(part) and "ReLU" in type(part).__name__)


def _packed(part: nn.Module) -> bool:
    """Return whether a layer is one of torch's own of few bits, whose weights are packed."""
    kind = type(part)
    return ".quantized" in kind.__module__ and kind.__module__.startswith("torch.ao.nn.") and "weight" in dir(kind)


def _scripted(part: nn.Module) -> bool:
    return isinstance(part, torch.jit.ScriptModule)


def plain(output: Tensor) -> Tensor:
    """Return numbers that can be computed with: those of few bits stand for others, and means of half ones are coarse.

    Args:
        output: Any shape, wherever it was computed.
    """
    output = home(output.dequantize() if output.is_quantized else output)
    return output.float() if output.dtype in {torch.float16, torch.bfloat16} else output


def _wrappers(model: nn.Module) -> set[str]:
    """Return the names of modules that hold all the rest: the whole again, not a block of it."""
    found, name, part = set(), "", model
    while len(children := list(part.named_children())) == 1:
        name, part = f"{name}.{children[0][0]}".lstrip("."), children[0][1]
        found.add(name)
    return found


@contextmanager
def keeping(model: nn.Module, told: Tensor | None) -> Generator[dict[str, Tensor]]:
    """Keep the outputs of the watched layers, averaged over space or tokens, in the order in which they are made.

    A module that is used again is another layer every time, ``relu #2`` its second use. A network that takes a batch
    apart and asks piece by piece has its pieces joined. Left out is what has no row for every example, and a module
    that is used again in pieces, as they might be those of either use.

    Args:
        model: Any classifier.
        told: Which tokens are not padding, ``(N, tokens)``; None where inputs are no texts.

    Yields:
        Outputs ``(N, units)`` under ``layer 0000 name``, filled by the next pass, complete when it is left.
    """
    seen: dict[str, Tensor] = {}
    pieces: dict[str, list[Tensor]] = {}
    # Of three dimensions, the last are units, as in attention; behind a convolution the second, as in signals.
    last = not any(isinstance(m, nn.Conv1d) for m in model.modules())

    def keep(name: str, output: object) -> None:
        whole = output[0] if isinstance(output, tuple) else output
        if isinstance(whole, Tensor):
            done = sum(map(len, pieces.get(name, [])))
            mine = None if told is None else told[done : done + len(whole)]
            pieces.setdefault(name, []).append(_pooled(plain(whole), mine, last=last))

    with _called(model, keep) as size:
        yield seen
    again = {name.split(" #")[0] for name in pieces if " #" in name}
    for i, (name, parts) in enumerate(pieces.items()):
        whole = torch.cat(parts) if len(parts) > 1 else parts[0]
        if len(whole) == size[0] and not (len(parts) > 1 and name.split(" #")[0] in again):
            seen[f"layer {i:04d} {name}"] = whole


@contextmanager
def editing(model: nn.Module, edits: Mapping[str, Callable[[Tensor], Tensor]]) -> Generator[None]:
    """Change the outputs of layers on their way.

    Args:
        model: Any classifier.
        edits: For a layer, as `keeping` names it after its number, what takes its output and returns what goes on.

    Yields:
        Nothing.
    """

    def change(name: str, output: object) -> object:
        if name not in edits:
            return None
        if isinstance(output, tuple):
            return (_edited(edits[name], output[0]), *output[1:])
        return _edited(edits[name], output) if isinstance(output, Tensor) else output

    with _called(model, change if edits else None):
        yield


def _edited(edit: Callable[[Tensor], Tensor], output: Tensor) -> Tensor:
    """Return an output edited as plain numbers, of its own type again.

    Raises:
        NotMeasurableError: It is of few bits with a scale of its own for every channel.
    """
    if not output.is_quantized:
        return edit(plain(output)).to(output)
    if output.qscheme() not in {torch.per_tensor_affine, torch.per_tensor_symmetric}:
        raise NotMeasurableError("needs layers whose outputs can be changed; those of few bits have a scale a channel")
    return torch.quantize_per_tensor(edit(plain(output)), output.q_scale(), output.q_zero_point(), output.dtype)


@contextmanager
def _called(model: nn.Module, act: Callable[[str, object], object] | None) -> Generator[list[int]]:
    """Call a function on every use of a watched layer, with its name and number of the use in the pass.

    A use has a row for every example: of calls with fewer, as many as that takes are one use.

    Yields:
        How many examples the last pass had.
    """
    rows: dict[str, int] = {}
    size = [1]

    def hook(name: str) -> Hook:
        def called(module: nn.Module, inputs: object, output: object) -> object:
            del module, inputs
            assert act is not None
            whole = output[0] if isinstance(output, tuple) else output
            use = rows.get(name, 0) // size[0] + 1
            rows[name] = rows.get(name, 0) + (len(whole) if isinstance(whole, Tensor) else size[0])
            return act(name if use == 1 else f"{name} #{use}", output)

        return called

    def begin(module: nn.Module, inputs: tuple[object, ...]) -> None:
        del module
        rows.clear()
        size[0] = len(inputs[0]) if inputs and isinstance(inputs[0], Tensor) else 1

    hooks = [] if act is None else [part.register_forward_hook(hook(name)) for name, part in watched(model)]
    if hooks:
        hooks.append(model.register_forward_pre_hook(begin))
    try:
        yield size
    finally:
        for each in hooks:
            each.remove()


def _pooled(output: Tensor, told: Tensor | None, *, last: bool) -> Tensor:
    if output.dim() <= 2:
        return output
    if output.dim() > 3 or not last:
        return output.flatten(2).mean(2)
    if told is None or output.shape[1] != told.shape[1]:
        return output.mean(1)
    told = told.to(output)
    return (output * told[:, :, None]).sum(1) / told.sum(1, keepdim=True).clamp(min=1)


@torch.no_grad()
def entrance(model: nn.Module, ids: Tensor) -> str | None:
    """Return the name of the embedding that turns token ids into vectors; None where no embedding is given them.

    A table of positions is an embedding as well: the one is taken that is called with the ids, alone or with further
    tokens before or behind.

    Args:
        model: A classifier of texts.
        ids: A few texts, ``(N, tokens)``.
    """
    found: list[str] = []

    def hook(name: str) -> Hook:
        def called(module: nn.Module, inputs: object, output: object) -> None:
            del module, output
            asked = inputs[0] if isinstance(inputs, tuple) and inputs else None
            if isinstance(asked, Tensor) and asked.dim() == 2 and len(asked) == len(ids):
                own = ids.to(asked)
                length = own.shape[1]
                if torch.equal(asked[:, :length], own) or torch.equal(asked[:, -length:], own):
                    found.append(name)

        return called

    parts = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Embedding)]
    hooks = [part.register_forward_hook(hook(name)) for name, part in parts]
    try:
        model(ids)
    finally:
        for each in hooks:
            each.remove()
    return found[0] if found else None


@contextmanager
def entering(model: nn.Module, name: str, vectors: Tensor | None = None) -> Generator[list[Tensor]]:
    """Let gradients begin at the embedding.

    Args:
        model: A classifier of texts.
        name: What `entrance` returned.
        vectors: Taken in place of the embedding's own output, if given.

    Yields:
        A list that receives, in every pass, the leaf which stands for the embedding's output.
    """
    seen: list[Tensor] = []

    def enter(part: nn.Module, inputs: object, output: Tensor) -> Tensor:
        del part, inputs
        seen.append(home(output.detach()).requires_grad_(torch.is_grad_enabled()) if vectors is None else vectors)
        return seen[-1].to(output.device)

    hook = model.get_submodule(name).register_forward_hook(enter)
    try:
        yield seen
    finally:
        hook.remove()
