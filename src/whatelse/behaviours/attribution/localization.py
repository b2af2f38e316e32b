"""How well an attribution map finds the part of the input where the evidence is known to lie.

Map: absolute gradient of the log-odds margin, times input or alone, of the class that the baseline predicts. Scores
of an example against its mask: *auc*, area under the ROC curve of the features' map values (chance: .5), ties
counted half; *pointing*, whether the largest value lies inside, as a share where several tie; *energy*, share of the
map's sum that lies inside. All examples count, also those that the model gets wrong (the source scores only those
it gets right, which rewards failing on hard ones). A map that is all zero or not finite scores 0 and is counted in
a note. This is quality, not agreement with the baseline. Where the evidence is also brighter than the rest, gradient
times input finds it without any training: read the number above that of the random model.

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

from whatelse.behaviours.attribution import _maps
from whatelse.errors import NotMeasurableError
from whatelse.evidence import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, OVER = (
    1,
    "localization score",
    "higher",
    {"predicts", "differentiates", "masks"},
    "test example",
)


@dataclass(frozen=True)
class Config:
    """Settings of the localization."""

    score: str = param("auc", "How a map is held against its mask.", choices=("auc", "pointing", "energy"))
    map: str = param("gradient x input", "Which attribution map.", choices=("gradient x input", "gradient"))


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Tensor:
    """Return the localization score of each test example, in [0, 1], ``(N,)``.

    Args:
        evidence: Gives the gradient and the masks, and takes the note that counts useless maps.
        config: Which map and which score.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: The task has no masks, one covers nothing or everything, or the model does not
            differentiate.
    """
    del rng
    inside = _inside(evidence)
    maps = _maps.gradient(evidence, times_input=config.map == "gradient x input").abs()
    useless = _maps.useless(maps)
    if bool(useless.any()):
        evidence.note(f"{int(useless.sum())} of {len(useless)} maps are all zero or not finite: scored 0")
    score = {"auc": _auc, "pointing": _pointing, "energy": _energy}[config.score]
    return torch.where(useless, 0.0, score(maps.nan_to_num(), inside)).float()


def summarise(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the mean localization score of every resample, ``(draws,)``.

    Args:
        values: What `measure` returned, ``(N,)``.
        counts: How often each example stands in each resample, ``(draws, N)``.
    """
    mean: np.ndarray = counts @ values / counts.sum(1)
    return mean


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
