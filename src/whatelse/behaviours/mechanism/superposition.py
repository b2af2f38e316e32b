"""How far the input features share directions in the first layer: superposition, averaged over features.

``W_i`` is what feature ``i`` adds to the first layer: the layer's response, before its nonlinearity, to an input that
is 1 at ``i`` and 0 elsewhere, less that to 0. Everything up to there is affine in the networks of this field (a
linear or convolutional layer, factorized, quantized, batch-normalized, ...), so that it does not matter where one
starts. With ``w_i = W_i / |W_i|`` the interference is ``I_i = sum over j != i of (w_i . W_j)^2``, and the share of
its direction that others take is ``I_i / (|W_i|^2 + I_i)``: one minus Elhage's dimensionality. The number is its mean
over the features that have a direction at all (``|W_i|^2`` above a millionth of the largest).

Reading:
    0: every feature has a dimension of its own; 1/2: pairs share one; with n features spread evenly over m
    dimensions it is ``1 - m / n``. The note says how many features have a direction: a fall of the number after
    pruning may only mean that the others were dropped.

Cost:
    One forward pass for each feature; a product of features with features. No examples.

Limits:
    Input features must be the features: for a table its columns, in like units, as on the data loader
    ``superposition``; of images they are pixels (``features`` of them, evenly apart, and neighbors overlap by the
    kernel alone). Where activations are rounded it holds up to the rounding. A property of the model, not of
    examples: only seeds vary, and there is no interval without several. Texts have no such input.

Source:
    Elhage et al., Toy models of superposition, Transformer Circuits Thread 2022, arXiv:2209.10652.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from whatelse.answer import Answer
from whatelse.behaviours.mechanism import _layers
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.models import placed
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = 1, "share of direction", "lower", {"predicts", "opens"}, "layer"
WORST, BLIND = 1.0, None
# Responses of the first layer that are held at a time: 160 MB in double precision.
_ENTRIES = 20_000_000
_NONLINEAR = (nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh)


@dataclass(frozen=True)
class Config:
    """Settings of the superposition."""

    features: int = param(256, "Input features, evenly apart, at the most.", low=2, high=4096)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ``length`` ``|W_i|`` and ``interference`` ``I_i`` of each input feature, ``(features,)`` each.

    A note tells of features without a direction.

    Args:
        evidence: Gives the first layer.
        config: How many features.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: The model does not open or has no hidden layer, or inputs are texts.
    """
    del rng
    if evidence.task.vocabulary:
        raise NotMeasurableError(f"needs numbers as inputs; task {evidence.task.name} is of texts")
    ways = _directions(evidence, config.features)
    length = ways.square().sum(1)
    seen = (ways @ ways.T).square().sum(1)
    interference = torch.where(length > 0, seen / length.clamp(min=1e-300) - length, 0.0).clamp(min=0)
    columns = {"length": length.sqrt().float(), "interference": interference.float()}
    has = int(_has_direction(columns["length"].numpy()).sum())
    return Answer(columns, notes=(f"{has} of {len(length)} input features have a direction in the first layer",))


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean share of a direction that others take, ``(draws,)``; NaN where no feature has a direction.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each feature stands in each resample, ``(draws, features)``.
    """
    del config
    length, interference = answer["length"], answer["interference"]
    known, whole = _has_direction(length), length**2 + interference
    share = np.where(known, interference / np.where(known, whole, 1), 0)
    size = weights @ known
    mean: np.ndarray = np.where(size > 0, weights @ share / np.where(size > 0, size, 1), np.nan)
    return mean


def effort(config: Config, task: Task) -> int:
    """Return how many passes it costs beyond the shared ones, of one example forward or backward, at the most.

    Args:
        config: How many features.
        task: Gives the shape of an input.
    """
    return min(config.features, math.prod(task.shape)) + 1


def _has_direction(length: np.ndarray) -> np.ndarray:
    square = length.astype(np.float64) ** 2
    known: np.ndarray = (square > 1e-6 * square.max()) & (square > 0)
    return known


def _directions(evidence: Evidence, most: int) -> Tensor:
    """Return what each of some input features adds to the first layer, ``(features, units)`` in double precision."""
    shape = evidence.task.shape
    size = int(np.prod(shape))
    zero = _first_layer(evidence, torch.zeros(1, *shape))
    picks = _layers.spread(size, min(most, max(2, _ENTRIES // zero.shape[1])))
    inputs = torch.zeros(len(picks), size)
    inputs[torch.arange(len(picks)), picks] = 1
    return _first_layer(evidence, inputs.view(-1, *shape)) - zero


def _first_layer(evidence: Evidence, inputs: Tensor) -> Tensor:
    """Return the response of the first layer before its nonlinearity, flattened, ``(M, units)``."""
    layer = evidence.inside.get_submodule(next(iter(_layers.layers(evidence))))
    seen: list[Tensor] = []

    def keep(module: nn.Module, given: tuple[Tensor, ...], output: object) -> None:
        whole = given[0] if isinstance(module, _NONLINEAR) else output[0] if isinstance(output, tuple) else output
        assert isinstance(whole, Tensor)
        seen.append(placed.home(whole.detach()).flatten(1).double())

    hook = layer.register_forward_hook(keep)
    firsts: list[Tensor] = []
    start = 0
    try:
        while start < len(inputs):
            seen.clear()
            evidence.answers(inputs[start : start + evidence.batch])
            firsts.append(seen[0])  # a module that stands in several places is asked again: its first answer counts
            start += len(seen[0])
    finally:
        hook.remove()
    return torch.cat(firsts)
