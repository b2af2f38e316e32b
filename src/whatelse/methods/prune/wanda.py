"""Zero the weights of smallest ``|w| * ||x||``, compared within each output of each layer.

The score of the weight from input ``j`` to output ``i`` is ``|W[i, j]| * ||X[j]||_2``, with ``X[j]`` what enters
there over the calibration split; of a convolution ``j`` runs over input channels and positions of the kernel. Each
output loses the share ``sparsity`` of its weights. Where a layer's count does not divide over its outputs, those
whose next weight scores lowest lose one more, so that the layer's sparsity is exact (the authors' code rounds down).
``pattern="2:4"`` zeroes the two lowest of every four neighboring input channels; layers whose input channels do not
come in fours are left alone. Layers are pruned in the order in which they are called, each with the inputs that
come out of those pruned before. No weight is updated; biases stay. Groups of a convolution have their own inputs.
Unlike the paper, which prunes inside transformer blocks, the first and the last layer are pruned too.

Left alone: layers that no calibration input reaches, tied weights, and the projections of ``nn.MultiheadAttention``.

Source:
    Sun, Liu, Bair, Kolter, A simple and effective pruning approach for large language models, ICLR 2024,
    arXiv:2306.11695.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from whatelse.methods.prune._mask import called, keep, prunable, zero
from whatelse.modules.calibration import UNREACHED, energies
from whatelse.modules.notes import note
from whatelse.modules.stream import Stream
from whatelse.modules.walk import copied
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, KNOB, TAKES, LEAVES = 1, "sparsity", {"dense", "sparse"}, "sparse"
LAYERWISE = True


@dataclass(frozen=True)
class Config:
    """Settings of pruning by weights and activations."""

    sparsity: float = param(0.5, "Share of each layer's weights to zero.", low=0.0, high=1.0)
    pattern: str = param("any", "Which weights may go; 2:4 is two of four inputs.", choices=("any", "2:4"))


def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a pruned copy.

    Args:
        model: Any module with convolutions or linear layers.
        config: How much to prune.
        task: Its calibration split, of which the inputs are read.
        rng: Not used; the method is deterministic.

    Raises:
        RecipeError: There is nothing to prune, or the sparsity does not go with the pattern.
    """
    del rng
    pruned = copied(model)
    inputs = task.calibration.inputs
    found = prunable(pruned, "prune.wanda", config.sparsity, config.pattern)
    stream = Stream(pruned, inputs)
    left: dict[str, str] = {}
    for name, layer in called(pruned, found, inputs).items():
        seen = energies(pruned, {name: layer}, inputs, stream.watch)
        if name not in seen:
            left[name] = UNREACHED
            continue
        norms = seen[name].sqrt().to(layer.weight.dtype)
        per_output = norms.repeat_interleave(len(layer.weight) // len(norms), 0)
        scores = layer.weight.detach().abs() * per_output.view_as(layer.weight)
        zero(found, keep({name: layer}, {name: scores}, config.sparsity, "row", config.pattern))
    note(pruned, left)
    return pruned
