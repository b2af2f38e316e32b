"""What it takes to hide parts of an input: its units (pixels, columns, tokens), references, and the exchange."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.explainers import captum
from whatelse.explainers import maps as _maps

REFERENCES = ("mean", "zero", "blurred")


def units(evidence: Evidence) -> int:
    """Return how many parts of an input can be hidden: pixels with all their channels, columns or tokens.

    Args:
        evidence: Gives the shape of an input.
    """
    shape = evidence.task.shape
    return math.prod(shape[1:] if evidence.task.modality == "images" else shape)


def worth(evidence: Evidence, maps: Tensor, kind: str) -> Tensor:
    """Return what each unit is worth to a map, ``(n, units)``.

    Contributions are summed over the channels of a pixel with their sign, sensitivities as absolute values. A map that
    has one value for all channels of a pixel counts once; what occlusion or kernel
    shap says of a patch is shared evenly among its
    pixels, so that the sum over units is the sum over patches.

    Args:
        evidence: Gives the shape of an input.
        maps: ``(n, features)``.
        kind: One of the kinds of maps.
    """
    counted = maps if kind in _maps.CONTRIBUTIONS else maps.abs()
    return counted.view(len(maps), -1, units(evidence)).sum(1) / _copies(evidence, kind)


def reference(evidence: Evidence, kind: str, inputs: Tensor) -> Tensor:
    """Return what stands where a unit is hidden, ``(n or 1, ...)``: of tokens padding, whatever the kind.

    Args:
        evidence: Gives the mean of train, the bounds and the kind of inputs.
        kind: One of `REFERENCES`.
        inputs: What is blurred, ``(n, ...)``.

    Raises:
        NotMeasurableError: Something else than images is to be blurred.
    """
    if evidence.task.modality == "tokens" or kind == "zero":
        return captum.start(evidence)[None]
    if kind == "mean":
        return evidence.split("train").inputs.mean(0, keepdim=True)
    if evidence.task.modality != "images":
        raise NotMeasurableError(f"blurred needs images; task {evidence.task.name} is of {evidence.task.modality}")
    return _blurred(inputs)


def exchanged(evidence: Evidence, inputs: Tensor, others: Tensor, hidden: Tensor) -> Tensor:
    """Return inputs with some units taken from elsewhere, of the shape of ``inputs``.

    Args:
        evidence: Says what a unit is.
        inputs: ``(n, ...)``.
        others: What is taken, ``(n or 1, ...)``.
        hidden: Which units are taken, ``(n, units)`` bool.
    """
    shape = evidence.task.shape
    where = hidden.view(-1, 1, *shape[1:]) if evidence.task.modality == "images" else hidden.view(-1, *shape)
    return torch.where(where, others, inputs)


def answers(evidence: Evidence, inputs: Tensor) -> Tensor:
    """Return the class scores of inputs with hidden units in double precision, ``(n, classes)``.

    Args:
        evidence: Gives the answers.
        inputs: ``(n, ...)``.

    Raises:
        NotMeasurableError: One is not finite, as of models that cannot read a text of padding alone.
    """
    found = evidence.answers(inputs).double()
    if not bool(found.isfinite().all()):
        raise NotMeasurableError(f"{evidence.subject.name} has no finite answer to inputs with hidden parts")
    return found


def _copies(evidence: Evidence, kind: str) -> Tensor:
    """Return how often a map holds the same contribution at each unit, ``(1,)`` or ``(units,)``."""
    if evidence.task.modality != "images" or kind not in {"grad-cam", "occlusion", "kernel shap"}:
        return torch.ones(1)
    channels, *sides = evidence.task.shape
    if kind == "grad-cam":
        return torch.full((1,), float(channels))
    rows, columns = (
        # The last patch is what is left of the image.
        torch.tensor([min(long, side - i // long * long) for i in range(side)], dtype=torch.float64)
        for side, long in zip(sides, captum.patch(evidence.task), strict=True)
    )
    return (channels * rows[:, None] * columns).flatten()


def _blurred(inputs: Tensor) -> Tensor:
    """Return images under a Gaussian of an eighth of their side, edges continued."""
    channels, sides = inputs.shape[1], inputs.shape[2:]
    for axis, side in enumerate(sides):
        sigma = max(1.0, side / 8)
        reach = math.ceil(3 * sigma)
        bell = torch.exp(-(torch.arange(-reach, reach + 1).float() ** 2) / (2 * sigma**2))
        window = (bell / bell.sum()).view((1, 1, -1, 1) if axis == 0 else (1, 1, 1, -1)).expand(channels, 1, -1, -1)
        pad = (0, 0, reach, reach) if axis == 0 else (reach, reach, 0, 0)
        inputs = functional.conv2d(functional.pad(inputs, pad, "replicate"), window, groups=channels)
    return inputs
