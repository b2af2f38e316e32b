"""How much of a model a small decision tree can take over: accuracy, fidelity or gain of the tree distilled from it.

With ``kind`` *regression* one multi-output regression tree of limited depth is fitted to the model's logits on train,
less their mean over classes (squared error summed over classes); its class is the largest mean logit of the leaf.
Logits, since the probabilities of a model that fits its train split carry nothing beyond the labels. *classification*
fits a classification tree (Gini) to the model's predicted classes; *soft* trains a tree of soft decisions, a filter
over all inputs at every node, on the model's probabilities, and reads the mixture of its leaves. Scores of a test
example: *accuracy*, whether the distilled tree is right; *fidelity*, whether it says what its model says; *gain*,
accuracy of the distilled tree minus that of a tree of the same depth fitted to the recorded labels (soft if the
distilled one is), which is what distilling is worth.

A column is the score of every example by the tree cut back to a depth, from 2 to ``depth``; the mean at ``depth`` is
summarised, and every depth is a part. Trees grow greedily, so one fit holds the trees of all smaller
depths; an inner node answers with the mean of the examples that reach it. Of texts a tree asks how often a token
occurs.

Reading:
    Accuracy close to the model's own means that a few rules say all that it says on this task. A tree can be accurate
    without saying what its model says: read fidelity beside accuracy. A gain of zero means that the same rules could
    have been had from the labels, without a model.

Cost:
    One forward pass of each train and test example, shared with every behaviour; no backward pass. One fit of a tree
    a model, shared by all scores and by `size`, ``O(N log N)`` for each feature and level; a second one for *gain*. A
    soft tree is trained for 30 epochs. Fitted are at most 16 million input values, 5,208 images of 3x32x32: of wider
    or larger data a fixed sample of train, which is noted.

Limits:
    A tree over raw pixels is a poor student of an image model: that a tree cannot follow a model does not mean that
    nobody can. Which of two equally good splits is taken is decided alike for every model, and in an order that depends
    on the depth: trees cut back from another ``depth`` may differ where splits tie. Soft trees are taught at
    temperature 1, with scores as loud as the baseline's, and read a filter over every input at every node: more
    faithful, and hardly read at a glance.

Source:
    Liu, Wang & Matwin, Improving the interpretability of deep neural networks with knowledge distillation, ICDM
    workshops 2018, arXiv:1812.10924; soft trees: Frosst & Hinton 2017, arXiv:1711.09784; trees on a model's
    predictions and their fidelity: Craven & Shavlik, NIPS 1995.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whatelse.answer import Answer, Shown
from whatelse.behaviours import _scale
from whatelse.behaviours.transparency import _distilled
from whatelse.evidence.cache import Evidence
from whatelse.settings import param

VERSION, UNIT, BETTER, NEEDS, UNIT_OF_ANALYSIS, PARTS = 3, "accuracy", "higher", {"predicts"}, "test example", "depth"
WORST, BLIND = 0.0, None


@dataclass(frozen=True)
class Config:
    """Settings of the distilled tree."""

    depth: int = param(5, "Largest depth of a tree, in splits; at most 12 for a soft one.", low=1, high=30)
    score: str = param("accuracy", "What of the tree is scored.", choices=("accuracy", "fidelity", "gain"))
    kind: str = param("regression", "What the tree is, and what it is fitted to.", choices=_distilled.KINDS)


def measure(evidence: Evidence, config: Config, rng: torch.Generator) -> Answer:
    """Return the score of each test example at each depth, 0 or 1 (*gain*: -1, 0 or 1): ``depth 2`` and so on.

    Args:
        evidence: Gives the logits on train, and holds the fitted trees.
        config: Depth, score and kind.
        rng: Not used; ties between splits are broken alike for every model.

    Raises:
        MissingExtraError: scikit-learn is not installed.
        NotMeasurableError: A soft tree deeper than 12.
    """
    del rng
    found = _distilled.trees(evidence, config.depth, config.kind)
    values = _scored(evidence, config, found["said"])
    flat = _scale.of_constant(evidence, float(values[:, -1].mean()))
    drawn = config.kind != "soft"
    return Answer(
        _distilled.by_depth(values, config.depth),
        parts=_distilled.parts(config.depth),
        notes=_distilled.remarks(evidence, int(found["fitted"])) + flat.notes,
        doubts=flat.doubts,
        shown=(Shown("tree", {name: found[name] for name in _distilled.DRAWN}),) if drawn else (),
        ends={**flat.ends, "worst": -1.0} if config.score == "gain" else flat.ends,
    )


def summarise(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean score at the largest depth on every resample, ``(draws,)``.

    Args:
        answer: What `measure` returned.
        config: Which depth.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    mean: np.ndarray = weights @ answer[_distilled.column(config.depth)] / weights.sum(1)
    return mean


def by_part(answer: Answer, config: Config, weights: np.ndarray) -> np.ndarray:
    """Return the mean score at every depth on every resample, ``(draws, depths)``.

    Args:
        answer: What `measure` returned.
        config: Not used.
        weights: How often each example stands in each resample, ``(draws, N)``.
    """
    del config
    depths = [_distilled.column(int(depth)) for depth in answer.parts.names]
    means: np.ndarray = weights @ answer.table(*depths) / weights.sum(1)[:, None]
    return means


def _scored(evidence: Evidence, config: Config, said: Tensor) -> Tensor:
    if config.score == "fidelity":
        return (said == evidence.predictions("test")[:, None]).float()
    targets = evidence.split("test").targets[:, None]
    right = (said == targets).float()
    if config.score == "accuracy":
        return right
    return right - (_distilled.grown(evidence, config.depth, config.kind) == targets).float()
