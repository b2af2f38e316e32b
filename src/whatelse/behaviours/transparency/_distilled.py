"""The tree distilled from a model and the tree grown on the labels, fitted once a model and shared."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from whatelse.errors import MissingExtraError
from whatelse.evidence import Evidence

_VERSION = 1
# Ties between equally good splits are broken alike for every model, so that a pair differs by its models only.
_TIES = 0


def trees(evidence: Evidence, depth: int) -> dict[str, Tensor]:
    """Return what the trees say: ``distilled`` and ``grown``, classes of the test split; ``leaves`` by depth.

    Args:
        evidence: Gives the logits on train and the recorded labels.
        depth: Largest depth of either tree.
    """
    return evidence.once(f"trees {_VERSION} depth={depth}", lambda: _fit(evidence, depth))


def _fit(evidence: Evidence, depth: int) -> dict[str, Tensor]:
    try:
        from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError("transparency needs scikit-learn: pip install 'whatelse[trees]'") from error
    train = evidence.split("train")
    x, unseen = (evidence.split(name).inputs.flatten(1).numpy() for name in ("train", "test"))
    distilled = DecisionTreeRegressor(max_depth=depth, random_state=_TIES).fit(x, evidence.logits("train").numpy())
    grown = DecisionTreeClassifier(max_depth=depth, random_state=_TIES).fit(x, train.observed.numpy())
    inner, leaf_depth = distilled.tree_, _depths(distilled.tree_.children_left, distilled.tree_.children_right)
    leaves = np.bincount(leaf_depth[inner.children_left < 0], minlength=depth + 1)
    return {
        "distilled": torch.tensor(distilled.predict(unseen).argmax(1)),
        "grown": torch.tensor(grown.predict(unseen)),
        "leaves": torch.tensor(leaves),
    }


def _depths(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    depths = np.zeros(len(left), dtype=np.int64)
    for node in range(len(left)):  # a parent stands before its children
        if left[node] >= 0:
            depths[[left[node], right[node]]] = depths[node] + 1
    return depths
