"""Train a copy with rounded weights and activations, so that it learns to live with the rounding.

Every forward pass of the training uses the weights and activations as they will be stored; gradients pass the
rounding straight through. Grids are those of ``quantize.uniform``, and so is what is left alone. With ``step=learned``
the step ``s`` of ``w = s * round(clip(w / s))`` is trained as well, from ``2 mean |w| / sqrt(top)`` over the nonzero
weights on symmetric grids and from the range of the weights on others, whose zero points stay; with ``step=range`` it
follows the largest weight. Bounds of activations start as in ``quantize.uniform`` and follow those of the training
batches as a moving average with momentum 0.05. Weights that are exactly zero stay zero; layers left alone are trained
as floats. At the end the running statistics of batch norms are measured anew, on the rounded model over all of train.
What comes back is what was trained: the stored weights are the rounded ones, bit for bit.

Departure: steps are trained by their logarithm, at the learning rate of the weights. The paper scales the gradient of
``s`` instead, to which Adam is blind.

Source:
    Jacob et al., Quantization and training of neural networks for efficient integer-arithmetic-only inference, CVPR
    2018, arXiv:1712.05877; learned steps: Esser et al., Learned step size quantization, ICLR 2020, arXiv:1902.08153;
    straight-through gradients: Bengio et al. 2013, arXiv:1308.3432.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whatelse.layers.quantized import GRIDS, Grid, Quantized
from whatelse.methods import _common as common
from whatelse.methods.quantize._calibrated import Widths, bounds, set_bounds, stored, tails, treatable
from whatelse.modules.walk import Layer, copied, swap
from whatelse.settings import param
from whatelse.tasks.task import Task
from whatelse.training.loop import Schedule, fit, hard_labels

VERSION, KNOB, TAKES, LEAVES = 2, "bits", {"dense", "sparse"}, "packed"

_MOMENTUM = 0.05


@dataclass(frozen=True)
class Config:
    """Settings of quantization-aware training."""

    bits: int = param(4, "Bits a weight.", low=2, high=8)
    activation_bits: int = param(8, "Bits an activation; 0 takes those of the weights, 32 rounds none.", low=0, high=32)
    clip: float = param(0.001, "Share of a batch's activations clipped at either end.", low=0.0, high=0.2)
    grid: str = param("channel", "What one scale serves: tensor, channel or group.", choices=GRIDS)
    group: int = param(32, "Inputs that share a scale, where the grid is by group.", low=1, high=65_536)
    symmetric: bool = param(True, "False gives every scale a zero point.")
    step: str = param("learned", "Step of the weights' grid: learned, or by their range.", choices=("learned", "range"))
    epochs: int = common.epochs(8)
    rate: float = common.rate()
    batch: int = common.batch()


def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a copy trained rounded, its convolutions and linear layers quantized.

    Args:
        model: Any module.
        config: The grids, how long and how hard.
        task: Its calibration split sets the first bounds of activations, train with the recorded labels the rest.
        rng: Source of the order of the examples.

    Raises:
        RecipeError: There is nothing to quantize, as after ``quantize.uniform``.
    """
    small, inputs = copied(model), task.train.inputs
    widths = Widths(config.bits, config.activation_bits, config.grid, config.group, config.symmetric)
    layers, few = treatable(small, task.calibration.inputs, "quantize.aware")
    found = bounds(small, layers, task.calibration.inputs, widths, config.clip)
    parts = {name: _Rounded(layer, widths.of(layer), config) for name, layer in layers.items()}
    for name, part in parts.items():
        set_bounds(part.tight, found.get(name))
    small = stored(small, parts, few, "quantize.aware")
    fit(small, inputs, hard_labels(task.train.observed), Schedule(config.epochs, config.rate, config.batch), rng)
    _settle(small, inputs[torch.randperm(len(inputs), generator=rng)] if config.epochs else inputs[:0])
    rounded = [(name, part) for name, part in small.named_modules() if isinstance(part, _Rounded)]
    for name, part in rounded:
        small = swap(small, name, part.packed())
    return small


class _Rounded(nn.Module):
    """A layer that trains a float weight and computes with it rounded."""

    def __init__(self, layer: Layer, tight: Quantized, config: Config) -> None:
        super().__init__()
        self.layer, self.tight, self.clip = layer, tight, config.clip
        self.log_step: nn.Parameter | None = None
        if config.step == "learned":
            step = _mean_step(layer.weight.detach().flatten(1), tight) if config.symmetric else tight.scale
            self.log_step = nn.Parameter(step.clamp(min=1e-8).log())

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output for rounded inputs and weights.

        Args:
            x: ``(N, in, ...)``.
        """
        if self.training and self.tight.round_input.straight_through and x.numel():
            self._follow(x.detach())
        return self.tight.computed(x, self.weight(), self.layer.bias)

    def weight(self) -> Tensor:
        """Return the rounded weight, whose gradient reaches the float one and the step."""
        grid = self._grid()
        inside = torch.maximum(torch.minimum(self.layer.weight.flatten(1) / grid.scale, grid.high), grid.low)
        # The second term is zero and carries the gradient: the values are the rounded ones exactly.
        levels = inside.detach().round() + (inside - inside.detach())
        weight: Tensor = (levels * grid.scale).view_as(self.layer.weight)
        return weight

    @torch.no_grad()
    def packed(self) -> Quantized:
        """Return the layer as it is stored; it computes what this one does."""
        grid = self._grid()
        if self.log_step is not None:
            self.tight.scale.copy_(self.log_step.exp())
        if self.tight.bias is not None and self.layer.bias is not None:
            self.tight.bias.copy_(self.layer.bias)
        self.tight.take(grid.nearest(self.layer.weight.flatten(1)))
        return self.tight

    def _grid(self) -> Grid:
        if self.log_step is not None:
            return self.tight.levels(self.log_step.exp())
        self.tight.span(self.layer.weight)
        return self.tight.levels()

    def _follow(self, x: Tensor) -> None:
        bounds = self.tight.round_input
        low, high = tails(x, self.clip)
        # New tensors, as a layer called twice still needs the old ones for its gradient.
        bounds.low = bounds.low + _MOMENTUM * (low - bounds.low)
        bounds.high = bounds.high + _MOMENTUM * (high - bounds.high)


def _mean_step(rows: Tensor, tight: Quantized) -> Tensor:
    """Return ``2 mean |w| / sqrt(top)`` over the weights that are not zero, of the shape of the scales."""
    size = tight.served(rows.abs()).clamp(min=0)
    mean = size.sum(-1) / (size > 0).sum(-1).clamp(min=1)
    step: Tensor = 2 * mean / float(2 ** (tight.bits - 1) - 1) ** 0.5
    return step


@torch.no_grad()
def _settle(model: nn.Module, inputs: Tensor) -> None:
    """Measure the running statistics of batch norms anew, as a plain average over batches of one size."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]  # noqa: SLF001 - the base of all of them
    if not norms or len(inputs) < 2:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for batch in torch.tensor_split(inputs, max(1, len(inputs) // 256)):
        model(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
