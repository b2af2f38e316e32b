"""How much of a model a small decision tree can take over: accuracy, fidelity or gain of the tree distilled from it.

A regression tree of limited depth is fitted to the model's logits on train (squared error summed over classes); its
class is the largest mean logit of the leaf. Scores of a test example: *accuracy*, whether the distilled tree is
right; *fidelity*, whether it says what its model says; *gain*, accuracy of the distilled tree minus that of a
classification tree grown on the recorded labels at the same depth, which is what distilling is worth. Logits, since
the probabilities of a model that fits its train split carry nothing beyond the labels.

Source:
    Liu, Wang & Matwin, Improving the interpretability of deep neural networks with knowledge distillation, ICDM
    workshops 2018, arXiv:1812.10924; soft trees: Frosst & Hinton 2017, arXiv:1711.09784.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.behaviours.transparency import _distilled
from whatelse.evidence import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, OVER = 1, "accuracy", "higher", {"predicts"}, "test example"


@dataclass(frozen=True)
class Config:
    """Settings of the distilled tree."""

    depth: int = param(5, "Largest depth of a tree, in splits.", low=1, high=30)
    score: str = param("accuracy", "What of the tree is scored.", choices=("accuracy", "fidelity", "gain"))


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Tensor:
    """Return the score of each test example, 0 or 1 (*gain*: -1, 0 or 1), ``(N,)``.

    Args:
        evidence: Gives the logits on train, and holds the fitted trees.
        config: Depth and score.
        rng: Not used; ties between splits are broken alike for every model.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    del rng
    found = _distilled.trees(evidence, config.depth)
    targets = evidence.split("test").targets
    right = (found["distilled"] == targets).float()
    if config.score == "accuracy":
        return right
    if config.score == "fidelity":
        return (found["distilled"] == evidence.predictions("test")).float()
    return right - (found["grown"] == targets).float()


def summarise(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the mean score of every resample, ``(draws,)``.

    Args:
        values: What `measure` returned, ``(N,)``.
        counts: How often each example stands in each resample, ``(draws, N)``.
    """
    mean: np.ndarray = counts @ values / counts.sum(1)
    return mean
