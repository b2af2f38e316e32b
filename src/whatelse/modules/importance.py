"""How much each unit of a group of coupled layers is worth: what ranks channels, neurons and heads before some go.

Source:
    Fang et al., DepGraph: Towards any structural pruning, CVPR 2023, arXiv:2301.12900; Molchanov et al., Importance
    estimation for neural network pruning, CVPR 2019, arXiv:1906.10771; He et al., Filter pruning via geometric
    median, CVPR 2019, arXiv:1811.00250.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd

from whatelse.modules.dependency import Group
from whatelse.modules.surgery import axes, part_at
from whatelse.modules.walk import copied
from whatelse.tasks.task import Split

KINDS = ("magnitude", "taylor", "fpgm")
BATCH = 50  # examples whose gradient is one of those that ``taylor`` averages


def scores(model: nn.Module, found: list[Group], kind: str, split: Split) -> list[Tensor]:
    """Return the scores of each group's units, ``(units,)`` float64 each: what is lowest goes first.

    Magnitude and FPGM are divided by their mean over the group; Taylor scores are changes of one loss, as they are.

    Args:
        model: In evaluation mode; not changed.
        found: Groups of `whatelse.modules.dependency.groups`.
        kind: One of `KINDS`, as ``prune.structured`` explains them.
        split: Gives the gradients of ``taylor``, with the labels as they were recorded.
    """
    if kind == "taylor":
        return _taylor(model, found, split)
    score = _magnitude if kind == "magnitude" else _fpgm
    each = [score(model, group) for group in found]
    return [s / s.mean().clamp(min=torch.finfo(s.dtype).tiny) for s in each]


def _magnitude(model: nn.Module, group: Group) -> Tensor:
    total = torch.zeros(len(group), dtype=torch.float64)
    for (name, side), units in group.places.items():
        part = part_at(model, name)
        if side != "loose" and not isinstance(part, nn.Embedding) and "weight" in axes(part, side):
            squares = _rows(part.weight, axes(part, side)["weight"]).square().sum(1)
            total += torch.stack([squares[list(unit)].sum() for unit in units])
    return total


def _fpgm(model: nn.Module, group: Group) -> Tensor:
    total = torch.zeros(len(group), dtype=torch.float64)
    for (name, side), units in group.places.items():
        part = part_at(model, name)
        if side == "out" and isinstance(part, _ConvNd | nn.Linear):
            rows = _rows(part.weight, axes(part, side)["weight"])
            filters = torch.stack([rows[list(unit)].flatten() for unit in units])
            total += torch.cdist(filters, filters, compute_mode="donot_use_mm_for_euclid_dist").sum(1)
    return total


def _taylor(model: nn.Module, found: list[Group], split: Split) -> list[Tensor]:
    copy = copied(model).requires_grad_(requires_grad=True)
    totals = [torch.zeros(len(group), dtype=torch.float64) for group in found]
    batches = torch.split(torch.arange(len(split)), BATCH)
    for batch in batches:
        copy.zero_grad()
        with torch.enable_grad():  # type: ignore[no-untyped-call,unused-ignore] # torch's own
            functional.cross_entropy(copy(split.inputs[batch]), split.observed[batch]).backward()  # type: ignore[no-untyped-call]
        for total, group in zip(totals, found, strict=True):
            total += _change(copy, group).square() / len(batches)
    return totals


def _change(model: nn.Module, group: Group) -> Tensor:
    """Return ``sum g * w`` over what reads each unit, ``(units,)``."""
    total = torch.zeros(len(group), dtype=torch.float64)
    for (name, side), units in group.places.items():
        part = part_at(model, name)
        weight = part.weight if side == "in" else None
        if weight is not None and weight.grad is not None:
            slopes = _rows(weight.grad * weight, axes(part, side)["weight"]).sum(1)
            total += torch.stack([slopes[list(unit)].sum() for unit in units])
    return total


def _rows(tensor: Tensor, dim: int) -> Tensor:
    """Return a tensor with one row for every index along a dimension, float64."""
    return tensor.detach().movedim(dim, 0).reshape(tensor.shape[dim], -1).double()
