"""How much there is to read in the decision tree distilled from a model: its leaves, or what an answer takes.

``count`` *leaves* is the number of leaves of the tree of `tree`, which is the number of rules; *path length* the mean
number of decisions that a training example takes to its leaf, ``sum_l n_l depth_l / sum_l n_l``; *weights* the number
of input weights in all decisions: one a split of a hard tree, as many as there are inputs at every node of a soft one.
A row is a level of the tree, a column a depth that it is cut back to, from 2 to ``depth``, and the value what the level
adds to the count; the sum at ``depth`` is summarised, and every depth is a part. The number is exact.

Reading:
    At a fixed depth a tree of fewer leaves says the same with fewer rules, or says less: read it beside fidelity. A
    tree of depth ``d`` has at most ``2**d`` leaves; one far below was done early.

Cost:
    Nothing beside `tree`, whose fit it shares.

Limits:
    Counting is no measure of whether a person understands. The soft tree is full, so only *weights* tells it from
    another, and that only by its depth. A tree cut back is not the best tree of its size.

Source:
    Liu, Wang & Matwin, Improving the interpretability of deep neural networks with knowledge distillation, ICDM
    workshops 2018, arXiv:1812.10924; path length: Wu et al., Beyond sparsity: tree regularization of deep models for
    interpretability, AAAI 2018, arXiv:1711.06178.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from whatelse.answer import Answer
from whatelse.behaviours import _scale
from whatelse.behaviours.transparency import _distilled
from whatelse.evidence.cache import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = 3, "parts to read", "lower", {"predicts"}, "layer", "depth"
WORST, BLIND = None, None

_COLUMNS = {"leaves": "leaves", "path length": "lengths", "weights": "weights"}


@dataclass(frozen=True)
class Config:
    """Settings of the size of the distilled tree."""

    depth: int = param(5, "Largest depth of the tree, in splits; at most 12 for a soft one.", low=1, high=30)
    count: str = param("leaves", "What is counted.", choices=tuple(_COLUMNS))
    kind: str = param("regression", "What the tree is, and what it is fitted to.", choices=_distilled.KINDS)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return what each level, from 0, adds to the count at each depth: ``depth 2`` and so on.

    Args:
        evidence: Gives the logits on train, and holds the fitted trees.
        config: Depth, what is counted, and kind.
        rng: Not used; ties between splits are broken alike for every model.

    Raises:
        MissingExtraError: scikit-learn is not installed.
        NotMeasurableError: A soft tree deeper than 12.
    """
    del rng
    found = _distilled.trees(evidence, config.depth, config.kind)
    values = found[_COLUMNS[config.count]].float()
    flat = _scale.of_constant(evidence, float(values[:, -1].sum()))
    return Answer(
        _distilled.by_depth(values, config.depth),
        parts=_distilled.parts(config.depth),
        notes=_distilled.remarks(evidence, int(found["fitted"])) + flat.notes,
        doubts=flat.doubts,
        ends=flat.ends,
    )


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the count at the largest depth, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Which depth.
        weights: How often each level counts, ``(draws, depth + 1)``.
    """
    total: np.ndarray = weights @ answer[_distilled.column(config.depth)].astype(np.float64)
    return total


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the count at every depth, ``(draws, depths)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each level counts, ``(draws, depth + 1)``.
    """
    del config
    depths = [_distilled.column(int(depth)) for depth in answer.parts.names]
    totals: np.ndarray = weights @ answer.table(*depths).astype(np.float64)
    return totals
