"""What must be said beside an attack: notes, and doubts whether it can be believed."""

from __future__ import annotations

from dataclasses import dataclass

from whatelse.answer import Doubt


@dataclass(frozen=True)
class Remarks:
    """What was found worth saying; empty where a check passes.

    Attributes:
        notes: Printed beside the verdict.
        doubts: Failed checks.
    """

    notes: tuple[str, ...] = ()
    doubts: tuple[Doubt, ...] = ()

    def __add__(self, other: Remarks) -> Remarks:
        """Return these remarks, then the others.

        Args:
            other: What comes after.
        """
        return Remarks(self.notes + other.notes, self.doubts + other.doubts)


def noted(text: str) -> Remarks:
    """Return a note.

    Args:
        text: One line.
    """
    return Remarks(notes=(text,))


def doubted(text: str) -> Remarks:
    """Return a failed check after which the value may be off in either direction.

    Args:
        text: One line that names the check and the number.
    """
    return Remarks(doubts=(Doubt(text),))


def flattered(text: str) -> Remarks:
    """Return a failed check after which a model can only look better than it is, as under too weak an attack.

    Args:
        text: One line that names the check and the number.
    """
    return Remarks(doubts=(Doubt(text, one_sided=True),))
