"""Things to look at: examples with what two models made of them, what was rebuilt of them, and trees."""

from __future__ import annotations

from dataclasses import dataclass, replace

DEEPEST = 30  # levels of a tree that a page can draw

Grey = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Maps:
    """Signed attribution maps of one example, each shaped ``(height, width)``."""

    baseline: Grey
    candidate: Grey


@dataclass(frozen=True)
class Picture:
    """One example to look at: its image in [0, 1] or its text, and what the two models made of it."""

    image: Grey | None = None
    note: str = ""
    index: int | None = None
    truth: str | None = None
    before: str | None = None
    after: str | None = None
    maps: Maps | None = None
    reconstruction: Grey | None = None
    text: str | None = None


@dataclass(frozen=True)
class Node:
    """A node of a tree and what is below: the left where ``feature <= threshold``; ``leaves`` where it was cut."""

    class_: str
    n: int
    feature: str | None = None
    threshold: float | None = None
    left: Node | None = None
    right: Node | None = None
    leaves: int | None = None


@dataclass(frozen=True)
class Exhibit:
    """Something to look at under one heading: examples, what was rebuilt of them, or a tree.

    A page draws what is there, whatever its ``kind``, such as ``harmed``. ``left_out`` counts the items that were taken
    away because nobody asked for examples: rows of people.
    """

    row: str
    kind: str
    task: str
    candidate: str
    items: tuple[Picture, ...] = ()
    title: str = ""
    tree: Node | None = None
    left_out: int = 0


def without_items(exhibit: Exhibit) -> Exhibit:
    """Return an exhibit without its examples, which it counts; a heading and a tree stay, as they name no example.

    Args:
        exhibit: Any.
    """
    return replace(exhibit, items=(), left_out=exhibit.left_out + len(exhibit.items))


def height(tree: Node | None) -> int:
    """Return how many levels a tree has.

    Args:
        tree: Its root; None of no tree.
    """
    return 0 if tree is None else 1 + max(height(tree.left), height(tree.right))
