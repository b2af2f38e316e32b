"""Leave layers and blocks out of a model: what entered one is what comes out, and nothing else changes.

A part can be left out where all its calls return what is shaped as what they are given, and the model then answers as
it does where these calls return it. In a graph of calls, as a saved model is, a block stands as a stretch of calls that
begins and ends with one tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional

from whatelse.errors import ArtifactError, RecipeError, nearest
from whatelse.modules.calibration import batches, hooked
from whatelse.modules.decoder import Decoder, shortened
from whatelse.modules.exchange import exchange, same
from whatelse.modules.walk import copied

_IMAGES = 4  # dimensions of what convolutions pass on, channels second
_FEW = 4  # examples on which graphs are looked at


def skippable(model: nn.Module, inputs: Tensor) -> list[str]:
    """Return the layers and blocks with weights that can be left out one by one, in the order of the model.

    Of a language model these are the blocks that its configuration counts: no other one is one less of anything.

    Args:
        model: In evaluation mode; not changed.
        inputs: Some inputs, ``(N, ...)``.
    """
    names = [n for n, part in model.named_modules() if n and next(part.parameters(), None) is not None]
    names = blocks(model) if isinstance(model, Decoder) else names
    return [name for name in names if not isinstance(_left_out(model, name, inputs), str)]


def skip(model: nn.Module, names: Sequence[str], inputs: Tensor, who: str) -> nn.Module:
    """Return a copy without some layers or blocks.

    Args:
        model: In evaluation mode; not changed.
        names: Of parts, none inside another.
        inputs: Inputs on which it is tried, ``(N, ...)``.
        who: Begins messages, such as ``prune.depth``.

    Raises:
        RecipeError: There is no such part, it stands inside another one, or it cannot be left out.
    """
    known = [name for name, _ in model.named_modules() if name]
    for name in names:
        if name not in known:
            raise RecipeError(f"{who}: the model has no part {name!r}; {nearest(name, known)}")
        around = next((other for other in names if name.startswith(f"{other}.")), None)
        if around or list(names).count(name) > 1:
            raise RecipeError(f"{who}: {name!r} goes twice, {'inside ' + repr(around) if around else 'by its name'}")
    small = model
    for name in names:
        made = _left_out(small, name, inputs)
        if isinstance(made, str):
            raise RecipeError(f"{who}: {name!r} cannot be left out: {made}")
        small = made
    if isinstance(model, Decoder) and names:
        return _short(model, names, small, inputs, who)
    return small if names else copied(model)


@torch.no_grad()
def _short(model: Decoder, names: Sequence[str], skipping: nn.Module, inputs: Tensor, who: str) -> nn.Module:
    """Return a language model with fewer blocks, which answers as the one that skips them.

    Raises:
        RecipeError: It does not, or these are no blocks of it.
    """
    try:
        made = shortened(model, names)
    except ArtifactError as error:
        raise RecipeError(f"{who}: {error}") from error
    if not all(same(made(part), skipping(part)) for part in batches(model, inputs[:_FEW])):
        raise RecipeError(f"{who}: without {', '.join(names)} the model answers otherwise than where they are skipped")
    return made


def blocks(model: nn.Module) -> list[str]:
    """Return the names of the blocks of a model: members of one kind of a list or chain, each with layers inside it.

    Args:
        model: Any module.
    """
    found: list[str] = []
    for name, part in model.named_modules():
        inner = [one for one in part.children() if next(one.children(), None) is not None]
        if not isinstance(part, nn.ModuleList | nn.Sequential) or any(name.startswith(f"{one}.") for one in found):
            continue
        if len(inner) == len(list(part.children())) > 1 and len({type(one) for one in inner}) == 1:
            found += [f"{name}.{last}".lstrip(".") for last, _ in part.named_children()]
    return found


@torch.no_grad()
def influences(model: nn.Module, names: Sequence[str], inputs: Tensor) -> dict[str, float]:
    """Return how far blocks turn what passes them, ``1 - mean cos(entering, leaving)`` over places, by name.

    A place is a token of a sequence, a position of an image, or an example. A block that does not return what is shaped
    as what it is given has none.

    Args:
        model: In evaluation mode.
        names: Of parts.
        inputs: Some inputs, ``(N, ...)``.
    """
    total, places = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0)

    def hook(name: str) -> Any:  # noqa: ANN401 - as torch has it
        def see(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: object) -> None:
            given, output = (*args, *kwargs.values())[0], _handed(output)
            if isinstance(output, Tensor) and isinstance(given, Tensor) and output.shape == given.shape:
                along = 1 if output.dim() == _IMAGES else -1
                cosines = functional.cosine_similarity(given.double(), output.double(), dim=along)
                total[name] += float(cosines.sum())
                places[name] += cosines.numel()

        return see

    for part in batches(model, inputs):  # which passes a few on its own, that no hook may count
        handles = [model.get_submodule(name).register_forward_hook(hook(name), with_kwargs=True) for name in names]
        with hooked(model, handles):
            model(part)
    return {name: 1 - total[name] / count for name, count in places.items() if count}


@torch.no_grad()
def _left_out(model: nn.Module, name: str, inputs: Tensor) -> nn.Module | str:
    """Return a copy without a part, or why there is none."""
    calls = _calls(model, name, inputs)
    if not calls:
        small = copied(model)
        return _bridged(small, name, inputs[:_FEW]) if isinstance(small, fx.GraphModule) else "no input reaches it"
    beside = {len(output) for _, output in calls if isinstance(output, tuple)}
    for given, made in calls:
        output = _handed(made)
        shapes = [str(tuple(x.shape[1:])) if isinstance(x, Tensor) else type(x).__name__ for x in (given[0], output)]
        if shapes[0] != shapes[1] or not isinstance(output, Tensor) or given[0].dtype != output.dtype:
            return f"it makes {shapes[1]} of {shapes[0]}"
    alone = all(len(given) == 1 for given, _ in calls)
    if len({type(output) for _, output in calls}) > 1 or len(beside) > 1:
        return "its calls return now one thing and now several"
    if beside and not _first_alone(model, name, inputs[:_FEW]):
        return "the model takes more of what its calls return than the first"
    part = nn.Identity() if alone and not beside else _First(max(beside, default=0))
    small = exchange(copied(model), {name: part}, inputs)
    return small if part in set(small.modules()) else "the model takes more of it than what its calls return"


def _handed(output: object) -> object:
    """Return what a call hands on: of a tuple the first."""
    return output[0] if isinstance(output, tuple) and output else output


def _first_alone(model: nn.Module, name: str, few: Tensor) -> bool:
    """Return whether of the tuples that the calls of a part return only the first is taken, and no attentions, say."""
    part, parts = model.get_submodule(name), list(batches(model, few))
    said = [model(x) for x in parts]

    def bare(_: nn.Module, __: object, output: tuple[Any, ...]) -> tuple[Any, ...]:
        return (output[0], *[None] * (len(output) - 1))

    try:
        with hooked(model, [part.register_forward_hook(bare)]):
            return all(same(model(x), wanted) for x, wanted in zip(parts, said, strict=True))
    except Exception:  # noqa: BLE001 - whatever a model's own forward raises where something is missing
        return False


class _First(nn.Module):
    """Returns the first of what it is given; at the head of a tuple of nothing else, where the call returned one.

    Args:
        count: Length of that tuple; 0 for none.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor, *rest: object, **also: object) -> Tensor | tuple[Tensor | None, ...]:
        del rest, also
        return (x, *[None] * (self.count - 1)) if self.count else x


def _calls(model: nn.Module, name: str, inputs: Tensor) -> list[tuple[tuple[Any, ...], Any]]:
    """Return of every call of a part what it was given and what it returned, tensors without their numbers."""
    seen: list[tuple[tuple[Any, ...], Any]] = []

    def see(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: object) -> None:
        given = (*args, *kwargs.values())
        seen.append((tuple(x.to("meta") if isinstance(x, Tensor) else x for x in given), _shape(output)))

    handle = model.get_submodule(name).register_forward_hook(see, with_kwargs=True)
    with hooked(model, [handle]):
        for part in batches(model, inputs):
            model(part)
    return [call for call in seen if call[0]]


def _shape(output: object) -> object:
    if isinstance(output, tuple):
        return tuple(map(_shape, output))
    return output.to("meta") if isinstance(output, Tensor) else output


def _bridged(graph: fx.GraphModule, name: str, few: Tensor) -> nn.Module | str:
    """Return a graph without the calls of a block, changed in place, or why it has no such stretch of calls."""
    ShapeProp(graph).propagate(few)  # type: ignore[no-untyped-call,unused-ignore] # torch's own
    nodes = list(graph.graph.nodes)
    inside = [at for at, n in enumerate(nodes) if n.op == "call_module" and str(n.target).startswith(f"{name}.")]
    if not inside:
        return "no input reaches it"
    firsts = _beside(nodes, inside[0], -1)
    for last in _beside(nodes, inside[-1], 1):
        for first in firsts:
            enters = _enters(nodes[first : last + 1], set(nodes[last + 1 :]))
            if enters is not None:
                nodes[last].replace_all_uses_with(enters)
                for node in reversed(nodes[first : last + 1]):
                    graph.graph.erase_node(node)
                graph.delete_all_unused_submodules()
                graph.recompile()
                return graph
    return "its calls do not begin and end with one tensor of the same shape"


def _beside(nodes: list[fx.Node], at: int, step: int) -> list[int]:
    """Return a place and those next to it, as far as no other layer is called."""
    found = [at]
    while nodes[found[-1] + step].op in {"call_function", "call_method"}:
        found.append(found[-1] + step)
    return found


def _enters(stretch: list[fx.Node], later: set[fx.Node]) -> fx.Node | None:
    """Return the tensor that a stretch of calls makes another of its shape of; None where it does more or less."""
    held = set(stretch)
    if any(user not in held for node in stretch[:-1] for user in node.users):
        return None
    outside = dict.fromkeys(given for node in stretch for given in node.all_input_nodes if given not in held)
    shape = _of(stretch[-1])
    alike = [node for node in outside if shape is not None and _of(node) == shape]
    if len(alike) != 1 or later & set(alike[0].users):
        return None
    # A shortcut beside a block also ends in its shape, but is not made of what would come out in its place.
    made = {alike[0]}
    for node in stretch:
        made |= {node} if made & set(node.all_input_nodes) else set()
    return alike[0] if all(node in made for node in stretch if node.op == "call_module") else None


def _of(node: fx.Node) -> tuple[object, ...] | None:
    seen: Any = node.meta.get("tensor_meta")
    return (tuple(seen.shape), seen.dtype) if hasattr(seen, "shape") else None
