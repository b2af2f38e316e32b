"""Adversarial points that behaviours share: those of a first attack with gradients, made once and kept.

Source:
    Croce & Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks,
    ICML 2020, arXiv:2003.01690 (APGD).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from whatelse.attacks import losses, norms
from whatelse.attacks.apgd import Budget as Budget
from whatelse.attacks.apgd import climb as climb
from whatelse.attacks.apgd import climbed
from whatelse.attacks.square import search as search
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.models.subject import log_odds

# Of the kept points; raised when the same budget would give others.
_VERSION = 5
# What is raised of scores as they are, in single precision.
_RAISED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross-entropy": lambda scores, labels: functional.cross_entropy(scores, labels, reduction="sum"),
    "plain log-odds": lambda scores, labels: -log_odds(scores, labels).sum(),
}
# Every model of a study starts its kept attack at the same points of the ball.
_START = 2003


def points(evidence: Evidence, budget: Budget, examples: int) -> tuple[Tensor, Tensor]:
    """Return the strongest point found near each of the first test examples, and whether it fools the model.

    Points ``(M, ...)`` and flags ``(M,)``, ``M`` at most ``examples``. Some more steps are taken once the model is
    fooled, since points that have only just crossed the border do not transfer, and none where it is without hope.
    Made once, kept with the evidence.

    Args:
        evidence: The model under attack.
        budget: Radius, norm and steps.
        examples: How many test examples, from the first.

    Raises:
        NotMeasurableError: The model does not differentiate or is training, or test inputs are not numbers in bounds.
    """
    ends = first(evidence, budget, examples)
    return ends.points, ends.fooled


class First(NamedTuple):
    """What a first attack found.

    Attributes:
        points: The strongest near each example, ``(M, ...)``.
        fooled: Whether each fools the model, ``(M,)`` bool.
        far: How far each climb ended from the border, as `whatelse.attacks.apgd.Ends` has it, ``(M,)``.
    """

    points: Tensor
    fooled: Tensor
    far: Tensor


def first(evidence: Evidence, budget: Budget, examples: int) -> First:
    """Return what `points` does, and how far each climb ended from the border.

    Args:
        evidence: The model under attack.
        budget: Radius, norm and steps.
        examples: How many test examples, from the first.

    Raises:
        NotMeasurableError: As of `points`.
    """
    evidence.subject.require("differentiates")
    inputs, labels = attacked(evidence, examples)

    def make() -> dict[str, Tensor]:
        bounds = evidence.bounds()
        begin = norms.start(inputs, budget.radius, budget.norm, bounds, evidence.draws(_START))
        aims = (losses.log_odds, labels, labels)
        found, far = climbed(evidence, inputs, aims, budget, begin, bounds, spare=True)
        return {"points": found, "fooled": fooled(evidence, found, labels), "far": far}

    told = f"{budget.norm} radius={budget.radius} steps={budget.steps} examples={examples}"
    kept = evidence.once(f"apgd {_VERSION} {told}", make)
    return First(*(kept[name] for name in First._fields))


def fooled(evidence: Evidence, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return whether the model gets each input wrong, ``(M,)``.

    Args:
        evidence: The model.
        inputs: ``(M, ...)``.
        labels: True classes, ``(M,)``.
    """
    if not len(inputs):
        return torch.zeros(0, dtype=torch.bool)
    return evidence.answers(inputs).argmax(1) != labels


def slopes(evidence: Evidence, inputs: Tensor, labels: Tensor, loss: str) -> Tensor:
    """Return the gradient of the loss, ``(M, ...)``, in single precision, as attacks that follow it have it.

    Args:
        evidence: The model under attack.
        inputs: ``(M, ...)``.
        labels: True classes, ``(M,)``.
        loss: ``cross-entropy``, ``log-odds`` at the loudness of the baseline, or ``plain log-odds`` at the model's own.
    """
    if loss == "log-odds":
        return -evidence.gradients(inputs, labels)
    found = []
    for x, y in zip(torch.split(inputs, evidence.batch), torch.split(labels, evidence.batch), strict=True):
        start = x.detach().requires_grad_()
        with torch.enable_grad():
            told = _RAISED[loss](evidence.slopes(evidence.laid(start)), y)
        (slope,) = torch.autograd.grad(told, start)
        evidence.passes.forward += len(x)
        evidence.passes.backward += len(x)
        found.append(slope)
    return torch.cat(found)


def attacked(evidence: Evidence, examples: int, split: str = "test") -> tuple[Tensor, Tensor]:
    """Return the inputs and labels of the first examples, ``(M, ...)`` and ``(M,)``, fit to be attacked.

    Args:
        evidence: The model under attack.
        examples: How many at most.
        split: Of which split.

    Raises:
        NotMeasurableError: Inputs are token ids, have no finite bounds or leave them, or the model is in training
            mode.
    """
    task, test = evidence.task, evidence.split(split)
    if not test.inputs.is_floating_point():
        kind = str(test.inputs.dtype).removeprefix("torch.")
        raise NotMeasurableError(f"needs floating-point inputs; those of task {task.name} are {kind}")
    if task.vocabulary:
        raise NotMeasurableError(f"needs inputs that can change by little; task {task.name} is of tokens")
    inputs = test.inputs[:examples]
    _check_bounds(inputs, evidence.bounds(), split)
    for module in evidence.modules:
        for name, part in module.named_modules():
            if part.training:
                what = f"layer {name}" if name else "it"
                raise NotMeasurableError(
                    f"needs a model in evaluation mode; {what} ({type(part).__name__}) is in training mode"
                )
    return inputs, test.targets[:examples]


def _check_bounds(inputs: Tensor, bounds: tuple[float, float], split: str) -> None:
    low, high = bounds
    if not (math.isfinite(low) and math.isfinite(high)):
        raise NotMeasurableError(f"needs finite bounds of the inputs; the task has {low} to {high}")
    if len(inputs) and (bool((inputs < low).any()) or bool((inputs > high).any())):
        found = f"{float(inputs.min()):.3g} to {float(inputs.max()):.3g}"
        raise NotMeasurableError(f"needs inputs in bounds {low} to {high}; those of {split} lie in {found}")
