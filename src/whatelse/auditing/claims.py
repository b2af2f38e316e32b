"""From findings to the outcome of a claim: supported, contradicted, level-dependent or indistinguishable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from whatelse.auditing import apart
from whatelse.auditing.inquiry import Inquiry
from whatelse.auditing.questions import Claim, Expectation
from whatelse.auditing.roles import Role
from whatelse.auditing.verdicts import Decided
from whatelse.findings import record
from whatelse.findings.record import Candidate, Finding, Outcome

_HOLDS = {
    "worse": {"worsened"},
    "better": {"improved"},
    "not worse": {"improved", "unchanged"},
    "not better": {"worsened", "unchanged"},
}
_DECIDED = {"improved", "unchanged", "worsened"}


def judge(claim: Claim, inquiry: Inquiry, found: Decided, models: Sequence[Candidate]) -> record.Claim:
    """Return the outcome of a claim with the findings that it rests on.

    Every finding that the claim speaks of holds (it moved as said), fails (it moved otherwise, or was shown not to
    move), or stays open: undecided, or moved by less than retraining moves one model. For agreement with the baseline
    the noise is the placebo's, which the effect is against; the twin's is told beside it. All that are decided hold:
    supported. All fail: contradicted. Both: level-dependent. Fewer than a third decided: indistinguishable from the
    noise of retraining.

    Args:
        claim: The sentence under test.
        inquiry: What was asked.
        found: All findings.
        models: Says of which family each candidate is.
    """
    votes: Counter[str] = Counter()
    because: list[Finding] = []
    elsewhere = next((row.apart for row in inquiry.rows if row.name == claim.row), "")
    if elsewhere:
        outcome = apart.read(elsewhere)
        votes.update("open" if v not in _DECIDED else "holds" if v == "improved" else "fails" for v in outcome.verdicts)
    for expectation in claim.expect:
        chosen = _chosen(expectation, inquiry, found, models)
        because += chosen
        cast = [_vote(expectation, f, agreement=f.id in found.agreement) for f in chosen]
        if expectation.some and "holds" in cast:
            cast = ["holds"]
        votes.update(cast)
    return record.Claim(
        row=claim.row,
        claim=claim.claim,
        source=claim.source,
        supports=claim.supports,
        outcome=_outcome(votes),
        reason=f"{_counted(votes)} ({outcome.apart.brief})" if elsewhere else _reason(votes, because, found),
        because=tuple(f.id for f in because),
    )


def _chosen(expectation: Expectation, inquiry: Inquiry, found: Decided, models: Sequence[Candidate]) -> list[Finding]:
    measurement = next(m for m in inquiry.measurements if m.label == expectation.label)
    task = expectation.task or measurement.tasks[0]
    families = {c.name for c in models if c.role is Role.CANDIDATE and c.family in expectation.families}
    names = families | set(expectation.candidates)
    return [
        f
        for f in found.findings
        if f.label == expectation.label and f.task == task and f.candidate in names and f.leading
    ]


def _vote(expectation: Expectation, finding: Finding, *, agreement: bool) -> str:
    if finding.verdict not in _DECIDED:
        return "open"
    if finding.verdict != "unchanged" and not agreement and _within(finding):
        return "open"
    return "holds" if finding.verdict in _HOLDS[expectation.direction] else "fails"


def _within(finding: Finding) -> bool:
    """Say whether an effect is smaller than what retraining alone does to one model."""
    return finding.floor is not None and finding.effect is not None and abs(finding.effect) < finding.floor


def _outcome(votes: Counter[str]) -> Outcome:
    decided = votes["holds"] + votes["fails"]
    if not votes:
        return "not measured"
    if 3 * decided < votes.total():
        return "indistinguishable"
    if not votes["fails"]:
        return "supported"
    return "level-dependent" if votes["holds"] else "contradicted"


def _reason(votes: Counter[str], because: Sequence[Finding], found: Decided) -> str:
    if not votes:
        return "nothing was measured"
    named = {f.id for f in because}
    mine = [f for f in found.findings if f.id in named]
    seen = ", ".join(f"{n} {verdict}" for verdict, n in Counter(f.verdict for f in mine).most_common())
    closer = sum(f.id in found.agreement and f.verdict == "worsened" and _within(f) for f in mine)
    aside = f"; {closer} of the worsened moved less than a network that is merely trained again" if closer else ""
    return f"{_counted(votes)} or inside the noise of retraining ({seen}{aside})"


def _counted(votes: Counter[str]) -> str:
    return f"of {votes.total()} predictions {votes['holds']} hold, {votes['fails']} fail, {votes['open']} stay open"
