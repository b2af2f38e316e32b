"""A study as an inquiry: what was asked, and which part each of its models plays."""

from __future__ import annotations

from collections.abc import Iterator

from whatelse.auditing.inquiry import About, Inquiry
from whatelse.auditing.roles import Actor, Role
from whatelse.study.spec import CandidateSpec, Study

BASELINE = str(Role.BASELINE)


def scratch_of(candidate: CandidateSpec) -> str:
    """Return the name of the control that trains a candidate's architecture from random weights.

    Args:
        candidate: A candidate with ``scratch``.
    """
    return f"{candidate.name} from scratch"


def again_of(candidate: str) -> str:
    """Return the name of the control that is a candidate compressed once more under another seed.

    Args:
        candidate: Its name.
    """
    return f"{candidate} again"


def actors_of(study: Study) -> tuple[Actor, ...]:
    """Return the models of a study with their parts, the baseline first.

    Args:
        study: A checked study.
    """
    return (Actor(BASELINE, Role.BASELINE), *_controls(study), *(a for c in study.candidates for a in _around(c)))


def _controls(study: Study) -> Iterator[Actor]:
    words = {str(role): role for role in Role}
    for name in study.controls:
        if name != Role.SCRATCH:  # there is one for each candidate that asks for it
            yield Actor(name, words.get(name, Role.CONTROL))


def _around(candidate: CandidateSpec) -> Iterator[Actor]:
    yield Actor(candidate.name, Role.CANDIDATE, against=candidate.control)
    if candidate.scratch:
        yield Actor(scratch_of(candidate), Role.SCRATCH, of=candidate.name)
    if candidate.again:
        yield Actor(again_of(candidate.name), Role.RECOMPRESSED, of=candidate.name)


def inquiry_of(study: Study, beside: tuple[Actor, ...] = ()) -> Inquiry:
    """Return what a study asks, as verdicts need it.

    Args:
        study: A checked study.
        beside: Models that are compared beside what `whatelse.auditing.inquiry.pairs` says.
    """
    return Inquiry(
        name=study.name,
        title=study.title,
        description=study.description,
        text=study.text,
        draws=study.draws,
        seeds=tuple(study.seeds),
        rows=tuple(study.rows),
        measurements=tuple(study.measurements),
        tasks={name: About(t.title, t.description, t.references) for name, t in study.tasks.items()},
        actors=actors_of(study),
        beside=beside,
        claims=tuple(study.claims),
    )
