"""How well an attribution map finds the part of the input where the evidence is known to lie.

Map: absolute, of the log-odds margin of the class that the baseline predicts: *gradient x input*, *gradient*,
*integrated gradients*, *smoothgrad*, *grad-cam*, *occlusion* or *kernel shap*, as in `agreement`. Scores of an example
against its mask: *auc*, area under the ROC curve of the features' map values (chance: .5), ties counted half;
*pointing*, whether the largest value lies inside, as a share where several tie; *energy*, share of the map's sum that
lies inside.

The examples are the same for every model: all, also those that the model gets wrong, or those that the baseline gets
right (the source scores only those that the model itself gets right, which rewards failing on hard ones). A map that
is all zero or not finite scores 0 and is counted in a note.

Reading:
    This is quality, not agreement with the baseline. Where the evidence is also brighter than the rest, gradient times
    input finds it without any training: read the number above that of the random model.

Cost:
    That of the map, which is kept and shared with `agreement`; the default needs only the shared pass forward and
    backward.

Limits:
    It measures the map and the model at once: a model that looks elsewhere for good reasons scores low. Masks must be
    complete. The needs are those of the default map; with *occlusion* or *kernel shap* a model that only predicts
    serves.

Source:
    Park et al., Attribution preservation in network compression for reliable network interpretation, NeurIPS 2020,
    arXiv:2010.15054; pointing game: Zhang et al., Top-down neural attention by excitation backprop, ECCV 2016,
    arXiv:1608.00507.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.explainers import maps as _maps
from whatelse.settings import param
from whatelse.statistics import summaries
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = (
    2,
    "localization score",
    "higher",
    {"predicts", "differentiates", "masks"},
    "test example",
)
WORST, BLIND = 0.0, 0.5


@dataclass(frozen=True)
class Config:
    """Settings of the localization."""

    score: str = param("auc", "How a map is held against its mask.", choices=("auc", "pointing", "energy"))
    map: str = param("gradient x input", "Which attribution map.", choices=_maps.KINDS)
    steps: int = param(32, "Gradients along the path of integrated gradients.", low=32, high=1000)
    examples: int = param(0, "Test examples, from the first; 0 takes all.", low=0)
    coalitions: int = param(0, "Coalitions of kernel shap; 0: eight a part, 254 or more.", low=0, high=1_000_000)
    of: str = param("all", "Which test examples count.", choices=("all", "baseline right"))


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return the localization ``score`` of each test example, in [0, 1], ``(N,)``, or of the first ``examples``.

    Where only those count that the baseline gets right, ``counts`` is 1 for these and 0 for others, ``(N,)``. Notes
    tell of useless maps and completeness.

    Args:
        evidence: Gives the map and the masks.
        config: Which map, which score, which examples.
        rng: Not used; the noise of smoothgrad has a seed of its own.

    Raises:
        MissingExtraError: The map needs Captum, which is not installed.
        NotMeasurableError: The task has no masks, one covers nothing or everything, the model does not have such a
            map, or the baseline gets nothing right.
    """
    del rng
    inside = _inside(evidence)
    asked = _maps.Asked(config.map, config.steps, config.examples, config.coalitions)
    score = {"auc": _auc, "pointing": _pointing, "energy": _energy}[config.score]
    found, lost = [], 0
    for rows, signed in _maps.chunks(evidence, asked):
        maps = signed.abs()
        useless = _maps.useless(maps)
        lost += int(useless.sum())
        found.append(torch.where(useless, 0.0, score(maps.nan_to_num(), inside[rows])).float())
    values = torch.cat(found)
    notes = [f"{lost} of {len(values)} maps are all zero or not finite: scored 0"] if lost else []
    checked = _maps.check(evidence, asked)
    return Answer(
        {"score": values} | ({} if config.of == "all" else {"counts": _baseline_right(evidence, len(values))}),
        notes=(*notes, *checked.notes),
        doubts=checked.doubts,
        # What a map that knows nothing scores: half of the pairs, or the part of the input that lies inside.
        ends={"blind": 0.5 if config.score == "auc" else float(inside.float().mean())},
    )


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean localization score of every resample, ``(draws,)``; NaN where no example in it counts.

    Args:
        answer: What `measure` returned.
        config: Which examples count.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    if config.of == "all":
        mean: np.ndarray = weights @ answer["score"] / weights.sum(1)
        return mean
    return summaries.mean(answer["score"], weights * answer["counts"])


def effort(config: Config, task: Task) -> int:
    """Return how many passes it costs beyond the shared ones, of one example forward or backward, at the most.

    Args:
        config: Which map, of how many examples.
        task: Gives the test examples.
    """
    return _maps.effort(_maps.Asked(config.map, config.steps, config.examples, config.coalitions), task)


def _baseline_right(evidence: Evidence, first: int) -> Tensor:
    right = (evidence.explained("test") == evidence.split("test").targets)[:first]
    if not bool(right.any()):
        raise NotMeasurableError(f"needs test examples that the baseline gets right; of {len(right)} there are none")
    return right.float()


def _inside(evidence: Evidence) -> Tensor:
    masks = evidence.split("test").masks
    if masks is None:
        raise NotMeasurableError(f"needs masks of where the evidence lies; task {evidence.task.name} has none")
    inside = masks.flatten(1)
    blind = inside.all(1) | ~inside.any(1)
    if bool(blind.any()):
        raise NotMeasurableError(f"needs masks with an inside and an outside; row {int(blind.nonzero()[0])} lacks one")
    return inside


def _auc(maps: Tensor, inside: Tensor) -> Tensor:
    positive, negative = inside.sum(1), (~inside).sum(1)
    above = (_maps.ranks(maps) * inside).sum(1) - positive * (positive + 1) / 2
    return above / (positive * negative)


def _pointing(maps: Tensor, inside: Tensor) -> Tensor:
    largest = maps == maps.amax(1, keepdim=True)
    return (largest & inside).sum(1) / largest.sum(1)


def _energy(maps: Tensor, inside: Tensor) -> Tensor:
    return (maps * inside).sum(1) / maps.sum(1).clamp(min=torch.finfo(maps.dtype).tiny)
