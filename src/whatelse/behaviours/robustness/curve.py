"""Accuracy under the plain gradient attacks FGSM and PGD over a range of radii: a curve for the eye, never a verdict.

With radii ``r = largest / 6, ..., largest`` in the L-infinity ball (without ``largest``, three times the radius that
`accuracy` chooses) and the loss ``L`` of ``loss``: ``fgsm`` takes one step, ``x' = clip(x + r sign grad L)``; ``pgd``
ten steps of ``r / 4`` from the input, each put back into the ball. The value is the accuracy at each radius, and the
mean over the radii. The gradient of the cross-entropy, which the sources follow, underflows where scores are large;
that of the log-odds margin does not. Where the two curves part, the gradient is masked, as after defensive
distillation.

Reading:
    A curve that does not fall, falls and rises again, or is higher with the cross-entropy than with the log-odds says
    that the attack fails, not that the model withstands. The verdict is always *not trusted*: read
    `robustness.accuracy` for one.

Cost:
    On ``examples`` of test two passes and one forward for ``fgsm`` (one gradient serves all radii, which are six
    forward passes), 20 passes for each radius for ``pgd``; nothing is shared.

Limits:
    One start, a fixed step, no restarts: it overestimates the accuracy under attack at every radius.

Source:
    Goodfellow, Shlens & Szegedy, Explaining and harnessing adversarial examples, ICLR 2015, arXiv:1412.6572; Madry et
    al., Towards deep learning models resistant to adversarial attacks, ICLR 2018, arXiv:1706.06083; why it is no
    evidence: Carlini et al., On evaluating adversarial robustness, 2019, arXiv:1902.06705.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer, Doubt, Parts
from whatelse.attacks import attack as _attack
from whatelse.attacks import norms
from whatelse.attacks import radius as _radius
from whatelse.evidence.cache import Evidence
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    5,
    "accuracy",
    "higher",
    {"predicts", "differentiates", "inputs in bounds"},
    "test example",
    "radius",
)
WORST, BLIND = 0.0, None
_RADII, _STEPS, _SHARE = 6, 10, 0.25
_COLUMNS = tuple(f"radius {i + 1}" for i in range(_RADII))
# Of the chosen radius, at which the baseline keeps about half: the curve begins at half of that.
_WIDE = 3
_DOUBT = "a curve of one plain attack, which overestimates: read robustness.accuracy for a verdict"


@dataclass(frozen=True)
class Config:
    """Settings of the curve."""

    attack: str = param("fgsm", "One step, or ten.", choices=("fgsm", "pgd"))
    loss: str = param("cross-entropy", "What is raised.", choices=("cross-entropy", "log-odds"))
    largest: float | None = param(None, "Largest radius, in units of the input.", low=0.0, kind=float)
    examples: int = param(300, "Test examples attacked, from the first.", low=1)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return whether the model is right at each radius, 1 or 0: a column for each, from the smallest.

    Args:
        evidence: The model under attack.
        config: Attack, loss and radii.
        rng: Not used; the attacks begin at the inputs.

    Raises:
        NotMeasurableError: The model does not differentiate, or test inputs are not numbers in finite bounds.
    """
    del rng
    evidence.subject.require("differentiates")
    inputs, labels = _attack.attacked(evidence, config.examples)
    chosen = _radius.chosen(evidence.reference or evidence, "linf", config.largest)
    largest = chosen.radius if config.largest is not None else _WIDE * chosen.radius
    radii = [largest * (i + 1) / _RADII for i in range(_RADII)]
    first = _attack.slopes(evidence, inputs, labels, config.loss).sign() if config.attack == "fgsm" else None
    columns: dict[str, Tensor] = {}
    for name, radius in zip(_COLUMNS, radii, strict=True):
        inside = norms.within(inputs, radius, "linf", evidence.bounds())
        at = inputs if first is None else inside(inputs + radius * first)
        for _ in range(_STEPS if first is None else 0):
            at = inside(at + _SHARE * radius * _attack.slopes(evidence, at, labels, config.loss).sign())
        columns[name] = (~_attack.fooled(evidence, at, labels)).float()
    parts = Parts(tuple(f"{radius:.3g}" for radius in radii))
    return Answer(columns, parts=parts, notes=chosen.notes, doubts=(Doubt(_DOUBT),))


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the accuracy, averaged over the radii, in every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, M)``.
    """
    mean: np.ndarray = by_part(answer, config, weights).mean(1)
    return mean


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the accuracy at each radius in every resample, ``(draws, 6)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, M)``.
    """
    del config
    shares: np.ndarray = weights @ answer.table(*_COLUMNS) / weights.sum(1, keepdims=True)
    return shares


def effort(config: Config, task: Task) -> int:
    """Return the passes that one model costs beyond the shared ones.

    Args:
        config: Attack and number of examples.
        task: Gives the number of test examples.
    """
    each = _RADII + 2 if config.attack == "fgsm" else _RADII * (2 * _STEPS + 1)
    choice = _radius.effort(task, "linf") if config.largest is None else 0
    return min(config.examples, len(task.test)) * each + choice
