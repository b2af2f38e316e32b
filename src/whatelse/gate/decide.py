"""GO, NO-GO or INCONCLUSIVE: budgets held against the bounds of findings.  Pure: findings in, a decision out.

A budget is kept where the upper bound of the harm, at one-sided level .05, is no more than what is accepted. GO needs
every critical budget kept, an intersection-union test: it errs with at most .05 however many budgets there are, and
needs no correction (Berger, Technometrics 24:295-300, 1982). A budget is exceeded where the lower bound of the harm is
more than what is accepted. NO-GO needs a single one, so that false alarms would grow with their number: Holm corrects
over the critical and supporting questions of a candidate, all groups of a budget together weighing as much as one
whole, so that a thousand classes do not silence the other questions. Anything else is undecided, never passed. A group
is a question of its own however small it is: harm that its own exact bounds show counts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from whatelse.errors import FindingsError, nearest
from whatelse.findings import checks
from whatelse.findings import phrasing as words
from whatelse.findings.record import Findings, Floors
from whatelse.findings.roles import Role
from whatelse.gate.budgets import Budget, Budgets, place
from whatelse.gate.degradation import BELIEF, LEVEL, Harm
from whatelse.gate.match import Place, Question, ask, check, examples, locate
from whatelse.statistics.mcnemar import reach
from whatelse.statistics.multiplicity import holm
from whatelse.statistics.power import settles, settles_counted
from whatelse.statistics.seeds import dominate

Decision = Literal["within", "exceeded", "implausible gain", "undecided", "missing", "too few", "not asked"]
Verdict = Literal["GO", "INCONCLUSIVE", "NO-GO"]
CODES: dict[Verdict, int] = {"GO": 0, "NO-GO": 1, "INCONCLUSIVE": 2}
BROKEN = frozenset({"exceeded", "implausible gain"})
OPEN = frozenset({"undecided", "missing"})


@dataclass(frozen=True)
class Answer:
    """What became of one question: the decision, its reason, what would settle it, and remarks.

    ``p`` is the smallest one-sided level at which the harm is shown to exceed the budget, ``adjusted_p`` the same after
    Holm; None where the question does not decide.
    """

    question: Question
    decision: Decision
    why: str = ""
    settle: str = ""
    notes: tuple[str, ...] = ()
    p: float | None = None
    adjusted_p: float | None = None

    @property
    def budget(self) -> Budget:
        """What was accepted."""
        return self.question.budget

    @property
    def tier(self) -> str:
        """What depends on it."""
        return self.question.tier

    @property
    def broken(self) -> bool:
        """Whether it makes a NO-GO."""
        return self.decision in BROKEN and self.tier != "advisory"

    @property
    def open(self) -> bool:
        """Whether it keeps a GO away."""
        return self.decision in OPEN and self.tier == "critical"


@dataclass(frozen=True)
class Ruling:
    """The verdict on one candidate, and the answers that it rests on."""

    candidate: str
    verdict: Verdict
    answers: tuple[Answer, ...]

    @property
    def because(self) -> tuple[Answer, ...]:
        """The answers that keep a GO away, the worse ones where there are both."""
        return tuple(a for a in self.answers if (a.broken if self.verdict == "NO-GO" else a.open))


@dataclass(frozen=True)
class Gate:
    """The verdict on all candidates: that of the worst; and what checks of models and data found beside it."""

    title: str
    verdict: Verdict
    rulings: tuple[Ruling, ...]
    checked: tuple[str, ...] = ()

    @property
    def code(self) -> int:
        """The exit code that says so."""
        return CODES[self.verdict]


def decide(
    budgets: Budgets,
    findings: Findings,
    candidates: Sequence[str] = (),
    known: Collection[str] = (),
    where: str = "budgets",
) -> Gate:
    """Return the verdict.

    Args:
        budgets: As read.
        findings: As loaded.
        candidates: Names of candidates; all where there are none.
        known: Names of all items, to tell a misspelled one from one that was not measured.
        where: Name of the budgets file, for messages.

    Raises:
        BudgetError: A budget names what there is not, or does not say which of several measurements it means.
        FindingsError: There is no candidate, or none of that name.
    """
    models = _models(findings, candidates)
    everyone = {c.name for c in findings.candidates if c.role is Role.CANDIDATE}
    places = []
    for at, budget in enumerate(budgets.budgets):
        check(budget, findings, known, f"{where}: {place(at)}")
        places.append(locate(budget, findings, everyone, f"{where}: {place(at)}"))
    rulings = tuple(_ruling(name, budgets, places, findings) for name in models)
    worst = max((ruling.verdict for ruling in rulings), key=("GO", "INCONCLUSIVE", "NO-GO").index)
    return Gate(budgets.title, worst, rulings, tuple(checks.told(findings.comparability)))


def _models(findings: Findings, asked: Sequence[str]) -> list[str]:
    """Return the names of the candidates to decide on, in the order of the file.

    Raises:
        FindingsError: There is no candidate, or none of that name.
    """
    names = [c.name for c in findings.candidates if c.role is Role.CANDIDATE]
    if not names:
        raise FindingsError(
            "findings: candidates: none of them has the role candidate; a gate needs a model to decide on"
        )
    for name in asked:
        if name not in names:
            raise FindingsError(f"--candidate: got {name!r}; {nearest(name, names)}")
    return [name for name in names if name in asked or not asked]


def _ruling(candidate: str, budgets: Budgets, places: Sequence[Sequence[Place]], findings: Findings) -> Ruling:
    pairs = zip(budgets.budgets, places, strict=True)
    questions = [q for budget, every in pairs for at in every for q in ask(budget, at, findings, candidate)]
    raw = [_p(question) for question in questions]
    family = [math.nan if q.tier == "advisory" else p for q, p in zip(questions, raw, strict=True)]
    weights = _weights(questions, family)
    total = sum(w for w, p in zip(weights, family, strict=True) if not math.isnan(p))
    answers = tuple(
        _answer(question, p, p if math.isnan(adjusted) else float(adjusted), LEVEL * weight / max(weight, total))
        for question, p, adjusted, weight in zip(questions, raw, holm(family, weights), weights, strict=True)
    )
    return Ruling(candidate, _verdict(answers), answers)


def _weights(questions: Sequence[Question], family: Sequence[float]) -> list[float]:
    """Return the weight of each question in the correction: 1 of a whole, 1 of all groups of a budget together."""
    sizes = Counter(id(q.budget) for q, p in zip(questions, family, strict=True) if q.group and not math.isnan(p))
    return [1 / max(1, sizes[id(q.budget)]) if q.group else 1.0 for q in questions]


def _verdict(answers: Sequence[Answer]) -> Verdict:
    if any(answer.broken for answer in answers):
        return "NO-GO"
    shown = any(answer.decision == "within" and answer.tier == "critical" for answer in answers)
    return "GO" if shown and not any(answer.open for answer in answers) else "INCONCLUSIVE"


def _p(question: Question) -> float:
    """Return the level at which the budget is shown exceeded, NaN where that cannot be asked."""
    if question.harm is None or not question.may_exceed:
        return math.nan
    return question.harm.p(question.budget.most)


def _answer(question: Question, p: float, adjusted: float, level: float) -> Answer:
    """Return the answer to a question whose harm is to be shown at a level, its share of what all may err by."""
    moved = question.harm
    if moved is None:
        return _unanswered(question)
    known = {} if math.isnan(p) else {"p": p, "adjusted_p": adjusted}
    decision, why = _decided(question, moved, adjusted)
    why = "; ".join(filter(None, (why, _changes(question))))
    if question.waived and decision not in BROKEN:
        return Answer(question, "too few", f"waived: {question.waived}; {why}", "", _notes(question), **known)
    settle = _settle(question, moved, p, level) if decision == "undecided" else ""
    return Answer(question, decision, why, settle, _notes(question), **known)


def _unanswered(question: Question) -> Answer:
    """Return the answer to a question that there is no number for."""
    if question.passed:
        return Answer(question, "not asked", question.passed)
    if question.missing or question.part is None or question.n is None and not question.waived:
        return Answer(
            question, "missing", question.missing or "there is no interval", "" if question.finding else "measure it"
        )
    if question.waived:
        return Answer(question, "too few", f"waived: {question.waived}")
    if not question.n:
        need = settles_counted(0, 0, 0, question.budget.most)
        return Answer(question, "undecided", examples(0), "" if need is None else f"about {words.count(need)} examples")
    if not question.trusted:
        why = f"{examples(question.n)}; not trusted: {_doubts(question.doubts)}"
        return Answer(question, "undecided", why, "a measurement that passes its own checks")
    return Answer(question, "undecided", f"{examples(question.n)}, too few for an interval", "more of its examples")


def _changes(question: Question) -> str:
    """Return how many examples of a group changed, such as ``25 examples: 24 lost, none gained``."""
    moved = question.harm
    if question.part is None or question.n is None:
        return ""
    if moved is None or moved.lost is None or moved.gained is None:
        return examples(question.n)
    lost, gained = (words.count(many) if many else "none" for many in (moved.lost, moved.gained))
    return f"{examples(question.n)}: {lost} lost, {gained} gained"


def _decided(question: Question, moved: Harm, adjusted: float) -> tuple[Decision, str]:
    most, gain, finding = question.budget.most, question.budget.gain, question.finding
    if question.trusted and not question.group and gain is not None and -moved.upper(BELIEF) > gain:
        told = words.size(gain, question.unit)
        return "implausible gain", f"better by more than {told}: leakage or other data are likelier than a miracle"
    if adjusted <= LEVEL:
        return "exceeded", ""
    flattered = finding is not None and finding.verdict == finding.verdict_if_one_sided == "improved"
    if (question.trusted or flattered) and moved.upper() <= most:
        spent = _spent(question)
        return ("undecided", spent) if spent else ("within", "")
    if not question.trusted and not flattered:
        return "undecided", f"not trusted: {_doubts(question.doubts)}"
    return "undecided", ""


def _spent(question: Question) -> str:
    """Return in words that a budget is all that the control has left to lose, or nothing."""
    finding = question.finding
    if finding is None or question.part is not None or finding.room is None or question.budget.most < finding.room:
        return ""
    return (
        f"the control is only shown to have {words.size(finding.room, finding.unit)} left to lose, so that any model "
        "might keep the budget"
    )


def _doubts(told: Sequence[str]) -> str:
    return f"{told[0]} (and {len(told) - 1} doubts more)" if len(told) > 1 else told[0]


def _settle(question: Question, moved: Harm, p: float, level: float) -> str:
    """Return in words what would settle an undecided question."""
    if not question.trusted:
        return "a measurement that passes its own checks"
    most = question.budget.most
    if _spent(question):
        return "a smaller budget, or a setting at which the control has more to lose"
    if moved.value == most:
        return "no number of examples can: the harm is the budget"
    if moved.finest == p:
        return f"bounds at levels stricter than {p:g}, which these findings do not have: measure again"
    seeds, n, noun = _units(question)
    beyond = moved.value > most
    need = _needed(question, moved, n, level if beyond else LEVEL)
    if need is None:
        return f"more {noun} than anyone measures"
    leaning = "; it leans beyond the budget" if beyond else ""
    if n is None:
        return f"about {need / 1000:.1f} times as many {noun}{leaning}"
    return f"about {words.count(need)} {noun} (now {words.count(n)}){'' if not seeds else ', which vary most'}{leaning}"


def _needed(question: Question, moved: Harm, n: int | None, level: float) -> int | None:
    """Return how many examples, or seeds, show it at a level; of 1000 where it is not known how many there are."""
    most = question.budget.most
    if n and _is_counted(moved, n):
        return settles_counted(moved.gained or 0, moved.lost or 0, n, most, level=level)
    # What is to be shown beyond the budget is shown by the lower bound: its distance counts.
    upper = 2 * moved.value - moved.lower() if moved.value > most else moved.upper()
    if (
        upper < moved.value
    ):  # bounds of a minimum over groups, say, may leave its estimate out: half their width is taken
        upper = moved.value + (moved.upper() - moved.lower()) / 2
    return settles(moved.value, upper, most, n or 1000, level=level) if math.isfinite(upper) else None


def _is_counted(moved: Harm, n: int) -> bool:
    """Say whether the bounds are those of counts among n examples, and not of a mean over parts of different sizes."""
    if moved.lost is None or moved.gained is None or moved.lost + moved.gained > n:
        return False
    _, above = reach(np.array([moved.lost]), np.array([moved.gained]), np.array([n]), LEVEL)
    return math.isclose(moved.upper(), min(1.0, (moved.lost - moved.gained) / n + float(above[0])), abs_tol=1e-6)


def _units(question: Question) -> tuple[bool, int | None, str]:
    """Return whether seeds are what varies most, how many there are of what varies, and their name."""
    finding = question.finding
    if finding is None:
        return False, None, "examples"
    each = [effect for effect in finding.per_seed if effect is not None]
    ends = (finding.low, finding.high)
    wide = ends[0] is not None and ends[1] is not None and dominate(each, ends[0], ends[1])
    if finding.seeds and (finding.needed_seeds is not None or (finding.needed is None and wide)):
        return True, finding.seeds, "seeds"
    if finding.clusters is not None:
        return False, finding.clusters if question.part is None else None, "clusters"
    if question.part is not None:
        return False, question.part.n, "examples"
    return False, finding.n, words.plural(2, finding.unit_of_analysis)


def _notes(question: Question) -> tuple[str, ...]:
    finding, budget, notes = question.finding, question.budget, []
    if finding is None:
        return ()
    floors = finding.floors or Floors()
    failing = (
        (finding.floor, "retraining the baseline would fail it too"),
        (floors.compression, "compressing once more under another seed may move it further"),
        (floors.measurement, "measuring the baseline again may move it further"),
    )
    for floor, said in failing:
        if question.part is None and floor is not None and floor > budget.most:
            notes.append(f"budget below the noise floor (±{words.size(floor, finding.unit)}): {said}")
    if finding.seeds == 1 and question.part is None:
        notes.append("one seed: speaks for these two checkpoints only")
    if question.part is not None and question.part.n is None:
        notes.append("how many examples the group has is not recorded")
    if question.unit != finding.unit:
        notes.append(f"held against the budget in the unit of its parts, {question.unit}")
    return tuple(notes)
