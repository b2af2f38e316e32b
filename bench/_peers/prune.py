"""Pruning as a user of torch.nn.utils.prune, torch.ao.pruning and Torch-Pruning would write it."""

from __future__ import annotations

from copy import deepcopy

import torch_pruning
from torch import nn
from torch.ao.pruning import WeightNormSparsifier
from torch.nn.utils import prune

from whatelse.tasks.task import Task


def magnitude(model: nn.Module, sparsity: float, scope: str) -> nn.Module:
    """Return a copy pruned by torch.nn.utils.prune, its masks made permanent.

    Args:
        model: What to prune.
        sparsity: Share of the weights that goes.
        scope: ``global`` or ``layer``.
    """
    small = deepcopy(model)
    layers = _layers(small)
    if scope == "global":
        prune.global_unstructured([(m, "weight") for m in layers], prune.L1Unstructured, amount=sparsity)
    for layer in layers:
        if scope == "layer":
            prune.l1_unstructured(layer, "weight", sparsity)
        prune.remove(layer, "weight")
    return small


def two_of_four(model: nn.Module) -> nn.Module:
    """Return a copy in which torch.ao.pruning zeroed two of every four neighboring inputs.

    Args:
        model: What to prune.
    """
    small = deepcopy(model)
    names = [{"tensor_fqn": f"{n}.weight"} for n, m in small.named_modules() if isinstance(m, nn.Linear)]
    sparsifier = WeightNormSparsifier(sparsity_level=1.0, sparse_block_shape=(1, 4), zeros_per_block=2)
    sparsifier.prepare(small, names)
    sparsifier.step()
    sparsifier.squash_mask()
    return small


def structured(model: nn.Module, task: Task, importance: str) -> nn.Module:
    """Return a copy of half the width made by Torch-Pruning, every layer alike.

    Args:
        model: What to prune.
        task: Its calibration split serves to trace the model and gives the gradients of ``taylor``.
        importance: ``magnitude`` or ``taylor``.
    """
    small = deepcopy(model).requires_grad_()
    kinds = {
        "magnitude": torch_pruning.importance.MagnitudeImportance,
        "taylor": torch_pruning.importance.TaylorImportance,
    }
    heads, loose = {}, []
    for block in getattr(small, "blocks", ()):
        heads |= dict.fromkeys((block.query, block.key, block.value), block.query.out_features // block.size)
        loose = [(small.positions, 1)]
    pruner = torch_pruning.pruner.BasePruner(
        small,
        task.calibration.inputs[:4],
        importance=kinds[importance](),
        pruning_ratio=0.5,
        ignored_layers=[small.head if heads else small.linear],
        num_heads=heads,
        prune_num_heads=True,
        prune_head_dims=False,
        head_pruning_ratio=0.5,
        unwrapped_parameters=loose,
    )
    if importance == "taylor":
        known = task.calibration
        nn.functional.cross_entropy(small(known.inputs), known.observed).backward()
    pruner.step()
    small.zero_grad()
    return small


def _layers(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
