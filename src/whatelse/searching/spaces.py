"""The space of a search: which kinds of axes it has, and what a model can be asked to become along each.

A space is told as a list of words and recipes: ``layers`` gives every layer the choices that it takes, ``widths`` every
group of coupled layers a share of its units to keep, ``depth`` every layer or block that can go a chance to go, and a
recipe whose settings may be lists, such as ``prune.structured(ratio=[0.2, 0.4])``, one axis of the whole model.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from whatelse import recipe
from whatelse.errors import RecipeError, SettingError, nearest
from whatelse.modules.dependency import groups, without
from whatelse.modules.skip import skippable
from whatelse.searching import layered
from whatelse.searching.laid import Laid, laid_out
from whatelse.searching.space import DEPTH, KINDS, WHOLE, WIDTH, Space, alternatives
from whatelse.tasks.task import Task

LAYERS, WIDTHS, DEPTHS = "layers", "widths", "depth"
WORDS = (LAYERS, WIDTHS, DEPTHS)
SHARES = ("0.875", "0.75", "0.625", "0.5", "0.375", "0.25", "0.125")

Parts = dict[tuple[int, int], nn.Module]
Cost = Callable[[nn.Module], float]


def space_of(
    model: nn.Module, task: Task, wanted: Sequence[str], choices: Sequence[str], then: str, cost: Cost, seed: int
) -> tuple[Space, Parts, list[np.ndarray]]:
    """Return the space that is asked for, what options make of layers, and what each costs.

    Args:
        model: The baseline, frozen and in evaluation mode.
        task: Its calibration split shows layers their inputs.
        wanted: Of `WORDS`, and recipes for the whole model whose settings may be lists.
        choices: Recipes for one layer, whose settings may be lists.
        then: A recipe that trains what was made smaller; empty for nothing.
        cost: What is to be made small.
        seed: Of what methods draw.

    Raises:
        SettingError: A word is unknown or stands twice, or the model cannot be made smaller in one of the ways.
        RecipeError: A recipe or a choice cannot be read.
        MissingExtraError: Widths are asked for, and Torch-Pruning is not installed.
    """
    check(wanted)
    laid: list[Laid] = []
    for text in wanted:
        if text == LAYERS:
            laid += layered.layers_of(model, task, choices, cost, seed)
        elif text == WIDTHS:
            laid += _widths(model, task, cost)
        elif text == DEPTHS:
            laid += _depths(model, task, cost)
        else:
            laid.append(_whole(model, task, text, cost, seed))
    laid.sort(key=lambda one: KINDS.index(one.axis.kind))
    parts = {(at, option + 1): part for at, one in enumerate(laid) for option, part in enumerate(one.parts)}
    return Space(tuple(one.axis for one in laid), then), parts, [one.sizes for one in laid]


def check(wanted: Sequence[str]) -> None:
    """Refuse what names no part of a space, before any work.

    Args:
        wanted: As `space_of`.

    Raises:
        SettingError: Nothing is wanted, a word is unknown, or one stands twice.
        RecipeError: A recipe cannot be read.
    """
    if not wanted:
        raise SettingError(f"--space is empty; give {', '.join(WORDS)} or a recipe")
    for text in wanted:
        if text not in WORDS and "." not in text:
            raise SettingError(f"--space {text!r}: {nearest(text, WORDS)} A recipe for the whole model is taken, too")
        if list(wanted).count(text) > 1:
            raise SettingError(f"--space {text!r} stands twice; give it once")
        if text not in WORDS:
            alternatives(text)


def told(space: Space) -> str:
    """Return in a line how large a space is and what it is of.

    Args:
        space: What is searched.
    """
    words = {WHOLE: "of the whole model", DEPTH: "that may go", WIDTH: "of widths", "layer": "of layers"}
    kinds = [axis.kind for axis in space.axes]
    many = [f"{kinds.count(kind)} {words[kind]}" for kind in KINDS if kind in kinds]
    return f"{space.size:.3g} configurations of {len(kinds)} choices: {', '.join(many)}"


def _whole(model: nn.Module, task: Task, text: str, cost: Cost, seed: int) -> Laid:
    """Return the axis of recipes for the whole model, those that make it smaller.

    Raises:
        SettingError: None does.
    """
    whole, last = cost(model), ""
    options: list[tuple[float, str]] = []
    for steps in alternatives(text):
        try:
            size = cost(_applied(model, task, steps, seed))
        except RecipeError as error:
            last = f" ({error})"
            continue
        if size < whole:
            options.append((size, steps))
    if not options:
        raise SettingError(f"search: --space {text!r} makes this model no smaller{last}")
    return laid_out(WHOLE, "", options, whole)


def _widths(model: nn.Module, task: Task, cost: Cost) -> list[Laid]:
    """Return an axis of every group of coupled layers: the shares of its units that it may keep.

    Raises:
        SettingError: There is no such group.
        MissingExtraError: Torch-Pruning is not installed.
    """
    whole, found, inputs = cost(model), [], task.calibration.inputs
    known, refused = groups(model, inputs, "search")
    for group in known:
        options: dict[int, tuple[float, str]] = {}  # of shares that round to as many units the first
        for share in SHARES:
            keeps = max(1, round(float(share) * len(group)))
            if keeps < len(group) and keeps not in options:
                try:
                    # Which units go decides nothing here: their number alone does.
                    small, _ = without(model, inputs, [(group, range(len(group) - keeps))], "search")
                except RecipeError as error:
                    refused[group.name] = str(error)
                    break
                options[keeps] = cost(small), share
        smaller = [(size, share) for size, share in options.values() if size < whole]
        if smaller:
            found.append(laid_out(WIDTH, group.name, smaller, whole))
    if not found:
        why = next((f" ({name}: {said})" for name, said in refused.items()), "")
        raise SettingError(f"search: --space {WIDTHS}: no units of this model can go{why}; leave it out")
    return found


def _depths(model: nn.Module, task: Task, cost: Cost) -> list[Laid]:
    """Return an axis of every layer or block that can go.

    Raises:
        SettingError: None can.
    """
    whole, found = cost(model), []
    for name in skippable(model, task.calibration.inputs):
        size = cost(_applied(model, task, f"prune.depth(layers='{name}')", 0))
        if size < whole:
            found.append(laid_out(DEPTH, name, [(size, "drop")], whole))
    if not found:
        raise SettingError(
            f"search: --space {DEPTHS}: no layer or block of this model can go: none returns what is shaped as its "
            "input; leave it out"
        )
    return found


def _applied(model: nn.Module, task: Task, steps: str, seed: int) -> nn.Module:
    made = model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is proposed is made once more, and then says what it has to say
        for step in recipe.parse(steps):
            made = recipe.apply(step, made, task, torch.Generator().manual_seed(seed))
    return made
