"""The tree that stands for a model, from the columns of its nodes to something that a page can draw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from torch import Tensor

from whatelse.exhibits.asked import BASELINE, Asked
from whatelse.findings.exhibits import Exhibit, Node
from whatelse.tasks.task import Task

VERSION, SCOPE = 1, "row"
DEPTH = 4


def exhibits(asked: Asked) -> Iterator[Exhibit]:
    """Return one exhibit for every model that a tree stands for.

    Args:
        asked: A question whose answers keep under ``tree`` the columns of its nodes.

    Yields:
        Those of the baseline and of the candidates.
    """
    for name in asked.models:
        kept = asked.shown(name, "tree")
        if kept:
            yield Exhibit(
                row=asked.measurement.row,
                kind="tree",
                task=asked.task_name,
                candidate=name,
                title=f"the tree distilled from {'the baseline' if name == BASELINE else name}",
                tree=nested(kept, lambda feature: feature_name(asked.task, feature)),
            )


def nested(
    tree: Mapping[str, Tensor], name: Callable[[int], str], depth: int = DEPTH, classes: Callable[[int], str] = str
) -> Node:
    """Return the nodes of a tree inside one another, down to a depth; where it is cut, with the leaves below.

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

    def below(node: int, room: int) -> Node:
        said, reached = classes(label[node]), n[node]
        if left[node] < 0:
            return Node(said, reached)
        if room == 0:
            return Node(said, reached, leaves=leaves[node])
        split = (name(feature[node]), float(f"{threshold[node]:.4g}"))
        return Node(said, reached, *split, below(left[node], room - 1), below(right[node], room - 1))

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
