"""How every option of every axis moves the class scores of every example: predicted, so that behaviors can be, too.

Replacing a layer by another part moves its output by ``dy``; to first order that moves the class scores ``z`` by
``dz/dy . dy``, where ``dy`` is exact: the part is run on the layer's own inputs. One pass forward with the layers'
inputs kept and one backward for each class give ``dz/dy`` of all layers; each part then costs its own forward alone.
What several replaced layers do together is taken as the sum. For a linear network, and for its last layer, that is
exact but for the products of changes. Of many classes the gradients of the likeliest ones alone are taken, and the
others do not move. Axes of other kinds are run: their options one at a time, exactly. So are the
options of layers where what budgets are of is no class score, as of a language model: no gradient tells its divergence,
which is zero and flat there. Of these only such are run as no smaller one outdoes in what the layer itself returns.

Source:
    First-order sensitivity as in LeCun et al., Optimal brain damage, NeurIPS 1989, of outputs instead of the loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from whatelse import recipe
from whatelse.errors import RecipeError, SettingError
from whatelse.modules import windows
from whatelse.modules.calibration import hooked, watch
from whatelse.modules.lent import copied
from whatelse.modules.walk import place
from whatelse.searching.protocol import Problem
from whatelse.searching.space import LAYER

_CLASSES = 16  # the likeliest, of which gradients are taken
_FEW = 8  # windows of text by which options of a layer are told apart before they are run
_VALUES = 2**24  # gradients of layer outputs that are held at once


@torch.no_grad()
def sensitivities(problem: Problem) -> list[list[Tensor | None]]:
    """Return by how much every option of every axis moves what the model says on the judge's examples.

    None stands for an option that cannot be made alone.

    Args:
        problem: Gives model, space, parts and examples.

    Raises:
        SettingError: The model's scores have no gradient at a layer's output.
    """
    model = copied(problem.model).eval().requires_grad_(requires_grad=False)
    base = problem.judge.ask(model)
    found: list[list[Tensor | None]] = [[torch.zeros_like(base)] for _ in problem.space.axes]
    layered = [at for at, axis in enumerate(problem.space.axes) if axis.kind == LAYER]
    if layered and problem.judge.differentiates:
        inputs = problem.task.test.inputs[problem.judge.rows]
        for at, moved in zip(layered, _linear(problem, model, layered, inputs), strict=True):
            found[at] += moved
    elif layered:
        far = _outputs_moved(problem, model, layered)
        for at in layered:
            tried = worth(problem.sizes[at], far[at])  # only such are run as no smaller one outdoes
            for option in range(1, len(problem.space.axes[at].options)):
                said = _placed(problem, model, at, option) if tried[option] else None
                found[at].append(None if said is None else said - base)
    for at, axis in enumerate(problem.space.axes):
        for option in range(1, len(axis.options)) if axis.kind != LAYER else ():
            said = _run(problem, at, option)
            found[at].append(None if said is None else said - base)
    return found


def worth(sizes: np.ndarray, far: Sequence[float]) -> list[bool]:
    """Return which options of an axis are worth a try: no other is as small and moves less.

    Args:
        sizes: What each costs, ``(options,)``.
        far: How far each moves what is looked at; infinite where it cannot be made.
    """
    found, least = [False] * len(far), math.inf
    for at in sorted(range(len(far)), key=lambda at: (sizes[at], far[at])):
        if far[at] < least:
            found[at], least = True, far[at]
    return found


def _outputs_moved(problem: Problem, model: nn.Module, layered: Sequence[int]) -> dict[int, list[float]]:
    """Return how far every option of every layer moves the layer's own output, squared, on a few inputs."""
    named = {problem.space.axes[at].name: at for at in layered}
    far = {at: [0.0] * len(problem.space.axes[at].options) for at in layered}
    task = windows.read(model, problem.task, torch.Generator().manual_seed(0))

    def see(name: str, x: Tensor) -> None:
        layer, at = model.get_submodule(name), named[name]
        with torch.no_grad():
            said = layer.forward(x)  # without its hooks, one of which shows this
            for option in range(1, len(problem.space.axes[at].options)):
                far[at][option] += float((problem.parts[at, option](x) - said).square().sum())

    watch(model, {name: model.get_submodule(name) for name in named}, task.calibration.inputs[:_FEW], see)
    return far


def _placed(problem: Problem, model: nn.Module, axis: int, option: int) -> Tensor:
    """Return what a model says with another part in place of one layer; it is left as it was."""
    name = problem.space.axes[axis].name
    before = model.get_submodule(name)
    try:
        return problem.judge.ask(place(model, name, problem.parts[axis, option]))
    finally:
        place(model, name, before)


def _run(problem: Problem, axis: int, option: int) -> Tensor | None:
    chosen = list(problem.space.alone)
    chosen[axis] = option
    model = problem.model
    try:
        for step in problem.space.recipe(tuple(chosen)):
            if step not in problem.space.trained:
                model = recipe.apply(step, model, problem.task, torch.Generator().manual_seed(0))
    except RecipeError:
        return None
    return problem.judge.ask(model)


def _linear(problem: Problem, model: nn.Module, layered: Sequence[int], inputs: Tensor) -> list[list[Tensor]]:
    names = [problem.space.axes[at].name for at in layered]
    counts = [len(problem.space.axes[at].options) - 1 for at in layered]
    size = max(1, min(256, _VALUES // max(1, _outputs(model, names, inputs[:1]) * _CLASSES)))
    pieces: list[list[list[Tensor]]] = [[[] for _ in range(count)] for count in counts]
    for x in torch.split(inputs, size):
        scores, seen = _traced(model, names, x)
        classes = scores.topk(min(_CLASSES, scores.shape[1])).indices
        slopes = _slopes(scores, classes, [out for name in names for _, out in seen[name]], names)
        taken = iter(slopes)
        mine = {name: [(given, out, next(taken)) for given, out in seen[name]] for name in names}
        for k, at in enumerate(layered):
            for option in range(counts[k]):
                moved = torch.zeros_like(scores)
                for given, out, slope in mine[names[k]]:
                    change = (problem.parts[at, option + 1](given) - out.detach()).flatten(1)
                    # A layer may see several rows of one example, as tokens: its rows lie beside each other.
                    change = change.reshape(len(x), -1)
                    moved.scatter_add_(1, classes, torch.bmm(slope, change[:, :, None]).squeeze(2))
                pieces[k][option].append(moved)
    return [[torch.cat(one) for one in axis] for axis in pieces]


def _traced(model: nn.Module, names: Sequence[str], x: Tensor) -> tuple[Tensor, dict[str, list[tuple[Tensor, Tensor]]]]:
    """Return class scores with their graph, and inputs and output of every call of the layers."""
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in names}

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        def hook(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            if not output.requires_grad:
                output = output.requires_grad_()
            seen[name].append((args[0].detach(), output))
            return output.clone()  # what follows may write into its input

        return hook

    handles = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    with hooked(model, handles), torch.enable_grad():
        return model(x), seen


def _slopes(scores: Tensor, classes: Tensor, outputs: Sequence[Tensor], names: Sequence[str]) -> list[Tensor]:
    """Return the gradient of the likeliest class scores by every output, ``(n, classes, values)`` each.

    Raises:
        SettingError: There is none.
    """
    each: list[list[Tensor]] = [[] for _ in outputs]
    with torch.enable_grad():
        picked = scores.gather(1, classes).sum(0)
        for k in range(classes.shape[1]):
            try:
                found = torch.autograd.grad(picked[k], list(outputs), retain_graph=True)
            except RuntimeError as error:
                layers = ", ".join(names[:3])
                raise SettingError(
                    f"search descend: class scores have no gradient at {layers}: {str(error)[:80]}; "
                    "use --strategy optuna"
                ) from error
            for held, slope in zip(each, found, strict=True):
                held.append(slope.reshape(len(scores), -1))
    return [torch.stack(held, 1) for held in each]


def _outputs(model: nn.Module, names: Sequence[str], one: Tensor) -> int:
    _, seen = _traced(model, names, one)
    return sum(out.numel() for calls in seen.values() for _, out in calls)
