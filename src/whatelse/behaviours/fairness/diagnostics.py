"""Why a group is at risk from compression: how near it lies to the boundary, or how steep or bent its loss is.

Compression moves the parameters by some distance. To second order, the loss of group ``g`` then grows by at most
``norm(gradient) * distance + eigenvalue / 2 * distance**2``, gradient and largest Hessian eigenvalue being those of the
group's mean cross-entropy with respect to the parameters. By ``what``:

* ``closeness``: one minus the softmax margin, the largest less the second largest probability; the group's mean. It
  bounds the curvature, and needs neither labels nor derivatives.
* ``gradient``: ``norm(G)`` with ``G`` the group's mean gradient. Of example ``i`` the value is ``dot(gradient_i, G) /
  norm(G)``, whose mean over the group is the norm, and whose resampled mean follows that of the norm to first order.
* ``hessian``: the largest eigenvalue, by power iteration on Hessian-vector products. Of example ``i`` the value is
  ``v' H_i v`` with ``v`` the group's unit eigenvector, whose mean over the group is the eigenvalue, and whose resampled
  mean follows that of the eigenvalue to first order.

Scores are matched to the loudness of the baseline's: to be surer of everything moves no boundary. The number is the
largest over groups with at least ``least`` test examples; the parts are the groups. ``gradient`` and
``hessian`` need a model that opens and differentiates; there each group is represented by ``examples`` of its test
examples, evenly apart.

Reading:
    Larger: the group is more exposed to compression. It explains a harm that other fairness behaviours show, and proves
    none. The largest of several and both norms are above zero by chance alone, more so in small groups: compare groups
    with care, read the change, never the distance from zero.

Cost:
    ``closeness`` reads the shared forward pass. ``gradient``: for each group 2 forward and 3 backward passes over its
    ``examples``. ``hessian``: for each group up to ``2 * steps`` forward and twice as many backward passes over them,
    and 1 forward and 3 backward to finish.

Limits:
    Derivatives depend on how parameters are scaled and how many there are: models of other widths are not comparable,
    which a note says, nor are those whose weights are no longer parameters. Directions are those of the sample and are
    held fixed on resamples: intervals do not show how small groups bias a norm upwards, and are too narrow where the
    two largest eigenvalues are close. ReLU networks have no second derivative across their kinks. Eigenvalues that did
    not settle are noted; they are too small.

Source:
    Tran, Fioretto, Kim & Naidu, Pruning has a disparate impact on model accuracy, NeurIPS 2022, arXiv:2205.13574; the
    bound is quoted from memory of that paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from whatelse.answer import Answer, Parts
from whatelse.behaviours.fairness import _curvature, _groups
from whatelse.evidence.cache import Evidence
from whatelse.evidence.loudness import matched
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = (
    2,
    "risk factor",
    "lower",
    {"predicts", "groups"},
    "test example",
    "group",
)
WORST, BLIND = None, None

# Relative change between two iterations at which an eigenvalue has settled: far below its spread on resamples.
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Config:
    """Settings of the diagnostics."""

    what: str = param("closeness", "Which risk factor.", choices=("closeness", "gradient", "hessian"))
    group: str = param("", _groups.HELP)
    least: int = param(30, "Test examples below which a group is left out.", low=1)
    examples: int = param(256, "Test examples of each group that derivatives are of, evenly apart, at the most.", low=1)
    steps: int = param(50, "Power iterations at the most.", low=1)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return ``factor``, what each example adds to that of its group, and ``group``, its code, -1 if left out.

    Args:
        evidence: Gives the logits, the groups and the model.
        config: Which factor and grouping.
        rng: Draws the directions with which power iteration begins.

    Raises:
        NotMeasurableError: The task has no such grouping, every group is too small, or derivatives are asked for and
            the model does not open, does not differentiate or has no parameters that can be differentiated.
    """
    found = _groups.grouping(evidence, config.group, config.least)
    parts = Parts(tuple(found.kept_names()))
    if config.what == "closeness":
        best = matched(evidence, evidence.logits("test")).softmax(1).topk(2, 1).values
        columns = {"factor": 1 - best[:, 0] + best[:, 1], "group": found.kept().float()}
        return Answer(columns, parts=parts, notes=found.notes)
    model, notes = _curvature.opened(evidence)
    notes, factor, chosen = found.notes + notes, [], []
    for code in found.large:
        rows = torch.nonzero(found.code == code).flatten()
        rows = rows[torch.linspace(0, len(rows) - 1, min(len(rows), config.examples)).round().long()]
        each, unsettled = _derivatives(_loss(evidence, model, rows), config, found.names[code], rng)
        factor.append(each)
        chosen.append(rows)
        notes += unsettled
    rows = torch.cat(chosen)
    columns = {"factor": torch.cat(factor), "group": found.code[rows].float()}
    return Answer(columns, rows=rows, parts=parts, notes=notes)


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the largest factor of any group in every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, M)``.
    """
    most: np.ndarray = np.fmax.reduce(by_part(answer, config, weights), axis=1)
    return most


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the factor of every group in every resample, ``(draws, groups)``; NaN where one is empty.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, M)``.
    """
    del config
    return _groups.rates(answer["factor"], answer["group"], weights)


def effort(config: Config, task: Task) -> int:
    """Return how many passes it costs beyond the shared ones, of one example forward or backward, at the most.

    Args:
        config: Which factor, and how many iterations.
        task: Gives the number of test examples, the most that all groups have together.
    """
    each = {"closeness": 0, "gradient": 5, "hessian": 2 * 3 * config.steps + 4}[config.what]
    return each * len(task.test)


def _loss(evidence: Evidence, model: nn.Module, rows: Tensor) -> _curvature.Loss:
    test = evidence.split("test")
    parameters = tuple(p for p in model.parameters() if p.requires_grad)
    return _curvature.Loss(evidence, model, parameters, test.inputs[rows], test.targets[rows])


def _derivatives(
    loss: _curvature.Loss, config: Config, name: str, rng: torch.Generator
) -> tuple[Tensor, tuple[str, ...]]:
    """Return what each example adds to the factor of its group, ``(M,)``, and notes."""
    if config.what == "gradient":
        _, direction = _curvature.unit(loss.gradient())
        return loss.slopes(direction), ()
    value, direction, settled = _curvature.top(loss, config.steps, _TOLERANCE, rng)
    unsettled = f"{name}: the eigenvalue {value:.3g} did not settle in {config.steps} steps"
    return loss.bends(direction), () if settled else (unsettled,)
