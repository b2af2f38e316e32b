"""Replace the model by a decision tree fitted to its logits: a model that a person can read.

One multi-output regression tree (CART) minimizes ``sum_n sum_k (z_nk - value[leaf(x_n), k])^2`` over the teacher's
logits ``z`` on train, greedily; a leaf holds the mean logits of its examples, and the class is the largest. Logits,
since the probabilities of a teacher that fits its train split carry little beyond the labels; with ``target``
*probabilities* the tree is fitted to ``softmax(z / temperature)`` and a leaf holds the logarithm of their mean. With
*labels* it is the control: a classification tree (Gini) grown on the recorded labels, whose leaves hold the logarithms
of the class shares ``(n_k + 1) / (n + classes)``, smoothed so that they are finite. With ``copies`` the
answers are fitted on noisy copies of the inputs as well, which only the teacher can label. Ties between equally good
splits are broken at random. scikit-learn compares inputs in single precision with thresholds in double; thresholds are
stored rounded down to single precision, so that every input goes the same way. A tree has no gradient.

Source:
    Liu, Wang & Matwin, Improving the interpretability of deep neural networks with knowledge distillation, ICDM
    workshops 2018, arXiv:1812.10924; Breiman et al., Classification and regression trees, Wadsworth 1984; noisy
    copies that the teacher labels: Craven & Shavlik, Extracting tree-structured representations of trained networks,
    NIPS 1995.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from whatelse.errors import MissingExtraError, RecipeError
from whatelse.layers.tree import Tree
from whatelse.settings import param
from whatelse.tasks.task import Task
from whatelse.training.loop import answers

_TARGETS = ("logits", "probabilities", "labels")
VERSION, KNOB, TAKES, LEAVES = 1, "depth", {"dense", "sparse", "packed"}, "tree"


@dataclass(frozen=True)
class Config:
    """Settings of the distilled tree."""

    depth: int = param(5, "Largest depth of the tree, in splits.", low=1, high=30)
    target: str = param("logits", "What the tree is fitted to: the teacher, or labels.", choices=_TARGETS)
    temperature: float = param(1.0, "Softens the probabilities that are fitted.", low=0.1, high=100.0)
    leaf: int = param(1, "Fewest training examples a leaf.", low=1)
    copies: int = param(0, "Noisy copies of train that the teacher labels besides; not with labels.", low=0, high=1000)
    jitter: float = param(0.1, "Noise of the copies, in standard deviations of each input.", low=0.0, high=10.0)


@torch.no_grad()
def compress(model: nn.Module, config: Config, task: Task, rng: torch.Generator) -> nn.Module:
    """Return a decision tree.

    Args:
        model: The teacher, any module.
        config: Depth of the tree, and what it is fitted to.
        task: Its train split, with the labels as they were recorded.
        rng: Breaks ties between splits, and draws the noise of the copies.

    Raises:
        RecipeError: Noisy copies are asked for of inputs that are whole numbers.
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError("distill.tree needs scikit-learn: pip install 'whatelse[trees]'") from error
    ties = int(torch.randint(2**31 - 1, (), generator=rng))
    grow = {"max_depth": config.depth, "min_samples_leaf": config.leaf, "random_state": ties}
    if config.target == "labels":
        grown = DecisionTreeClassifier(**grow).fit(_rows(task.train.inputs), task.train.observed)
        return _tree(grown.tree_, _log_shares(grown, task.classes))
    x = torch.cat([task.train.inputs, *_copies(task.train.inputs, config, rng)])
    z = answers(model, x)
    soft = config.target == "probabilities"
    fitted = torch.softmax(z / config.temperature, 1) if soft else z
    grown = DecisionTreeRegressor(**grow).fit(_rows(x), _rows(fitted))
    means = grown.tree_.value[:, :, 0]
    return _tree(grown.tree_, np.log(means.clip(min=np.finfo(np.float32).tiny)) if soft else means)


def _rows(x: Tensor) -> Tensor:
    """Return one row an example, in a precision that numpy has."""
    return x.flatten(1).to(torch.promote_types(x.dtype, torch.float32))


def _copies(x: Tensor, config: Config, rng: torch.Generator) -> list[Tensor]:
    if not config.copies:
        return []
    if not x.is_floating_point():
        raise RecipeError(f"distill.tree: noise cannot be added to inputs that are {x.dtype}; use copies=0")
    size = config.jitter * x.std(0)
    return [x + size * torch.randn(x.shape, generator=rng) for _ in range(config.copies)]


def _log_shares(grown: Any, classes: int) -> np.ndarray:  # noqa: ANN401 - scikit-learn is not typed
    inner = grown.tree_
    counts = np.zeros((inner.node_count, classes))
    counts[:, grown.classes_] = inner.value[:, 0] * inner.n_node_samples[:, None]
    shares: np.ndarray = np.log((counts + 1) / (inner.n_node_samples[:, None] + classes))
    return shares


def _tree(inner: Any, values: np.ndarray) -> Tree:  # noqa: ANN401 - scikit-learn is not typed
    # scikit-learn numbers all nodes alike, and marks a leaf by a child of -1; we number inner nodes and leaves apart.
    leaf = inner.children_left < 0
    number = np.where(leaf, -np.cumsum(leaf), np.cumsum(~leaf) - 1)
    made = Tree(int(leaf.sum()), values.shape[1], int(inner.max_depth))
    children = np.stack([inner.children_left, inner.children_right], 1)[~leaf]
    made.feature.copy_(torch.from_numpy(inner.feature[~leaf]))
    made.threshold.copy_(torch.from_numpy(_rounded_down(inner.threshold[~leaf])))
    made.child.copy_(torch.from_numpy(number[children]))
    made.values.copy_(torch.from_numpy(values[leaf]))
    return made


def _rounded_down(thresholds: np.ndarray) -> np.ndarray:
    near = thresholds.astype(np.float32)
    down: np.ndarray = np.where(near > thresholds, np.nextafter(near, np.float32(-np.inf)), near)
    return down
