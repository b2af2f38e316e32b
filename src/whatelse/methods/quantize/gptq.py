"""Round weights one column after another, the columns still to come making up for each error.

With ``H`` the mean of ``x x^T`` over a layer's inputs, damped by ``damp * mean(diag H)`` on its diagonal, and ``U`` the
upper Cholesky factor of its inverse: column ``j`` is rounded to the nearest level ``q``, ``e = (w_j - q) / U_jj``, and
the columns after it lose ``e * U_j``; whole blocks at a time for those after the block. Grids are those of
``quantize.uniform``, and so is what is left alone. Layers are treated in the order in which they are called, each with
the inputs that it gets from the layers already quantized.

Departures. Compensation is greedy and can end worse than rounding to the nearest: a row of weights for which it
does, by the undamped ``d H d^T``, keeps the nearest levels, so no layer's error on calibration inputs exceeds that of
``quantize.uniform``'s rounding. Scales are chosen once, from the weights before any compensation, also in groups (the
authors' later ``static groups``). A weight whose input is always zero is rounded to the nearest, where the authors'
code sets it to zero. With ``activation_bits`` below 32, ``H`` is that of inputs before their own rounding.

Source:
    Frantar, Ashkboos, Hoefler & Alistarh, GPTQ: accurate post-training quantization for generative pre-trained
    transformers, ICLR 2023, arXiv:2210.17323.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whatelse.layers.quantized import GRIDS, UNROUNDED, Grid
from whatelse.methods.quantize._calibrated import Widths, bounds, set_bounds, treatable
from whatelse.modules.calibration import UNREACHED, grams
from whatelse.modules.exchange import exchange, refuse_unused
from whatelse.modules.notes import note
from whatelse.modules.stream import Stream
from whatelse.modules.walk import copied
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, KNOB, TAKES, LEAVES = 2, "bits", {"dense", "sparse"}, "packed"
LAYERWISE = True


@dataclass(frozen=True)
class Config:
    """Settings of error-compensating rounding."""

    bits: int = param(4, "Bits a weight.", low=2, high=8)
    activation_bits: int = param(
        UNROUNDED, "Bits an activation; 0 takes those of the weights, 32 rounds none.", low=0, high=32
    )
    clip: float = param(0.001, "Share of calibration activations clipped at either end.", low=0.0, high=0.2)
    grid: str = param("channel", "What one scale serves: tensor, channel or group.", choices=GRIDS)
    group: int = param(32, "Inputs that share a scale, where the grid is by group.", low=1, high=65_536)
    symmetric: bool = param(True, "False gives every scale a zero point.")
    damp: float = param(0.01, "Added to the diagonal of H, as a share of its mean.", low=1e-6, high=10.0)
    block: int = param(128, "Columns between two updates of all that follow.", low=1, high=65_536)
    order: str = param(
        "plain", "Order of the columns; activation: largest inputs first.", choices=("plain", "activation")
    )


@torch.no_grad()
def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a copy whose convolutions and linear layers are quantized.

    Args:
        model: Any module.
        config: The grids and how errors are made up for.
        task: Its calibration split gives the inputs of every layer.
        rng: Not used; the method is deterministic.

    Raises:
        RecipeError: There is nothing to quantize, as after ``quantize.uniform``.
    """
    del rng
    small, inputs = copied(model), task.calibration.inputs
    widths = Widths(config.bits, config.activation_bits, config.grid, config.group, config.symmetric)
    layers, few = treatable(small, inputs, "quantize.gptq")
    found = bounds(small, layers, inputs, widths, config.clip)
    parts: dict[str, nn.Module] = {}
    stream = Stream(small, inputs)
    left: dict[str, str] = {}
    for name, layer in layers.items():
        gram = grams(small, {name: layer}, inputs, stream.watch).get(name)
        if gram is None:
            left[name] = UNREACHED
            continue
        parts[name] = tight = widths.of(layer)
        set_bounds(tight, found.get(name))
        tight.take(_rounded(layer.weight.flatten(1), tight.levels(), gram, config))
        small = exchange(small, {name: tight}, few)
    refuse_unused(small, parts, "quantize.gptq")
    note(small, left)
    return small


def _rounded(rows: Tensor, grid: Grid, gram: Tensor, config: Config) -> Tensor:
    """Return levels of all weights, ``(out, fan-in)``; of each row the better of compensated and nearest."""
    shape = (len(gram), -1, rows.shape[1])
    nearest = grid.nearest(rows).double().view(shape)
    rows, grid = rows.double().view(shape), Grid(*(part.double().reshape(shape) for part in grid))
    order = torch.arange(shape[2], device=gram.device).expand(len(gram), -1)
    if config.order == "activation":
        order = gram.diagonal(dim1=1, dim2=2).argsort(dim=1, descending=True, stable=True)
    made = _compensated(rows, grid, gram, order, config)
    better = _error(rows - grid.scale * made, gram) < _error(rows - grid.scale * nearest, gram)
    return torch.where(better[:, :, None], made, nearest).flatten(0, 1)


def _compensated(rows: Tensor, grid: Grid, gram: Tensor, order: Tensor, config: Config) -> Tensor:
    """Return the levels that greedy compensation gives, ``(groups, rows, fan-in)``."""
    count = gram.shape[1]
    along = order[:, None].expand_as(rows)
    left, ordered = rows.gather(2, along), Grid(*(part.gather(2, along) for part in grid))
    gram = gram.gather(1, order[:, :, None].expand_as(gram)).gather(2, order[:, None].expand_as(gram))
    upper = _factor(gram, config.damp)
    levels = torch.empty_like(left)
    for start in range(0, count, config.block):
        stop = min(start + config.block, count)
        errors = torch.zeros_like(left[:, :, start:stop])
        for j in range(start, stop):
            column = Grid(*(part[:, :, j] for part in ordered))
            levels[:, :, j] = column.nearest(left[:, :, j])
            error = (left[:, :, j] - column.scale * levels[:, :, j]) / upper[:, j, j, None]
            left[:, :, j:stop] -= error[:, :, None] * upper[:, None, j, j:stop]
            errors[:, :, j - start] = error
        left[:, :, stop:] -= errors @ upper[:, start:stop, stop:]
    return torch.empty_like(levels).scatter(2, along, levels)


def _factor(gram: Tensor, damp: float) -> Tensor:
    """Return the upper Cholesky factor of the inverse of the damped matrices, ``(groups, fan-in, fan-in)``."""
    size = gram.diagonal(dim1=1, dim2=2).mean(1)
    ridge = torch.where(size > 0, damp * size, 1.0)
    damped = gram + ridge[:, None, None] * torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    upper: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return upper


def _error(change: Tensor, gram: Tensor) -> Tensor:
    """Return ``d H d^T`` of every row, ``(groups, rows)``."""
    return ((change @ gram) * change).sum(2)
