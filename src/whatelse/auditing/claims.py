"""From findings to the outcome of a claim: supported, contradicted, level-dependent or indistinguishable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from whatelse.auditing.questions import Claim, Expectation
from whatelse.study.spec import Study

Finding = dict[str, Any]
_HOLDS = {
    "worse": {"worsened"},
    "better": {"improved"},
    "not worse": {"improved", "unchanged"},
    "not better": {"worsened", "unchanged"},
}
_DECIDED = {"improved", "unchanged", "worsened"}


def judge(claim: Claim, study: Study, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the outcome of a claim with the findings that it rests on.

    Every finding that the claim speaks of holds (it moved as said), fails (it moved otherwise, or was shown not to
    move), or stays open: undecided, or moved by less than retraining moves one model. For agreement with the baseline
    the noise is the placebo's, which the effect is against; the twin's is told beside it. All that are decided hold:
    supported. All fail: contradicted. Both: level-dependent. Fewer than a third decided: indistinguishable from the
    noise of retraining.

    Args:
        claim: The sentence under test.
        study: Its study.
        findings: All findings of the study, in the form of the findings file.
    """
    votes: Counter[str] = Counter()
    because: list[str] = []
    for expectation in claim.expect:
        chosen = _chosen(expectation, study, findings)
        because += [f["id"] for f in chosen]
        cast = [_vote(expectation, f) for f in chosen]
        if expectation.some and "holds" in cast:
            cast = ["holds"]
        votes.update(cast)
    return {
        "row": claim.row,
        "claim": claim.claim,
        "source": claim.source,
        "supports": claim.supports,
        "outcome": _outcome(votes),
        "reason": _reason(votes, because, findings),
        "because": because,
    }


def _chosen(expectation: Expectation, study: Study, findings: Sequence[Finding]) -> list[Finding]:
    measurement = next(m for m in study.measurements if m.label == expectation.label)
    task = expectation.task or measurement.tasks[0]
    names = {c.name for c in study.candidates if c.family in expectation.families} | set(expectation.candidates)
    return [
        f
        for f in findings
        if f["label"] == expectation.label and f["task"] == task and f["candidate"] in names and f["leading"]
    ]


def _vote(expectation: Expectation, finding: Finding) -> str:
    if finding["verdict"] not in _DECIDED:
        return "open"
    if finding["verdict"] != "unchanged" and not finding["agreement"] and _within(finding):
        return "open"
    return "holds" if finding["verdict"] in _HOLDS[expectation.direction] else "fails"


def _within(finding: Finding) -> bool:
    """Say whether an effect is smaller than what retraining alone does to one model."""
    return finding["floor"] is not None and abs(finding["effect"]) < finding["floor"]


def _outcome(votes: Counter[str]) -> str:
    decided = votes["holds"] + votes["fails"]
    if not votes:
        return "not measured"
    if 3 * decided < votes.total():
        return "indistinguishable"
    if not votes["fails"]:
        return "supported"
    return "level-dependent" if votes["holds"] else "contradicted"


def _reason(votes: Counter[str], because: list[str], findings: Sequence[Finding]) -> str:
    if not votes:
        return "nothing was measured"
    named = set(because)
    mine = [f for f in findings if f["id"] in named]
    seen = ", ".join(f"{n} {verdict}" for verdict, n in Counter(f["verdict"] for f in mine).most_common())
    closer = sum(f["agreement"] and f["verdict"] == "worsened" and _within(f) for f in mine)
    aside = f"; {closer} of the worsened moved less than a network that is merely trained again" if closer else ""
    return (
        f"of {votes.total()} predictions {votes['holds']} hold, {votes['fails']} fail, {votes['open']} stay open or "
        f"inside the noise of retraining ({seen}{aside})"
    )
