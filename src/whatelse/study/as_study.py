"""An audit as the study that it is: names in place of recipes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from whatelse.auditing.questions import DATA, Questions, handed
from whatelse.auditing.roles import ZERO, Role
from whatelse.errors import StudyError
from whatelse.study.spec import CandidateSpec, Net, Study, TaskSpec


def study_of(asked: Questions, candidates: Collection[str], controls: Collection[str], seeds: Sequence[int]) -> Study:
    """Return the study that an audit's findings are decided by.

    Args:
        asked: What is asked.
        candidates: Names of the models after.
        controls: Names of the controls, as an audit is given them.
        seeds: One, unless several models of a kind stand under each name.

    Raises:
        StudyError: A name is taken, there is no candidate, or a measurement needs a control that is not there.
    """
    names = [Role.BASELINE, *controls, *candidates]
    for name in names:
        if names.count(name) > 1 or (name in candidates and name in {ZERO, *handed()}):
            raise StudyError(f"a candidate named {str(name)!r}: that name is taken; choose another")
    if Role.RECOMPRESSED in controls and len(candidates) > 1:
        many = len(candidates)
        raise StudyError(f"controls: 'recompressed' is one candidate compressed once more; there are {many} candidates")
    unknown = set(controls) - set(handed())
    if unknown:
        raise StudyError(f"controls: no {sorted(unknown)[0]!r}; there are: {', '.join(handed())}")
    if not candidates:
        raise StudyError("there is no candidate; at least one model to hold against the baseline is needed")
    for m in asked.measurements:
        if m.control in set(handed()) - set(controls):
            raise StudyError(f"measurement {m.label!r} is held against {m.control!r}, which was not handed over")
    against = "placebo" if "placebo" in controls else Role.BASELINE
    own = [str(Role.RECOMPRESSED)] if Role.RECOMPRESSED in controls else []
    return Study(
        name=asked.name,
        title=asked.title,
        description=asked.description,
        seeds=list(seeds),
        net=Net("handed over"),
        tasks={DATA: TaskSpec(data=DATA, title="The data", baseline="")},
        controls=dict.fromkeys((name for name in controls if name != Role.RECOMPRESSED), ""),
        candidates=[
            CandidateSpec(name, family="", recipe="", control=against, own_controls=own) for name in candidates
        ],
        rows=asked.rows,
        measurements=asked.measurements,
        draws=asked.draws,
        text=asked.text,
    )
