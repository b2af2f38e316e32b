"""How fast a model loses the class when what its attribution map calls important is removed, or finds it when shown.

Units (pixels with all their channels, columns, tokens) are ordered by the map of the class that the baseline predicts,
the most important first: by the signed value where a map says what a unit contributes (*gradient x input*, *integrated
gradients*, *grad-cam*, *occlusion*, *kernel shap*), by the absolute value where it says how sensitive the model is
(*gradient*, *smoothgrad*). ``p_j`` is the model's probability of that class when the first ``j / fractions`` of the
units are taken from a reference (*deletion*), or all others are (*insertion*), for ``j`` from 0 to ``fractions``. The
area under this curve (trapezoids) is *insertion*; *deletion* is ``p_0`` minus it, the mean fall, so that in both more
is better, and a model that never believed in the class gains nothing by it. References: the *mean* of train, *zero* or
the bound next to it, or the image *blurred* (insertion into that hints at less); hidden tokens become padding. A map
that is all zero or not finite gets the worst score (-1; *insertion*: 0) and is counted in a note.

Reading:
    It is faithfulness of the map to its own model, not agreement with the baseline. *deletion*, within [-1, 1], is 0
    where removing changes nothing, and below where it makes the model surer; *insertion*, within [0, 1], begins at the
    probability of the class without any input. An area says nothing alone, as it depends on how many units suffice to
    change the answer: read it beside the random model, and beside another ``map``.

Cost:
    The map of ``examples`` inputs, then ``fractions + 1`` passes forward of each.

Limits:
    Inputs with units removed are like none that the model was trained on: part of a difference is how a model takes
    such inputs, and a model that is less confident has less to lose. Ties fall by position. A Grad-CAM map that is zero
    throughout costs any model its score. The needs are those of the default map; with *occlusion* or *kernel shap* a
    model that only predicts serves.

Source:
    Petsiuk et al., RISE: Randomized input sampling for explanation of black-box models, BMVC 2018, arXiv:1806.07421;
    mean fall: Samek et al., Evaluating the visualization of what a deep neural network has learned, IEEE
    TNNLS 2017, arXiv:1509.06321.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer
from whatelse.evidence.cache import Evidence
from whatelse.evidence.loudness import matched
from whatelse.explainers import hide
from whatelse.explainers import maps as _maps
from whatelse.settings import param
from whatelse.statistics import summaries
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = 3, "area", "higher", {"predicts", "differentiates"}, "test example"
WORST, BLIND = -1.0, 0.0


@dataclass(frozen=True)
class Config:
    """Settings of deletion and insertion."""

    score: str = param("deletion", "What is done with the important units.", choices=("deletion", "insertion"))
    map: str = param("gradient x input", "Which attribution map.", choices=_maps.KINDS)
    steps: int = param(32, "Gradients along the path of integrated gradients.", low=32, high=1000)
    reference: str = param("mean", "What stands where a unit is hidden.", choices=hide.REFERENCES)
    fractions: int = param(10, "Steps of the curve.", low=1, high=1000)
    examples: int = param(300, "Test examples, from the first; 0 takes all.", low=0)
    coalitions: int = param(0, "Coalitions of kernel shap; 0: eight a part, 254 or more.", low=0, high=1_000_000)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return the ``area`` of each example, in [-1, 1], ``(M,)``; notes tell of useless maps and completeness.

    Args:
        evidence: Gives map and answers.
        config: Which map, which reference, how many steps and examples.
        rng: Not used; the noise of smoothgrad has a seed of its own.

    Raises:
        MissingExtraError: The map needs Captum, which is not installed.
        NotMeasurableError: The model does not have such a map, or the inputs not such a reference, or an
            answer to hidden parts is not finite.
    """
    del rng
    asked = _maps.Asked(config.map, config.steps, config.examples, config.coalitions)
    worst = -1.0 if config.score == "deletion" else 0.0
    found, lost = [], 0
    for rows, maps in _maps.chunks(evidence, asked):
        useless = _maps.useless(maps)
        lost += int(useless.sum())
        area = _area(evidence, config, rows, maps.nan_to_num())
        found.append(torch.where(useless, worst, area).float())
    values = torch.cat(found)
    notes = [f"{lost} of {len(values)} maps are all zero or not finite: scored as worst"] if lost else []
    checked = _maps.check(evidence, asked)
    return Answer(
        {"area": values},
        notes=(*notes, *checked.notes),
        doubts=checked.doubts,
        ends={"worst": worst, "blind": 0.0 if config.score == "deletion" else None},
    )


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean area of every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, M)``.
    """
    del config
    return summaries.mean(answer["area"], weights)


def effort(config: Config, task: Task) -> int:
    """Return how many passes it costs beyond the shared ones, of one example forward or backward, at the most.

    Args:
        config: Which map, how many fractions and examples.
        task: Gives the test examples.
    """
    asked = _maps.Asked(config.map, config.steps, config.examples, config.coalitions)
    return _maps.effort(asked, task) + (config.fractions + 1) * _maps.first(task, config.examples)


def _area(evidence: Evidence, config: Config, rows: slice, maps: Tensor) -> Tensor:
    inputs, labels = evidence.split("test").inputs[rows], evidence.explained("test")[rows]
    others = hide.reference(evidence, config.reference, inputs)
    place, count = _order(evidence, rows, hide.worth(evidence, maps, config.map))
    curve = []
    for j in range(config.fractions + 1):
        first = place < (count * j / config.fractions).round()[:, None]
        hidden = first if config.score == "deletion" else ~first
        answers = matched(evidence, hide.answers(evidence, hide.exchanged(evidence, inputs, others, hidden)))
        curve.append(answers.softmax(1).gather(1, labels[:, None])[:, 0])
    under = torch.trapezoid(torch.stack(curve), dim=0) / config.fractions
    return curve[0] - under if config.score == "deletion" else under


def _order(evidence: Evidence, rows: slice, worth: Tensor) -> tuple[Tensor, Tensor]:
    """Return the place of each unit, from 0 for the most important, padding last, and the number of real units."""
    if evidence.task.modality == "tokens":
        told = _maps.told(evidence, rows)
        worth, count = worth.where(told, -torch.inf), told.sum(1)
    else:
        count = torch.full((len(worth),), worth.shape[1])
    order = worth.argsort(dim=1, descending=True, stable=True)
    places = torch.arange(worth.shape[1]).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places), count
