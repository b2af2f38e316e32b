"""Number of leaves of the decision tree distilled from a model: how much there is to read.

``values[d]`` is the number of leaves at depth ``d`` of the tree of `tree`; the sum is summarised. At a fixed depth
a tree of fewer leaves says the same with fewer rules, or says less: read it beside fidelity.

Source:
    Liu, Wang & Matwin, Improving the interpretability of deep neural networks with knowledge distillation, ICDM
    workshops 2018, arXiv:1812.10924.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.behaviours.transparency import _distilled
from whatelse.evidence import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, OVER = 1, "leaves", "lower", {"predicts"}, "layer"


@dataclass(frozen=True)
class Config:
    """Settings of the size of the distilled tree."""

    depth: int = param(5, "Largest depth of the tree, in splits.", low=1, high=30)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Tensor:
    """Return the number of leaves at each depth, from 0, ``(depth + 1,)``.

    Args:
        evidence: Gives the logits on train, and holds the fitted trees.
        config: Depth.
        rng: Not used; ties between splits are broken alike for every model.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    del rng
    return _distilled.trees(evidence, config.depth)["leaves"].float()


def summarise(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the number of leaves, ``(draws,)``.

    Args:
        values: What `measure` returned, ``(depth + 1,)``.
        counts: How often each depth counts, ``(draws, depth + 1)``.
    """
    total: np.ndarray = counts @ values.astype(np.float64)
    return total
