"""Trees that stand for a model, and those grown on the labels: fitted once a model, and cut back to every depth."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from whatelse.answer import Parts
from whatelse.errors import MissingExtraError, NotMeasurableError
from whatelse.evidence.cache import Evidence
from whatelse.evidence.loudness import matched
from whatelse.layers.soft_tree import SoftTree
from whatelse.tasks.task import Task
from whatelse.training import soft_tree
from whatelse.training.loop import Schedule

KINDS = ("regression", "classification", "soft")
DRAWN = ("children_left", "children_right", "feature", "threshold", "class", "n")

_VERSION = 4
# Ties between equally good splits are broken alike for every model, so that a pair differs by its models only.
_TIES = 0
# Tokens that a tree may ask for, the most frequent of train: more would not fit into memory as columns.
_TOKENS = 1000
# Values that a tree is fitted to: of wide inputs, such as large images, fewer examples.
_VALUES = 16_000_000
# Soft trees: the method's own defaults, in about this many steps an epoch however many examples there are.
_DEEPEST = 12
_EPOCHS, _RATE, _BATCH, _BALANCE, _STEPS = 30, 0.02, 64, 0.3, 100


class Grown(NamedTuple):
    """A tree of hard splits, a parent before its children.

    Attributes:
        inner: scikit-learn's own tree, which finds the leaf of an input.
        label: Class of every node, inner ones too, ``(nodes,)``.
        level: Number of splits above every node, ``(nodes,)``.
        parent: Of every node, ``(nodes,)``; the root is its own.
    """

    inner: Any
    label: np.ndarray
    level: np.ndarray
    parent: np.ndarray

    def cut(self, depth: int) -> np.ndarray:
        """Return where every node ends when the tree is cut back: itself or the node above it, ``(nodes,)``.

        Args:
            depth: Splits that are left.
        """
        ends = np.arange(len(self.level))
        while (deep := self.level[ends] > depth).any():
            ends[deep] = self.parent[ends[deep]]
        return ends

    def says(self, x: np.ndarray, depths: range) -> np.ndarray:
        """Return the class of every input by the tree cut back to every depth, ``(N, depths)``.

        Args:
            x: ``(N, features)`` float32.
            depths: Depths.
        """
        at = self.inner.apply(x)
        return np.stack([self.label[self.cut(depth)[at]] for depth in depths], 1)


class Columns(NamedTuple):
    """What a tree may ask.

    Attributes:
        train: ``(N, features)`` float32.
        test: ``(M, features)`` float32.
        numbers: The features' own numbers: places in the flattened input, or ids of tokens, ``(features,)``.
        rows: Which examples of the train split these are, ``(N,)``.
    """

    train: np.ndarray
    test: np.ndarray
    numbers: np.ndarray
    rows: Tensor


def depths(depth: int) -> range:
    """Return the depths that are parts of the answer: from 2, where there is more than one.

    Args:
        depth: The largest.
    """
    return range(min(2, depth), depth + 1)


def column(depth: int) -> str:
    """Return the name of the column of a depth.

    Args:
        depth: Splits of the tree.
    """
    return f"depth {depth}"


def by_depth(values: Tensor, depth: int) -> dict[str, Tensor]:
    """Return values by depth as named columns.

    Args:
        values: ``(N, depths)``.
        depth: The largest.
    """
    return dict(zip(map(column, depths(depth)), values.unbind(1), strict=True))


def parts(depth: int) -> Parts:
    """Return the depths as the parts of an answer.

    Args:
        depth: The largest.
    """
    return Parts(tuple(map(str, depths(depth))))


def trees(evidence: Evidence, depth: int, kind: str) -> dict[str, Tensor]:
    """Return what the tree distilled from a model says and what it consists of, cut back to every depth.

    ``said``: class of every test example, ``(N, depths)``. ``leaves``, ``lengths`` and ``weights``: number of leaves,
    mean number of decisions a training example, and number of input weights, by level ``(depth + 1, depths)``, to be
    summed. ``fitted``: number of train examples used. A tree of hard splits has the columns of `DRAWN` as well,
    ``(nodes,)``.

    Args:
        evidence: Gives the logits on train.
        depth: Largest depth of the tree.
        kind: One of `KINDS`.
    """

    def make() -> dict[str, Tensor]:
        return _soft(evidence, depth) if kind == "soft" else _hard(evidence, depth, kind)

    return evidence.once(f"trees {_VERSION} kind={kind} depth={depth}", make)


def grown(evidence: Evidence, depth: int, kind: str) -> Tensor:
    """Return what a tree says that was fitted to the recorded labels alone, ``(N, depths)``.

    Args:
        evidence: Gives the recorded labels.
        depth: Largest depth of the tree.
        kind: One of `KINDS`; both kinds of hard splits have the same control.
    """
    soft = kind == "soft"

    def make() -> dict[str, Tensor]:
        train = evidence.split("train")
        x, unseen, _, rows = columns(evidence.task)
        observed = train.observed[rows]
        if soft:
            sure = functional.one_hot(observed, evidence.task.classes).float()
            return {"said": _says_softly(_teach(x, sure, depth), x, unseen, depth)}
        tree = grow(x, observed.numpy(), depth)
        return {"said": torch.from_numpy(tree.says(unseen, depths(depth)))}

    return evidence.once(f"grown {_VERSION} soft={soft} depth={depth}", make)["said"]


def columns(task: Task) -> Columns:
    """Return what a tree may ask of train and of test; of wide inputs only some train examples, the same for all.

    Of texts it may ask how often a token occurs, for the most frequent tokens of train.

    Args:
        task: Gives both splits.
    """
    train, test = (task.split(name).inputs for name in ("train", "test"))
    if not task.vocabulary:
        rows = _some(len(train), train[0].numel())
        x, unseen = (part.flatten(1).float().numpy() for part in (train[rows], test))
        return Columns(x, unseen, np.arange(x.shape[1]), rows)
    often = torch.bincount(train.flatten().long(), minlength=task.vocabulary)
    often[0] = 0  # padding says only how long a text is
    kept = often.argsort(descending=True, stable=True)[: min(_TOKENS, int((often > 0).sum()))]
    rows = _some(len(train), len(kept))
    x, unseen = (_counted(part, kept, task.vocabulary).numpy() for part in (train[rows], test))
    return Columns(x, unseen, kept.numpy(), rows)


def _some(examples: int, features: int) -> Tensor:
    room = max(1, _VALUES // max(1, features))
    if examples <= room:
        return torch.arange(examples)
    return torch.randperm(examples, generator=torch.Generator().manual_seed(_TIES))[:room].sort().values


def remarks(evidence: Evidence, fitted: int) -> tuple[str, ...]:
    """Return a note that not all of train was used, where that is so.

    Args:
        evidence: Has train.
        fitted: Number of examples that the trees were fitted to.
    """
    whole = len(evidence.split("train"))
    told = f"trees are fitted to {fitted:,} of {whole:,} train examples, the same for every model"
    return (told,) if fitted < whole else ()


def _counted(texts: Tensor, kept: Tensor, vocabulary: int) -> Tensor:
    found = torch.empty(len(texts), len(kept))
    for start in range(0, len(texts), 256):
        ids = texts[start : start + 256].flatten(1).long()
        counts = torch.zeros(len(ids), vocabulary).scatter_add_(1, ids, torch.ones(ids.shape))
        found[start : start + 256] = counts[:, kept]
    return found


def grow(x: np.ndarray, targets: np.ndarray, depth: int) -> Grown:
    """Return a tree of hard splits, grown greedily.

    Args:
        x: ``(N, features)`` float32.
        targets: Logits ``(N, classes)``: a regression tree; or classes ``(N,)``: a classification tree (Gini).
        depth: Largest depth.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError("transparency needs scikit-learn: pip install 'whatelse[trees]'") from error
    of = DecisionTreeRegressor if targets.ndim > 1 else DecisionTreeClassifier
    made = of(max_depth=depth, random_state=_TIES).fit(x, targets)
    inner = made.tree_
    value = inner.value[:, :, 0] if targets.ndim > 1 else inner.value[:, 0]
    label = value.argmax(1) if targets.ndim > 1 else made.classes_[value.argmax(1)]
    level, parent = _above(inner.children_left, inner.children_right)
    return Grown(inner, label.astype(np.int64), level, parent)


def _above(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    level, parent = np.zeros((2, len(left)), dtype=np.int64)
    for node in range(len(left)):  # a parent stands before its children
        if left[node] >= 0:
            below = [left[node], right[node]]
            level[below], parent[below] = level[node] + 1, node
    return level, parent


def centered(logits: Tensor) -> Tensor:
    """Return class scores less their mean over classes, of which nothing that a model says depends, ``(N, classes)``.

    Args:
        logits: ``(N, classes)``.
    """
    return logits - logits.mean(1, keepdim=True)


def _hard(evidence: Evidence, depth: int, kind: str) -> dict[str, Tensor]:
    x, unseen, numbers, rows = columns(evidence.task)
    logits = centered(evidence.logits("train")[rows])
    tree = grow(x, (logits if kind == "regression" else logits.argmax(1)).numpy(), depth)
    inner, some = tree.inner, depths(depth)
    split = inner.children_left >= 0
    drawn = (
        inner.children_left,
        inner.children_right,
        np.where(split, numbers[inner.feature.clip(min=0)], -1),
        np.where(split, inner.threshold, 0.0),
        tree.label,
        inner.n_node_samples,
    )
    return {
        "said": torch.from_numpy(tree.says(unseen, some)),
        "fitted": torch.tensor(len(x)),
        **_sizes(tree, some),
        **{name: torch.from_numpy(column.copy()) for name, column in zip(DRAWN, drawn, strict=True)},
    }


def _sizes(tree: Grown, some: range) -> dict[str, Tensor]:
    level, split = tree.level, tree.inner.children_left >= 0
    share = tree.inner.n_node_samples / tree.inner.n_node_samples[0]
    found: dict[str, list[np.ndarray]] = {"leaves": [], "lengths": [], "weights": []}
    for depth in some:
        ends = ((level == depth) | ~split) & (level <= depth)
        asks = split & (level < depth)
        for name, picks, each in (("leaves", ends, None), ("lengths", ends, share * level), ("weights", asks, None)):
            each = None if each is None else each[picks]
            found[name].append(np.bincount(level[picks], each, minlength=some.stop).astype(np.float64))
    return {name: torch.from_numpy(np.stack(columns, 1)) for name, columns in found.items()}


def _soft(evidence: Evidence, depth: int) -> dict[str, Tensor]:
    if depth > _DEEPEST:
        raise NotMeasurableError(
            f"a soft tree of depth {depth} has {2**depth} leaves; give a depth of at most {_DEEPEST}"
        )
    x, unseen, _, rows = columns(evidence.task)
    made = _teach(x, matched(evidence, evidence.logits("train")[rows]).softmax(1), depth)
    some = depths(depth)
    sizes = torch.zeros(3, depth + 1, len(some), dtype=torch.float64)
    for at, cut in enumerate(some):
        sizes[0, cut, at], sizes[1, cut, at] = 2**cut, cut
        sizes[2, :cut, at] = torch.tensor([2.0**level * x.shape[1] for level in range(cut)])
    return {
        "said": _says_softly(made, x, unseen, depth),
        "fitted": torch.tensor(len(x)),
        "leaves": sizes[0].contiguous(),
        "lengths": sizes[1].contiguous(),
        "weights": sizes[2].contiguous(),
    }


def _teach(x: np.ndarray, targets: Tensor, depth: int) -> SoftTree:
    made = SoftTree(x.shape[1], targets.shape[1], depth, mixture=True)
    schedule = Schedule(_EPOCHS, _RATE, max(_BATCH, len(x) // _STEPS))
    rng = torch.Generator().manual_seed(_TIES)
    soft_tree.teach(made, _scaled(x, x), targets, _BALANCE, schedule, rng)
    return made


def _scaled(x: np.ndarray, train: np.ndarray) -> Tensor:
    """Bring every feature to the same scale: filters start alike, and a table's columns do not."""
    spread = train.std(0)
    return torch.from_numpy((x - train.mean(0)) / np.where(spread > 0, spread, 1)).float()


@torch.no_grad()
def _says_softly(made: SoftTree, x: np.ndarray, unseen: np.ndarray, depth: int) -> Tensor:
    told = functional.softmax(made.phi, 1)
    # A node above the leaves says the mean of the leaves under it, each by how many training examples reach it.
    reached = sum(made.route(_scaled(part, x)).leaf.exp().sum(0) for part in _chunks(x))
    mass = torch.as_tensor(reached).clamp(min=1e-12)[:, None]
    ends = [(mass * told).view(2**d, -1, told.shape[1]).sum(1) / mass.view(2**d, -1, 1).sum(1) for d in depths(depth)]
    found = []
    for part in _chunks(unseen):
        route = made.route(_scaled(part, x))
        nodes = torch.cat([route.reach, route.leaf], 1).exp()  # level by level
        levels = [nodes[:, len(q) - 1 : 2 * len(q) - 1] for q in ends]
        found.append(torch.stack([(at @ q).argmax(1) for at, q in zip(levels, ends, strict=True)], 1))
    return torch.cat(found)


def _chunks(x: np.ndarray) -> list[np.ndarray]:
    return [x[start : start + 4096] for start in range(0, len(x), 4096)]
