"""A decision tree whose leaves hold logits: comparisons only, and read by a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from whatelse.layers.compressed import CompressedLayer

_DEEPEST = 400  # Levels that a drawing can follow.


class Tree(CompressedLayer):
    """A binary tree over the flattened input: left where ``x[feature] <= threshold``.

    Inner nodes are numbered from the root, 0; a child ``-1 - l`` is leaf ``l``. Its output is constant on each leaf, so
    it has no gradient.
    """

    feature: Tensor
    threshold: Tensor
    child: Tensor
    values: Tensor

    def __init__(self, leaves: int, classes: int, depth: int) -> None:
        super().__init__()
        if not 0 <= depth < min(leaves, _DEEPEST):
            raise ValueError(f"a tree of {leaves} leaves has no depth {depth}")
        self.leaves, self.classes, self.depth = leaves, classes, depth
        self.register_buffer("feature", torch.zeros(leaves - 1, dtype=torch.int32))
        self.register_buffer("threshold", torch.zeros(leaves - 1))
        self.register_buffer("child", torch.zeros(leaves - 1, 2, dtype=torch.int32))
        self.register_buffer("values", torch.zeros(leaves, classes))

    def arguments(self) -> dict[str, Any]:
        """Return its number of leaves and classes, and its depth."""
        return {"leaves": self.leaves, "classes": self.classes, "depth": self.depth}

    def weights(self) -> list[Tensor]:
        """Return the thresholds and the logits of the leaves."""
        return [self.threshold, self.values]

    def damage(self) -> str:
        """Say where a child is none: each is a later node, so that no way runs in a circle, or a leaf."""
        node = torch.arange(len(self.child))[:, None]
        fits = torch.where(self.child < 0, self.child >= -self.leaves, self.child > node)
        fits &= self.child < len(self.child)
        return "" if bool(fits.all()) else "a node of a tree has a child that is none"

    def remark(self) -> str:
        """Say what it computes with."""
        return "a decision tree: it compares and multiplies nothing"

    def reached(self, x: Tensor) -> Tensor:
        """Return the leaf of every example, ``(N,)``.

        Args:
            x: ``(N, ...)``.
        """
        flat = x.flatten(1).to(self.threshold.dtype)
        # Of `shape`, as `len` would write the size of one batch into an exported program.
        node = torch.full((flat.shape[0],), 0 if self.depth else -1, device=flat.device)
        for _ in range(self.depth):
            at = node.clamp(min=0)
            asked = flat.gather(1, self.feature[at].long()[:, None])[:, 0]
            right = ~(asked <= self.threshold[at])
            node = torch.where(node < 0, node, self.child[at, right.long()].long())
        return -1 - node

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the leaf of every example, ``(N, classes)``.

        Args:
            x: ``(N, ...)``.
        """
        return self.values[self.reached(x)]

    def structure(self) -> dict[str, Any]:
        """Return the tree as nested plain data, for drawing.

        An inner node has ``feature``, ``threshold``, ``left`` and ``right``; a leaf has ``leaf``, ``class`` and
        ``logits``.
        """
        return self._part(0 if self.depth else -1)

    def rules(self, names: Sequence[str] = ()) -> list[str]:
        """Return one line a leaf, from left to right, such as ``x3 <= 0.5 and x7 > 1: class 2``.

        Args:
            names: Names of the flattened inputs, in order; without them they are ``x0``, ``x1`` and so on.
        """
        return _lines(self.structure(), (), names)

    def drawing(self) -> str:
        """Return the tree with a line a node, indented by its depth; the inputs are counted from ``x0``."""
        return "\n".join(_drawn(self.structure(), "")) + "\n"

    def _part(self, node: int) -> dict[str, Any]:
        if node < 0:
            logits = self.values[-1 - node]
            return {"leaf": -1 - node, "class": int(logits.argmax()), "logits": logits.tolist()}
        left, right = self.child[node].tolist()
        asked = {"feature": int(self.feature[node]), "threshold": float(self.threshold[node])}
        return {**asked, "left": self._part(left), "right": self._part(right)}


def _lines(part: dict[str, Any], asked: tuple[str, ...], names: Sequence[str]) -> list[str]:
    if "leaf" in part:
        return [f"{' and '.join(asked) or 'always'}: class {part['class']}"]
    name = names[part["feature"]] if names else f"x{part['feature']}"
    ways = ((f"{name} <= {part['threshold']:.4g}", part["left"]), (f"{name} > {part['threshold']:.4g}", part["right"]))
    return [line for way, child in ways for line in _lines(child, (*asked, way), names)]


def _drawn(part: dict[str, Any], before: str) -> list[str]:
    if "leaf" in part:
        return [f"{before}class {part['class']}"]
    asked = f"x{part['feature']} <= {part['threshold']:.4g}"
    inner = before + "|   "
    return [f"{before}{asked}?", *_drawn(part["left"], inner), f"{before}else:", *_drawn(part["right"], inner)]
