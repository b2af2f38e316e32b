"""What a number says of a model that answers one class throughout: nothing, whatever the behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from whatelse.answer import Doubt
from whatelse.evidence.cache import Evidence


@dataclass(frozen=True)
class Said:
    """What an answer says beside its columns; nothing where a model tells classes apart.

    Attributes:
        notes: That the model answers one class throughout, as its baseline does.
        doubts: That it does and its baseline does not.
        ends: ``blind``, the number of such a model.
    """

    notes: tuple[str, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    ends: Mapping[str, float | None] = field(default_factory=dict)


def of_constant(evidence: Evidence, value: float) -> Said:
    """Return what to say where a model answers one class throughout: that its number is that of every such model.

    Groups served alike, or a tree that says all there is to say, are no merit of it: where its baseline does tell
    classes apart, the number can only flatter.

    Args:
        evidence: The model.
        value: The number of a model that answers one class throughout.
    """
    if not constant(evidence):
        return Said()
    told = f"{evidence.subject.name} answers class {int(evidence.predictions('test')[0])} throughout"
    if evidence.reference is None or constant(evidence.reference):
        return Said(notes=(told,), ends={"blind": value})
    doubt = Doubt(f"{told}, which its baseline does not: the number is that of any such model", one_sided=True)
    return Said(doubts=(doubt,), ends={"blind": value})


def constant(evidence: Evidence) -> bool:
    """Return whether a model gives all test examples the same answer.

    Args:
        evidence: The model.
    """
    said = evidence.predictions("test")
    return len(said) > 0 and bool((said == said[0]).all())
