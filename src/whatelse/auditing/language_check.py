"""Before two language models are held against each other: do they cut the data alike, and do they know its letters."""

from __future__ import annotations

from collections.abc import Iterator

from whatelse.errors import TaskError
from whatelse.findings.checks import Agreed, Check
from whatelse.models.model import Model, Reads, Recorded, Writes
from whatelse.tasks.task import Task

_MOST = 64  # passages that are looked at
_UNKNOWN = 0.5  # share of tokens above which nothing is read


def compare(baseline: Model, candidate: Model, task: Task, *, force: bool = False) -> list[Check]:
    """Return the checklist of a pair.

    Args:
        baseline: The model before.
        candidate: The model after.
        task: What they are asked.
        force: True states what would be refused.

    Raises:
        TaskError: Most tokens of the data are unknown to one of them.
    """
    cuts = {one.name: _cut(one, task) for one in (baseline, candidate)}
    if not force:
        for one in (baseline, candidate):
            _check_known(one, cuts[one.name])
    return [*_checks(baseline, candidate, cuts), Check("data", f"task {task.name}, hash {task.key}", _SAME, "same")]


_SAME = "the same examples in the same order"


def _checks(baseline: Model, candidate: Model, cuts: dict[str, list[list[int]]]) -> Iterator[Check]:
    before, after = cuts[baseline.name], cuts[candidate.name]
    alike: Agreed = "same" if before == after else "stated"
    yield Check("tokens", _tokens(baseline, before), _tokens(candidate, after), alike)
    for name, look in (("tokens at once", _longest), ("answers", _how)):
        one, two = look(baseline), look(candidate)
        yield Check(name, one, two, "same" if one == two else "stated")


def _cut(model: Model, task: Task) -> list[list[int]]:
    """Return the tokens of the first passages of test; none of a model that does not read."""
    source = model.source
    if not isinstance(source, Reads) or task.language is None:
        return []
    texts = (p.context + p.continuations[0] for p in task.language.of(task.test.inputs[:_MOST]))
    return [source.cut(text, whole=True) for text in texts]


def _check_known(model: Model, cuts: list[list[int]]) -> None:
    """Refuse a model that cannot read most of the data.

    Raises:
        TaskError: It cannot.
    """
    source = model.source
    count = sum(map(len, cuts))
    if not isinstance(source, Reads) or not count:
        return
    unknown = sum(tokens.count(source.unknown) for tokens in cuts) / count
    if unknown > _UNKNOWN:
        raise TaskError(
            f"{model.name} cannot read these data: {unknown:.0%} of {count} tokens are unknown to its tokenizer; give "
            "text of its language, or measure all the same with force (--force)"
        )


def _tokens(model: Model, cuts: list[list[int]]) -> str:
    if not cuts:
        return "cuts nothing"
    return f"cuts {len(cuts)} passages into {sum(map(len, cuts))} tokens of {_size(model)}"


def _size(model: Model) -> int:
    return model.source.vocabulary if isinstance(model.source, Reads) else 0


def _longest(model: Model) -> str:
    return f"reads {model.source.longest} tokens at once" if isinstance(model.source, Reads) else "was recorded"


def _how(model: Model) -> str:
    if isinstance(model.source, Recorded) and not isinstance(model.source, Reads):
        return "has recorded scores"
    return f"reads{' and writes' if isinstance(model.source, Writes) else ''}"
