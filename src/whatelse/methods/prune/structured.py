"""Remove whole channels, neurons and attention heads, so that the model is really smaller and faster.

A removed channel takes with it everything that reads it or is added to it, in all layers that the dependency graph
couples. Units compete with a score:

* ``magnitude``: ``sum w^2`` over convolutions, linear layers and norms, of what makes the unit and of what reads it;
* ``taylor``: ``(sum g * w)^2`` over the weights that read the unit, ``g`` the gradient of the loss, averaged over
  batches of calibration data with their recorded labels: the squared first-order change of the loss where the unit
  becomes zero. It equals the paper's score of a gate after the batch norm, and needs no batch norm;
* ``fpgm``: ``sum_j ||w_u - w_j||_2`` over the units of each layer that makes them: near the geometric median is
  redundant.

Magnitude and FPGM are divided by their mean over the group of coupled layers, as layers differ in scale; Taylor scores
are changes of one loss and are compared as they are.

With ``scope`` global the share ``ratio`` of all removable channels goes, lowest scores first, and every layer keeps at
least the share ``keep``; with uniform each layer loses the share ``ratio``. What a layer keeps is then rounded to a
multiple of ``round_to``, so that shares are met up to this rounding; where another share went than was asked for, the
step says which. Attention heads go whole, without rounding.

Never removed: inputs, outputs, and groups whose removal from a trial copy does not give what zeroing them gives (as
through zero-padded shortcuts, sizes written into the forward, channels folded into space, shared weights, weights that
are read without a call or computed anew at every pass, grouped convolutions, group norms), or whose channels a layer
may read that no calibration input reaches. Each is named with its reason. All removals together are tried once more on
the whole calibration split, and undone where they do not hold.
Departures from Torch-Pruning: its FPGM takes distances of squared weights, and of the reading layers too; its Taylor
score sums absolute values over all coupled weights and is divided by its mean; rounding there only goes down.

Source:
    Fang et al., DepGraph: Towards any structural pruning, CVPR 2023, arXiv:2301.12900; Molchanov et al., Importance
    estimation for neural network pruning, CVPR 2019, arXiv:1906.10771; He et al., Filter pruning via geometric
    median, CVPR 2019, arXiv:1811.00250.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whatelse.errors import RecipeError
from whatelse.modules import importance
from whatelse.modules.dependency import Group, groups, left_whole, without
from whatelse.modules.notes import note
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, KNOB, TAKES, LEAVES = 1, "ratio", {"dense", "sparse"}, ""

_HARDLY = 0.005


@dataclass(frozen=True)
class Config:
    """Settings of structured pruning."""

    ratio: float = param(0.5, "Share of the removable channels to remove.", low=0.0, high=0.95)
    importance: str = param("magnitude", "What ranks channels.", choices=importance.KINDS)
    scope: str = param("global", "Rank all layers together, or each alone.", choices=("global", "uniform"))
    keep: float = param(0.1, "Share of its channels that a layer keeps at least under global scope.", low=0.0, high=1.0)
    round_to: int = param(8, "Kept widths are multiples of it in layers twice as wide; 1 is off.", low=1, high=256)


def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a smaller copy.

    Args:
        model: Any module that Torch-Pruning can trace.
        config: How much goes, and what goes first.
        task: Its calibration split serves to try out removals, and gives the gradients of ``taylor``.
        rng: Not used; the method is deterministic.

    Raises:
        RecipeError: The model cannot be traced, or nothing can be removed from it; the message says why of each layer.
        MissingExtraError: Torch-Pruning is not installed.
    """
    del rng
    inputs = task.calibration.inputs
    found, refused = groups(model, inputs, "prune.structured")
    if not found:
        reasons = (
            "; ".join(f"{name}: {reason}" for name, reason in refused.items()) or "no layer is reached by a gradient"
        )
        raise RecipeError(f"prune.structured: nothing can be removed ({reasons}); use prune.magnitude for such a model")
    scores = importance.scores(model, found, config.importance, task.calibration)
    sizes = _uniform(found, config) if config.scope == "uniform" else _global(found, scores, config)
    chosen = []
    for group, score, size in zip(found, scores, sizes, strict=True):
        worst_first = score.argsort(stable=True).tolist()
        chosen.append((group, worst_first[: len(group) - _rounded(group, size, config.round_to)]))
    small, undone = without(model, inputs, chosen, "prune.structured")
    note(small, left_whole({**refused, **undone}), *_realized(chosen, undone, config))
    return small


def _realized(chosen: list[tuple[Group, list[int]]], undone: Mapping[str, str], config: Config) -> list[str]:
    """Return what share of the removable channels went, where it is not the one that was asked for."""
    whole = sum(len(group) * group.block for group, _ in chosen)
    gone = sum(len(units) * group.block for group, units in chosen if group.name not in undone)
    if abs(gone / whole - config.ratio) < _HARDLY:
        return []
    why = f"widths are multiples of round_to={config.round_to}" if config.round_to > 1 else "whole units go"
    return [f"{gone / whole:.1%} of the removable channels went where {config.ratio:.1%} were asked for ({why})"]


def _uniform(found: list[Group], config: Config) -> list[int]:
    """Return how many units each group keeps."""
    return [max(1, round((1 - config.ratio) * len(group))) for group in found]


def _global(found: list[Group], scores: list[Tensor], config: Config) -> list[int]:
    sizes = [len(group) for group in found]
    floors = [max(1, math.ceil(config.keep * size)) for size in sizes]
    left = round(config.ratio * sum(len(group) * group.block for group in found))
    owner = [i for i, group in enumerate(found) for _ in range(len(group))]
    for place in torch.cat(scores).argsort(stable=True).tolist():
        i = owner[place]
        if found[i].block <= left and sizes[i] > floors[i]:
            sizes[i] -= 1
            left -= found[i].block
    return sizes


def _rounded(group: Group, size: int, step: int) -> int:
    """Return the multiple of ``step`` next to a size, where the group is wide enough for one."""
    if group.block > 1 or len(group) < 2 * step:
        return size
    return min(len(group), step * max(1, math.floor(size / step + 0.5)))
