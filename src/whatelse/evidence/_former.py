"""Channels beside the evidence, of behaviours that do not return an `Answer` yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(eq=False, kw_only=True)
class Former:
    """What a behaviour remarked, doubted, named and offered on the evidence."""

    notes: list[str] = field(default_factory=list)
    pictures: dict[str, Tensor] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)
    flatters: list[str] = field(default_factory=list)
    parts: tuple[str, ...] = ()
    parts_read: dict[str, str] = field(default_factory=dict)
    tree: dict[str, Tensor] = field(default_factory=dict)
    rows: Tensor | None = None
    ends: dict[str, float | None] = field(default_factory=dict)

    def note(self, text: str) -> None:
        """Remark on how far the values of a behaviour go; printed beside its verdict.

        Args:
            text: One line.
        """
        self.notes.append(text)

    def show(self, shown: Tensor, made: Tensor) -> None:
        """Offer pictures for the report: examples, and what was made of them.

        Args:
            shown: Examples, ``(M, ...)``.
            made: What an attack rebuilt of each, ``(M, ...)``.
        """
        self.pictures = {"shown": shown.float(), "made": made.float()}

    def name_parts(self, names: Sequence[str], *, unit: str = "", better: str = "") -> None:
        """Name the parts that the behaviour's ``by_part`` answers for, in its order.

        Args:
            names: The same, in the same order, for every model; last, those of parts without an example, unanswered.
            unit: Of the parts, where it is not the behaviour's own.
            better: Of the parts, ``higher``, ``lower`` or ``neither``, where it is not the behaviour's own.
        """
        self.parts = tuple(names)
        self.parts_read = {word: told for word, told in (("unit", unit), ("better", better)) if told}

    def draw(self, tree: Mapping[str, Tensor]) -> None:
        """Offer the tree that stands for the model, for the report to draw.

        Args:
            tree: A tensor for each column of its nodes, such as ``feature`` and ``threshold``.
        """
        self.tree = dict(tree)

    def forget(self) -> None:
        """Drop what the last behaviour remarked, doubted, named and offered; observations stay."""
        self.notes, self.doubts, self.flatters, self.parts, self.parts_read = [], [], [], (), {}
        self.pictures, self.tree, self.rows, self.ends = {}, {}, None, {}

    def distrust(self, text: str, *, flatters: bool = False) -> None:
        """Record a failed validity check: the verdict becomes *not trusted*.

        Args:
            text: One line that names the check and the number.
            flatters: The value can only look better than it is, as under too weak an attack: *worsened* stands.
        """
        self.doubts.append(text)
        self.flatters += [text] * flatters
