"""How far the attribution map of the compressed model agrees with the baseline's, on the same inputs.

Both models explain the class that the baseline predicts, by the log-odds margin. Maps: *gradient x input* of the
margin; *gradient*; *integrated gradients* from zero, or the bound next to it, in ``steps`` Gauss-Legendre points;
*smoothgrad*, the gradient averaged over 8 noisy copies, the same for both models; *grad-cam* at the last convolution,
upsampled, only between nets with the same convolutions; *occlusion*, the fall of the margin when a patch, a column or a
token is hidden; *kernel shap*, the Shapley values of the same parts. These two ask nothing but answers. Of texts there
is one value for each token.

Scores of an example: *spearman*, the rank correlation of the absolute maps, ties at average ranks, over the features
that are not zero in both maps (a blank pixel is zero whatever the model: with them two unrelated models agree to .9 on
digits); *cosine* of the signed maps; *top 10* (also *top*) and *top 5*, intersection over union of the tenth or
twentieth of the features that rank highest in absolute value; *ssim*, structural similarity of the absolute maps of
images, summed over channels, pooled to at least 16 cells a side, each divided by its maximum; *sign*, the share of
features with equal sign among those that are not zero in both. A map that is all zero or not finite gets the worst
score (-1; *top* and *sign*: 0) and is counted in a note.

Reading:
    Two trainings of the same network agree far from perfectly: read the number between the twin and the random model.
    Two unrelated maps overlap by ``k / (2 - k)`` in the highest share ``k``, which is noted. It is consistency with
    the baseline, not quality: a better map may agree less.

Cost:
    *gradient x input* and *gradient*: the pass forward and backward that all behaviours share. Integrated gradients
    ``steps``, smoothgrad 8, Grad-CAM one pass forward and backward an example and model, occlusion one forward for
    every patch, column or token, kernel shap eight for each and no fewer than 254, of eight parts all. Maps are kept
    and shared by this family; all scores come from the same two. ``examples`` bounds it all.

Limits:
    Raw gradients of deep networks agree little even between trainings; smoothgrad is steadier. Absolute maps hide a
    change of sign: see *cosine* or *sign*. A Grad-CAM map that is zero throughout costs even a model like the baseline
    its score. The needs are those of the default map; with *occlusion* or *kernel shap* a model that only predicts
    serves. Kernel shap of more parts than can be asked in all their coalitions is an estimate; both models have the
    same error of drawing. Of texts there are *gradient*, *gradient x input* and these two. Integrated gradients that
    miss more than 5 % of the change of the margin are not trusted.

Source:
    Park et al., Attribution preservation in network compression for reliable network interpretation, NeurIPS 2020,
    arXiv:2010.15054; rank correlation of absolute maps, structural similarity: Adebayo et al., Sanity checks for
    saliency maps, NeurIPS 2018, arXiv:1810.03292; gradient times input: Shrikumar et al. 2016, arXiv:1605.01713;
    integrated gradients: Sundararajan et al., ICML 2017, arXiv:1703.01365; smoothgrad: Smilkov et al. 2017,
    arXiv:1706.03825; Grad-CAM: Selvaraju et al., ICCV 2017, arXiv:1610.02391; occlusion: Zeiler & Fergus, ECCV 2014,
    arXiv:1311.2901; kernel shap: Lundberg & Lee, NeurIPS 2017, arXiv:1705.07874, and Covert & Lee, AISTATS 2021,
    arXiv:2012.01536.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer
from whatelse.errors import NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.explainers import maps, scores
from whatelse.settings import param
from whatelse.tasks.task import Task

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS = (
    2,
    "agreement",
    "higher",
    {"predicts", "differentiates"},
    "test example",
)
WORST, BLIND = -1.0, 0.0
RANGE = (-1.0, 1.0)
_TOP = {"top": 0.1, "top 10": 0.1, "top 5": 0.05}
# How far two maps agree that have nothing to do with each other; of structures it is not known.
_UNRELATED: dict[str, float | None] = {name: share / (2 - share) for name, share in _TOP.items()}
_UNRELATED |= {"spearman": 0.0, "cosine": 0.0, "sign": 0.5, "ssim": None}
_SCORES = ("spearman", "cosine", "top", "top 5", "top 10", "ssim", "sign")


@dataclass(frozen=True)
class Config:
    """Settings of the agreement of attributions."""

    score: str = param("spearman", "How two maps are compared.", choices=_SCORES)
    map: str = param("gradient x input", "Which attribution map.", choices=maps.KINDS)
    steps: int = param(32, "Gradients along the path of integrated gradients.", low=32, high=1000)
    examples: int = param(0, "Test examples, from the first; 0 takes all.", low=0)
    coalitions: int = param(0, "Coalitions of kernel shap; 0: eight a part, 254 or more.", low=0, high=1_000_000)


def compare(baseline: Evidence, candidate: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return the ``agreement`` of the two maps of each test example, ``(N,)``, or of the first ``examples``.

    Notes tell of useless maps, chance and completeness.

    Args:
        baseline: Evidence of the model before compression.
        candidate: Evidence of the compressed model.
        config: Which map, which score, how many examples.
        rng: Not used; the noise of smoothgrad has a seed of its own.

    Raises:
        MissingExtraError: The map needs Captum, which is not installed.
        NotMeasurableError: One of the models does not have such a map, or its inputs not such a score.
    """
    del rng
    _check(candidate, config)
    asked = maps.Asked(config.map, config.steps, config.examples, config.coalitions)
    worst = 0.0 if config.score in {*_TOP, "sign"} else -1.0
    found, lost = [], 0
    for (rows, mine), (_, theirs) in zip(maps.chunks(baseline, asked), maps.chunks(candidate, asked), strict=True):
        useless = maps.useless(mine) | maps.useless(theirs)
        lost += int(useless.sum())
        score = _score(config.score, candidate, rows)
        found.append(torch.where(useless, worst, score(mine.nan_to_num(), theirs.nan_to_num())).float())
    values = torch.cat(found)
    notes = [f"{lost} of {len(values)} maps are all zero or not finite: scored as worst"] if lost else []
    if config.score in _TOP:
        told = f"two unrelated maps overlap by {_UNRELATED[config.score]:.3f} in their top"
        notes.append(f"{told} {100 * _TOP[config.score]:.0f} %")
    checked = [maps.check(evidence, asked) for evidence in (baseline, candidate)]
    return Answer(
        {"agreement": values},
        notes=(*notes, *(note for one in checked for note in one.notes)),
        doubts=tuple(doubt for one in checked for doubt in one.doubts),
        ends={"worst": worst, "blind": _UNRELATED[config.score]},
    )


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean agreement of every resample, ``(draws,)``.

    Args:
        answer: What `compare` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    mean: np.ndarray = weights @ answer["agreement"] / weights.sum(1)
    return mean


def effort(config: Config, task: Task) -> int:
    """Return how many passes it costs beyond the shared ones, of one example forward or backward, at the most.

    Those of both models: the maps of the baseline are kept.

    Args:
        config: Which map, of how many examples.
        task: Gives the test examples.
    """
    return 2 * maps.effort(maps.Asked(config.map, config.steps, config.examples, config.coalitions), task)


def _check(evidence: Evidence, config: Config) -> None:
    modality = evidence.task.modality
    if config.score == "ssim" and modality != "images":
        raise NotMeasurableError(f"ssim needs images; task {evidence.task.name} is of {modality}")
    unsigned = config.map == "grad-cam" or (config.map == "gradient" and modality == "tokens")
    if config.score == "sign" and unsigned:
        raise NotMeasurableError(f"sign needs maps that have one; {config.map} of {modality} is never negative")


def _score(name: str, evidence: Evidence, rows: slice) -> Callable[[Tensor, Tensor], Tensor]:
    if name in _TOP:
        return scores.top(_TOP[name], maps.told(evidence, rows))
    if name == "ssim":
        return scores.ssim(evidence.task.shape)
    return {"spearman": scores.spearman, "cosine": scores.cosine, "sign": scores.sign}[name]
