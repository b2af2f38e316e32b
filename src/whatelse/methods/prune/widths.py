"""Give each group of coupled layers a width of its own: ``conv1=0.5; fc1=0.25``.

A group is named by the layer that makes its units (channels, neurons or attention heads) and keeps the given share of
them, rounded to whole units and at least one, the best by ``importance``; what reads or is added to a unit goes with
it, in all coupled layers. Groups that are not named stay whole. Groups, scores and proofs are those of
``prune.structured``, which spreads one share over all groups: here somebody else has decided, such as a search.

Source:
    Liu et al., Rethinking the value of network pruning, ICLR 2019, arXiv:1810.05270 (widths are what pruning finds);
    Fang et al., DepGraph: Towards any structural pruning, CVPR 2023, arXiv:2301.12900.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from whatelse.errors import RecipeError, nearest, shown
from whatelse.modules import importance
from whatelse.modules.dependency import OUTPUTS, Group, groups, without
from whatelse.modules.notes import note
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, KNOB, TAKES, LEAVES = 1, "", {"dense", "sparse"}, ""


@dataclass(frozen=True)
class Config:
    """Settings of widths by group."""

    keep: str = param("", "Shares of units that groups keep, in (0, 1], as 'layer=share; layer=share'.")
    importance: str = param("magnitude", "What ranks units, as in prune.structured.", choices=importance.KINDS)


def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a copy of the given widths.

    Args:
        model: Any module that Torch-Pruning can trace.
        config: What groups keep, and what goes first.
        task: Its calibration split serves to try removals out, and gives the gradients of ``taylor``.
        rng: Not used; the method is deterministic.

    Raises:
        RecipeError: The text cannot be read, a name is no group's, a group cannot be cut, or the model not be traced.
        MissingExtraError: Torch-Pruning is not installed.
    """
    del rng
    asked, inputs = _shares(config.keep), task.calibration.inputs
    found, refused = groups(model, inputs, "prune.widths")
    _check(asked, found, refused, model)
    named = [group for group in found if group.name in asked]
    scores = importance.scores(model, named, config.importance, task.calibration)
    chosen = []
    for group, score in zip(named, scores, strict=True):
        worst_first = score.argsort(stable=True).tolist()
        chosen.append((group, worst_first[: len(group) - max(1, round(asked[group.name] * len(group)))]))
    small, undone = without(model, inputs, chosen, "prune.widths")
    note(small, undone)
    return small


def _shares(text: str) -> dict[str, float]:
    asked: dict[str, float] = {}
    for part in filter(None, map(str.strip, text.split(";"))):
        name, _, told = (piece.strip() for piece in part.partition("="))
        try:
            share = float(told)
        except ValueError:
            share = math.nan
        if not name or not 0 < share <= 1:
            raise RecipeError(
                f"prune.widths: keep: {shown(part)} is not of the form 'layer=share' with a share in (0, 1]"
            )
        if name in asked:
            raise RecipeError(f"prune.widths: keep: {name!r} stands twice; give it one share")
        asked[name] = share
    if not asked:
        raise RecipeError("prune.widths: keep is empty; give 'layer=share; layer=share'")
    return asked


def _check(asked: Mapping[str, float], found: Sequence[Group], refused: Mapping[str, str], model: nn.Module) -> None:
    known = {group.name: group for group in found}
    for name in (name for name in asked if name not in known):
        first = next((g.name for g in found if (name, "out") in g.places), None)
        if first is not None and name in dict(model.named_modules()):
            raise RecipeError(f"prune.widths: units of {name!r} go together with those of {first!r}; name that")
        if name in refused:
            why = f"{refused[name]}, as nobody asked for fewer classes" if refused[name] == OUTPUTS else refused[name]
            raise RecipeError(f"prune.widths: {name!r} keeps its units: {why}")
        raise RecipeError(f"prune.widths: the model has no group {name!r}; {nearest(name, known)}")
