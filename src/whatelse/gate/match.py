"""From a budget to the numbers that it is held against: which measurement, which task, which groups."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from whatelse.errors import BudgetError, nearest
from whatelse.findings import phrasing as words
from whatelse.findings.record import Finding, Findings, Part
from whatelse.gate.budgets import EVERY, Budget
from whatelse.gate.degradation import Harm, harm


@dataclass(frozen=True)
class Place:
    """Where the answer to a budget stands in every candidate's findings; ``absent`` says why it stands nowhere."""

    label: str
    task: str = ""
    absent: str = ""
    parts_only: bool = False


@dataclass(frozen=True)
class Question:
    """One budget put to one candidate, or to one group of it.

    ``missing`` and ``passed`` say why there is nothing to decide: what was demanded is not there, or what is not there
    was not demanded. ``waived`` says why a group decides only where it is shown harmed: it is smaller than the owner
    asks for.
    """

    budget: Budget
    place: Place
    finding: Finding | None = None
    group: str = ""
    part: Part | None = None
    harm: Harm | None = None
    missing: str = ""
    passed: str = ""
    waived: str = ""

    @property
    def tier(self) -> str:
        """What depends on the answer."""
        return self.budget.groups_tier or self.budget.tier if self.group else self.budget.tier

    @property
    def n(self) -> int | None:
        """How many examples it is about; None where it is not known."""
        one = self.part if self.group else self.finding
        return None if one is None else one.n

    @property
    def doubts(self) -> tuple[str, ...]:
        """Checks that failed, of this question: what is doubted of the number alone is not doubted of its parts."""
        finding = self.finding
        if finding is None:
            return ()
        unsaid = finding.validity or (finding.why or "no reason was recorded",)
        told = finding.doubts or (unsaid if finding.verdict == "not trusted" else ())
        believed = self.group or self.budget.gain is not None
        told = tuple(one for one in told if not (believed and one.startswith("implausible gain")))
        return tuple(one for one in told if not (self.group and "this summary is biased" in one))

    @property
    def trusted(self) -> bool:
        """Whether the measurement passed its own checks; a gain that is too good is decided by the budget itself."""
        return self.finding is not None and not self.doubts

    @property
    def may_exceed(self) -> bool:
        """Whether harm that is shown is harm: also where doubts only make the candidate look better than it is."""
        return self.trusted or (self.finding is not None and self.finding.verdict_if_one_sided == "worsened")

    @property
    def unit(self) -> str:
        """The unit of its numbers."""
        if self.finding is None:
            return ""
        return words.parts_unit(self.finding) if self.group else self.finding.unit


def check(budget: Budget, findings: Findings, known: Collection[str], where: str) -> None:
    """Check the names of a budget against what there is.

    Args:
        budget: Any.
        findings: As loaded.
        known: Names of all items; nothing where they are not known.
        where: Its place in the file, for messages.

    Raises:
        BudgetError: A behaviour or a task has a name that nothing has.
    """
    items = {finding.behaviour for finding in findings.findings} | set(known)
    names = ("behaviour", budget.behaviour), ("unless", budget.unless), *(("instead", name) for name in budget.instead)
    for key, name in names:
        if known and name and name not in items:
            raise BudgetError(f"{where}.{key}: no {name!r}; {nearest(name, items)}")
    tasks = [task.name for task in findings.tasks]
    if budget.task and budget.task not in tasks:
        raise BudgetError(f"{where}.task: no {budget.task!r} in the findings; {nearest(budget.task, tasks)}")


def locate(budget: Budget, findings: Findings, models: Collection[str], where: str) -> tuple[Place, ...]:
    """Return the measurement that a budget asks for, and others of its behaviour if it asks every group.

    Of those others only the parts are asked: a harm to a group that stands in the findings is not to be passed by.

    Args:
        budget: Any.
        findings: As loaded.
        models: Names of all candidates.
        where: Its place in the file, for messages.

    Raises:
        BudgetError: Several would do and none of them is primary.
    """
    rows = [f for f in findings.findings if f.candidate in models and budget.behaviour in {"", f.behaviour}]
    if budget.unless and any(f.behaviour == budget.unless and f.parts is not None for f in findings.findings):
        return (Place(budget.behaviour, budget.task, f"the parts of {budget.unless} answer it"),)
    label = budget.label or _label(budget, rows, where)
    first = _place(budget, rows, findings, label)
    if budget.label or budget.groups != [EVERY]:
        return (first,)
    others = dict.fromkeys(f.label for f in rows if f.parts is not None and f.label != label)
    more = tuple(replace(_place(budget, rows, findings, other), parts_only=True) for other in others)
    return more if first.absent and more else (first, *more)


def _place(budget: Budget, rows: list[Finding], findings: Findings, label: str) -> Place:
    mine = [f for f in rows if f.label == label]
    if not mine:
        return Place(label or budget.behaviour, budget.task, _absent(budget, rows, findings))
    task = budget.task or _task(mine, findings)
    return Place(label, task, "" if task in {f.task for f in mine} else f"not measured on the task {task}")


def _label(budget: Budget, rows: list[Finding], where: str) -> str:
    labels = list(dict.fromkeys(f.label for f in rows))
    primary = list(dict.fromkeys(f.label for f in rows if f.primary))
    if len(primary) == 1:
        return primary[0]
    if not budget.demanded and not primary:
        return labels[0] if budget.groups and len(labels) == 1 else ""
    if len(labels) > 1:
        several = ", ".join(repr(label) for label in primary or labels)
        raise BudgetError(f"{where}: {budget.behaviour} was measured in several ways; set label to one of {several}")
    return labels[0] if labels else ""


def _absent(budget: Budget, rows: list[Finding], findings: Findings) -> str:
    if not budget.label or (budget.behaviour and not rows):
        return "measured, but not as a primary question" if rows else "not in the findings"
    labels = {finding.label for finding in rows or findings.findings}
    return f"no measurement of this name; {nearest(budget.label, labels)}" if labels else "not in the findings"


def _task(mine: list[Finding], findings: Findings) -> str:
    tasks = list(dict.fromkeys(f.task for f in mine))
    preferred = [f.task for f in mine if f.primary] + [
        r.task for r in findings.rows if r.name == mine[0].row and r.task
    ]
    return next((task for task in preferred if task in tasks), tasks[0])


def ask(budget: Budget, place: Place, findings: Findings, candidate: str) -> Iterator[Question]:
    """Yield the questions of a budget to one candidate: the whole first, then its groups.

    Args:
        budget: Any.
        place: Where its answer stands.
        findings: As loaded.
        candidate: Name of a candidate.
    """
    whole = Question(budget, place)
    if place.absent:
        spoken = next((name for name in budget.instead if any(f.behaviour == name for f in findings.findings)), "")
        why = f"{place.absent}; {spoken} speaks in its place" if spoken else place.absent
        yield replace(whole, passed=why) if spoken or not budget.demanded else replace(whole, missing=why)
        return
    found = [f for f in findings.findings if (f.candidate, f.label, f.task) == (candidate, place.label, place.task)]
    found = [f for f in found if (f.control == budget.control if budget.control else f.leading)]
    finding = next((f for f in found if f.primary), found[0] if found else None)
    if finding is None and place.parts_only:
        return
    if finding is None:
        against = f"not held against {budget.control}" if budget.control else "not measured"
        yield replace(whole, missing=f"{against} on this candidate")
        return
    whole = replace(whole, finding=finding)
    if place.parts_only:
        sided = finding.parts is not None and (finding.parts.better or finding.better) != "neither"
        yield from _groups(whole, finding) if sided else ()
        return
    if finding.verdict in {"failed", "not measurable"}:
        why = finding.why or "no reason was recorded"
        why = why if why.startswith(finding.verdict) else f"{finding.verdict}: {why}"
        # Data that have nothing that it speaks of answer it; a measurement that broke does not.
        passed = finding.verdict == "not measurable" and not budget.demanded
        yield replace(whole, passed=why) if passed else replace(whole, missing=why)
        if finding.parts is not None:
            yield from _groups(whole, finding)
        return
    moved = harm(finding, finding.better)
    yield replace(whole, harm=moved, missing="" if moved else f"{finding.verdict}: there is no interval")
    yield from _groups(whole, finding)


def _groups(whole: Question, finding: Finding) -> Iterator[Question]:
    """Yield one question for each group that the budget names."""
    asked = whole.budget.groups
    items = {} if finding.parts is None else {part.name: part for part in finding.parts.items}
    better = finding.better if finding.parts is None else finding.parts.better or finding.better
    if asked and (not items or better == "neither"):
        why = "its parts have no better side" if items else "no parts are in the findings"
        for name in asked:
            yield replace(whole, group="every group" if name == EVERY else name, missing=why)
        return
    for name in items if asked == [EVERY] else asked:
        yield _group(replace(whole, group=name, part=items.get(name)), better, sorted(items))


def _group(question: Question, better: str, names: list[str]) -> Question:
    part, least = question.part, question.budget.least
    if part is None:
        return replace(question, missing=f"no such group; {nearest(question.group, names)}")
    moved = harm(part, better)
    if part.n is None:
        empty = moved is None and question.budget.groups == [EVERY]
        return replace(question, harm=moved, waived="it has no number" if empty else "")
    few = f"{examples(part.n)}, fewer than {least}" if part.n < least else ""
    return replace(question, harm=moved, waived=few)


def examples(n: int) -> str:
    """Return a number of test examples in words.

    Args:
        n: How many.
    """
    return f"{words.count(n)} {words.plural(n, 'example')}" if n else "no test example"
