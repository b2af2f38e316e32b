"""What is to be said of observations: notes and doubts, collected by the one who asks."""

from __future__ import annotations

from dataclasses import dataclass, field

from whatelse.answer import Doubt


@dataclass
class Said:
    """Notes and doubts, each once, in the order in which they were first heard.

    Attributes:
        notes: Remarks on how far observations go.
        doubts: Why they are not to be trusted.
    """

    notes: list[str] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)

    def add(self, other: Said) -> None:
        """Take what is not said yet.

        Args:
            other: Notes and doubts.
        """
        self.notes += [note for note in other.notes if note not in self.notes]
        self.doubts += [doubt for doubt in other.doubts if doubt not in self.doubts]
