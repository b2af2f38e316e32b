"""A chain of methods with their settings: read, printed and applied."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from whatelse import items, settings
from whatelse.errors import RecipeError, WhatElseError, cut, in_short, shown
from whatelse.modules import windows
from whatelse.modules.decoder import Decoder
from whatelse.modules.notes import noted
from whatelse.modules.walk import copied
from whatelse.tasks.task import Task

TRAINING = ("train", "distill")  # families whose every step trains


@dataclass(frozen=True)
class Step:
    """One method with its settings.

    Attributes:
        name: Dotted name of the method.
        given: Settings that differ from their default, by name.
    """

    name: str
    given: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        """Return the step as a recipe has it."""
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.given)})"


Recipe = tuple[Step, ...]

_FEW = 4
_LONGEST = 20_000  # characters of a recipe: no chain of methods comes near, and a parser of nested ones may fail
# What a layer calls its weight, also where it computes it of others at every pass.
_OWN = re.compile(r"\.(weight(_g|_v|_orig|_mask|_bar|_u)?|parametrizations\..*)$")

# What a method may find and leave: every weight a number of its own, some exactly zero, stored in few bits, a tree.
STATES = ("dense", "sparse", "packed", "tree")


def parse(text: str) -> Recipe:
    """Return the steps of a recipe such as ``prune.magnitude(sparsity=0.9) > train.finetune(epochs=2)``.

    Args:
        text: Steps joined by ``>``; an empty text is the empty recipe.

    Raises:
        RecipeError: The text is not of that form, or its steps make no sense in that order.
        UnknownItemError: A step names no method.
        SettingError: A setting is unknown or out of range.
    """
    if not text.strip():
        return ()
    where = f"recipe {shown(text)}"
    tree = _tree(text, where)
    calls = [tree]
    if isinstance(tree, ast.Compare) and all(isinstance(op, ast.Gt) for op in tree.ops):
        calls = [tree.left, *tree.comparators]
    steps = tuple(_step(call, where) for call in calls)
    _state_after(steps, "", text)
    return steps


def parts(text: str) -> dict[str, Recipe]:
    """Return the recipes of parts of a model by their names, from ``conv1: a.b(c=1) > d.e(); fc: d.e()``.

    Args:
        text: Names and recipes; an empty text names none.

    Raises:
        RecipeError: The text is not of that form, a name stands twice, or a recipe makes no sense.
        UnknownItemError: A step names no method.
        SettingError: A setting is unknown or out of range.
    """
    found: dict[str, Recipe] = {}
    for part in text.split(";") if text.strip() else ():
        name, colon, steps = part.partition(":")
        if not colon or not steps.strip():
            raise RecipeError(f"parts {shown(part.strip())}: not of the form 'name: recipe; name: recipe'")
        if name.strip() in found:
            raise RecipeError(f"parts {shown(text)}: {name.strip()!r} stands twice; join its steps with '>'")
        found[name.strip()] = parse(steps)
    return found


def inner(text: str, role: str) -> list[Recipe]:
    """Return the recipes that a setting holds.

    Args:
        text: Its value.
        role: What it is declared to hold, as `whatelse.settings.param` has it.

    Raises:
        RecipeError: It cannot be read.
        UnknownItemError: A step names no method.
        SettingError: A setting is unknown or out of range.
    """
    return list(parts(text).values()) if role == "parts" else [parse(text)]


def write(recipe: Recipe) -> str:
    """Return the recipe as text that `parse` reads back to the same.

    Args:
        recipe: Steps.
    """
    return " > ".join(map(str, recipe))


def apply(step: Step, model: nn.Module, task: Task, rng: torch.Generator) -> nn.Module:
    """Return the model after one step; the given model is left as it was.

    Args:
        step: What to do.
        model: Any module that the method can treat.
        task: Its train and calibration splits may be read, and nothing else.
        rng: Source of everything random.

    Raises:
        RecipeError: The step cannot treat the model.
        TaskError: The step trains, and train holds nothing to learn.
        WhatElseError: As the method raises it.
        MemoryError: There was not enough.
        OutOfMemoryError: There was not enough on the accelerator.
    """
    method = items.method(step.name)
    config = method.configure(dict(step.given))
    if method.leaves == "tree" and isinstance(model, Decoder):
        raise RecipeError(f"{step.name}: no tree says which token follows; use distill.logits with a student")
    task = windows.read(model, task, rng)
    if step.name.split(".")[0] in TRAINING:
        task.check_training()
    rest, few = _at_rest(model), task.calibration.inputs[:_FEW]
    wanted = _said(rest, few)
    try:
        made = method.compress(rest, config, task, rng)
    except (WhatElseError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # what a model's own forward raises for a batch or a part that it does not expect
        raise RecipeError(f"{step.name}: this {type(model).__name__} stopped it: {_line(error)}") from error
    assert isinstance(made, nn.Module)
    made.eval().requires_grad_(requires_grad=False)
    said = _said(made, few)
    # A model that does not take the task's inputs can be pruned all the same, where that needs no data.
    if not isinstance(wanted, str) and said != wanted:
        how = said if isinstance(said, str) else f"shapes {said}, not {wanted}"
        raise RecipeError(f"{step.name}: what it makes of this {type(model).__name__} answers otherwise: {how}")
    return made


@torch.no_grad()
def _said(model: nn.Module, few: Tensor) -> list[tuple[int, ...]] | str:
    """Return the shapes of what a model answers, or what it raises."""
    try:
        return [tuple(leaf.shape) for leaf in tree_leaves(model(few)) if isinstance(leaf, Tensor)]
    except Exception as error:  # noqa: BLE001 - whatever a model's own forward raises
        return _line(error)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _at_rest(model: nn.Module) -> nn.Module:
    """Return the model itself if it is frozen and in evaluation mode, else a copy that is."""
    if not any(part.training for part in model.modules()) and not any(p.requires_grad for p in model.parameters()):
        return model
    with torch.no_grad():
        return copied(model).eval().requires_grad_(requires_grad=False)


def left_alone(step: Step, before: nn.Module, after: nn.Module) -> list[str]:
    """Return the layers that a step should have treated and did not, also where it trained them on the way.

    Behind the names stand the reasons, where the step gave some, and what it says of itself where it did less or more
    than it was asked to, both in brackets. A step that packs has left alone what still is a matrix of floats; one that
    prunes, what has no more zeros than before; any other, what has not changed.

    Args:
        step: What was done.
        before: The model before the step.
        after: The model after it.
    """
    leaves = items.method(step.name).leaves
    then, now = before.state_dict(), after.state_dict()
    matrices = {n: t for n, t in then.items() if t.dim() > 1 and t.is_floating_point()}
    same = {n: t for n, t in matrices.items() if n in now and now[n].shape == t.shape}
    if leaves == "sparse":
        same = {n: t for n, t in same.items() if int((now[n] == 0).sum()) <= int((t == 0).sum())}
    elif leaves != "packed":
        same = {n: t for n, t in same.items() if torch.equal(t, now[n])}
    reasons, said = noted(after)
    names = dict.fromkeys([*(_OWN.sub("", name) for name in same), *reasons])
    alike: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        alike.setdefault(reason, []).append(name)
    why = [f"{', '.join(several)}: {reason}" for reason, several in alike.items()]
    return [*names, *(f"({text})" for text in (*why, *said))]


def read_call(text: str, where: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the settings of a text such as ``family.name(setting=value)``.

    Args:
        text: One call with plain values.
        where: What is read, for the message.

    Raises:
        RecipeError: The text is not of that form.
    """
    where = f"{where} {shown(text)}"
    return _call(_tree(text, where), where)


def _tree(text: str, where: str) -> ast.expr:
    """Return the expression that a text is.

    Raises:
        RecipeError: It is none, or longer or deeper than anyone writes.
    """
    if len(text) > _LONGEST:
        raise RecipeError(f"{where}: {len(text):,} characters; at most {_LONGEST:,} are read")
    try:
        return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        at = f" at column {error.offset}" if error.offset else ""
        raise RecipeError(f"{where}: {error.msg}{at}") from error
    except ValueError as error:  # letters that cannot be encoded
        raise RecipeError(f"{where}: {in_short(error)}") from error
    except (MemoryError, RecursionError) as error:  # how Python's parser and its stack say it
        raise RecipeError(f"{where}: nested too deep; settings are plain values") from error


def _call(call: ast.expr, where: str) -> tuple[str, dict[str, Any]]:
    if not isinstance(call, ast.Call) or call.args or any(word.arg is None for word in call.keywords):
        bare = f"; write {_source(call)}()" if isinstance(call, ast.Name | ast.Attribute) else ""
        raise RecipeError(f"{where}: {_source(call)!r} is not of the form name(setting=value){bare}")
    given: dict[str, Any] = {}
    for word in call.keywords:
        if word.arg in given:
            raise RecipeError(f"{where}: the setting {word.arg!r} is given twice; leave one of them out")
        try:
            given[str(word.arg)] = ast.literal_eval(word.value)
        except (ValueError, TypeError, MemoryError, RecursionError) as error:
            raise RecipeError(f"{where}: {word.arg}={_source(word.value)} is not a plain value") from error
    return _source(call.func), given


def _source(tree: ast.expr) -> str:
    """Return an expression as text, its beginning where it is long."""
    try:
        return cut(ast.unparse(tree))
    except RecursionError:
        return "what is nested so deep"


def _step(call: ast.expr, where: str) -> Step:
    name, given = _call(call, where)
    config = items.method(name).configure(given)
    return Step(name, tuple(settings.changed(config).items()))


def _state_after(steps: Recipe, state: str, text: str) -> str:
    """Hold what each method takes against what the methods before it leave, and return what the last one leaves.

    Raises:
        RecipeError: A step cannot use what the steps before it leave.
    """
    by = "what it is given"
    for step in steps:
        method = items.method(step.name)
        if state and state not in method.takes:
            takes = " or ".join(sorted(method.takes))
            raise RecipeError(
                f"recipe {shown(text)}: {step.name} takes a model with {takes} weights, and {by} leaves a {state} one; "
                f"put {step.name} before {by}"
            )
        leaves = method.leaves
        for told, role in settings.recipes(method.configure(dict(step.given))):
            states = {_state_after(one, state, told) for one in inner(told, role)}
            # Of parts that end otherwise, the whole is as the one that bears least after it.
            ends = next((s for s in reversed(STATES) if s in states), "") if role in {"result", "parts"} else ""
            if role == "result" and ends in {"packed", "tree"}:
                raise RecipeError(
                    f"recipe {shown(text)}: {step.name} cannot train the {ends} model that {shown(told)} leaves"
                )
            leaves = ends or leaves
        state, by = (leaves, step.name) if leaves else (state, by)
    return state
