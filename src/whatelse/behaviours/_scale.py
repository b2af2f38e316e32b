"""What a number says of a model that answers one class throughout: nothing, whatever the behaviour."""

from __future__ import annotations

from whatelse.evidence.cache import Evidence


def note_constant(evidence: Evidence, value: float) -> None:
    """Say where a model answers one class throughout that its number is that of every such model.

    Groups served alike, or a tree that says all there is to say, are no merit of it: where its baseline does tell
    classes apart, the number can only flatter.

    Args:
        evidence: The model; takes the end of the scale, a note or a doubt.
        value: The number of a model that answers one class throughout.
    """
    if not constant(evidence):
        return
    evidence.ends["blind"] = value
    told = f"{evidence.subject.name} answers class {int(evidence.predictions('test')[0])} throughout"
    if evidence.reference is None or constant(evidence.reference):
        evidence.note(told)
    else:
        evidence.distrust(f"{told}, which its baseline does not: the number is that of any such model", flatters=True)


def constant(evidence: Evidence) -> bool:
    """Return whether a model gives all test examples the same answer.

    Args:
        evidence: The model.
    """
    said = evidence.predictions("test")
    return len(said) > 0 and bool((said == said[0]).all())
