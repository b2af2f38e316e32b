"""How far the attribution map of the compressed model agrees with the baseline's, on the same inputs.

Map: gradient of the log-odds margin times input; both models explain the class that the baseline predicts. Scores
of an example: *spearman*, the rank correlation of the absolute maps, ties at average ranks, over the features that
are not zero in both maps (a blank pixel is zero whatever the model: with them two unrelated models agree to .9 on
digits); *cosine* of the signed maps; *top*, intersection over union of the tenth of the features that rank highest in
absolute value (two unrelated maps: about .05). A map that is all zero or not finite gets the worst score (-1; *top*:
0) and is counted in a note.
Two trainings of the same network agree far from perfectly: read the number between the twin and the random model.
This is consistency with the baseline, not quality.

Source:
    Park et al., Attribution preservation in network compression for reliable network interpretation, NeurIPS 2020,
    arXiv:2010.15054; rank correlation of absolute maps: Adebayo et al., Sanity checks for saliency maps, NeurIPS
    2018, arXiv:1810.03292; gradient times input: Shrikumar et al. 2016, arXiv:1605.01713.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from whatelse.behaviours.attribution import _maps
from whatelse.evidence import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, OVER = 1, "agreement", "higher", {"predicts", "differentiates"}, "test example"
_TOP = 0.1


@dataclass(frozen=True)
class Config:
    """Settings of the agreement of attributions."""

    score: str = param("spearman", "How two maps are compared.", choices=("spearman", "cosine", "top"))


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Tensor:
    """Return the agreement of the two maps of each test example, ``(N,)``.

    Args:
        baseline: Evidence of the model before compression.
        candidate: Evidence of the compressed model; takes the note that counts useless maps.
        config: Which score.
        rng: Not used; the behaviour is deterministic.

    Raises:
        NotMeasurableError: One of the models does not differentiate.
    """
    del rng
    mine, theirs = _maps.gradient(baseline), _maps.gradient(candidate)
    useless = _maps.useless(mine) | _maps.useless(theirs)
    if bool(useless.any()):
        candidate.note(f"{int(useless.sum())} of {len(useless)} maps are all zero or not finite: scored as worst")
    score = {"spearman": _spearman, "cosine": _cosine, "top": _top}[config.score]
    worst = 0.0 if config.score == "top" else -1.0
    return torch.where(useless, worst, score(mine.nan_to_num(), theirs.nan_to_num())).float()


def summarise(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the mean agreement of every resample, ``(draws,)``.

    Args:
        values: What `compare` returned, ``(N,)``.
        counts: How often each example stands in each resample, ``(draws, N)``.
    """
    mean: np.ndarray = counts @ values / counts.sum(1)
    return mean


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return functional.cosine_similarity(a, b, dim=1)


def _spearman(a: Tensor, b: Tensor) -> Tensor:
    kept = (a != 0) | (b != 0)
    x, y = (_centered_ranks(maps.abs(), kept) for maps in (a, b))
    scale = (x.square().sum(1) * y.square().sum(1)).sqrt()
    # A map of one value throughout ranks nothing: it is as bad as none.
    return torch.where(scale > 0, (x * y).sum(1) / scale.clamp(min=1e-12), -1.0)


def _centered_ranks(maps: Tensor, kept: Tensor) -> Tensor:
    # What is left out ranks below everything else, which shifts the other ranks by a constant.
    ranks = _maps.ranks(torch.where(kept, maps, -1.0))
    mean = (ranks * kept).sum(1, keepdim=True) / kept.sum(1, keepdim=True).clamp(min=1)
    return (ranks - mean) * kept


def _top(a: Tensor, b: Tensor) -> Tensor:
    x, y = _highest(a.abs()), _highest(b.abs())
    return (x & y).sum(1) / (x | y).sum(1).clamp(min=1)


def _highest(maps: Tensor) -> Tensor:
    # All that tie with the last of the top belong to it, so that no order of the features decides; zeros never do.
    size = max(1, round(_TOP * maps.shape[1]))
    return (maps >= maps.topk(size, dim=1).values[:, -1:]) & (maps > 0)
