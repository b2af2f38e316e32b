"""The tree that stands for a model, from the columns of its nodes to something that a page can draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from whatelse.tasks.task import Task

DEPTH = 4


def exhibit(tree: Mapping[str, Tensor], row: str, candidate: str, task: Task) -> dict[str, Any] | None:
    """Return the exhibit of a kept tree; None where a cell has none.

    Args:
        tree: The columns of its nodes; nothing where there is none.
        row: Where it belongs.
        candidate: Whose tree it is.
        task: Names features and classes.
    """
    if not tree:
        return None
    return {
        "row": row,
        "kind": "tree",
        "task": task.name,
        "candidate": candidate,
        "title": f"the tree distilled from {'the baseline' if candidate == 'baseline' else candidate}",
        "items": [],
        "tree": nested(tree, lambda feature: feature_name(task, feature)),
    }


def nested(
    tree: Mapping[str, Tensor], name: Callable[[int], str], depth: int = DEPTH, classes: Callable[[int], str] = str
) -> dict[str, Any]:
    """Return the nodes of a tree inside one another, down to a depth.

    Every node has ``n``, the training examples that reach it, and ``class``, what it says; one that splits also
    ``feature``, ``threshold``, ``left`` (at most the threshold) and ``right``. Where the tree is cut, ``leaves`` says
    how many leaves are below.

    Args:
        tree: Columns of the nodes, ``(nodes,)`` each: ``children_left`` and ``children_right`` (negative at a leaf),
            ``feature``, ``threshold``, ``class`` and ``n``; the root comes first, and parents before their children.
        name: The name of a feature.
        depth: Splits that are kept.
        classes: The name of a class.
    """
    names = ("children_left", "children_right", "feature", "class", "n")
    left, right, feature, label, n = ([int(v) for v in tree[column].tolist()] for column in names)
    threshold = tree["threshold"].tolist()
    leaves = [int(child < 0) for child in left]
    for node in reversed(range(len(left))):
        if left[node] >= 0:
            leaves[node] = leaves[left[node]] + leaves[right[node]]

    def below(node: int, room: int) -> dict[str, Any]:
        told: dict[str, Any] = {"class": classes(label[node]), "n": n[node]}
        if left[node] < 0:
            return told
        if room == 0:
            return told | {"leaves": leaves[node]}
        told |= {"feature": name(feature[node]), "threshold": float(f"{threshold[node]:.4g}")}
        return told | {"left": below(left[node], room - 1), "right": below(right[node], room - 1)}

    return below(0, depth)


def feature_name(task: Task, feature: int) -> str:
    """Return what a person calls an input: a column's name, a pixel by row and column, or a token.

    Args:
        task: Gives names and shape.
        feature: Its place in the flattened input; of texts, the token's id.
    """
    if task.modality == "tokens":
        return f"token {feature}"
    if task.modality == "images":
        channels, height, width = task.shape
        channel, place = divmod(feature, height * width)
        where = f"pixel {place // width},{place % width}"
        return where if channels == 1 else f"{where} of channel {channel}"
    return task.features[feature] if feature < len(task.features) else f"input {feature}"
