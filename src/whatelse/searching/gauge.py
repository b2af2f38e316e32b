"""Budgets held against what was measured of one model: by the gate itself, and aimed at the confirmation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.special import betaincinv, ndtr, ndtri

from whatelse.auditing import verdicts
from whatelse.auditing.effects import Contrast
from whatelse.auditing.questions import DATA, Measurement, Questions
from whatelse.auditing.roles import Role
from whatelse.auditing.verdicts import Compared
from whatelse.errors import BudgetError
from whatelse.findings import record
from whatelse.findings.searched import Constraint
from whatelse.gate.budgets import Budget, Budgets, place
from whatelse.gate.decide import Ruling, decide
from whatelse.gate.degradation import LEVEL
from whatelse.gate.match import Question, ask, check, locate
from whatelse.searching.trial import NAME
from whatelse.statistics.mcnemar import reach
from whatelse.study.as_study import study_of
from whatelse.study.assemble import inquiry_of

REACHED = float(ndtri(1 - LEVEL))  # standard errors from an estimate to its upper bound
AIM = 0.8  # chance that a confirmation passes, from which on a budget counts as kept
STRAYS = float(ndtri(AIM))  # how far a confirmation strays to the worse with the rest of it, in standard errors
Number = TypeVar("Number", float, np.ndarray)
ADVISORY, SUPPORTING = "advisory", "supporting"


def asked_for(budgets: Budgets, asked: Questions) -> list[Measurement]:
    """Return the measurements that budgets ask for.

    Args:
        budgets: As read.
        asked: What may be asked.
    """
    return [m for m in asked.measurements if any(_asks(budget, m) for budget in budgets.budgets)]


def _asks(budget: Budget, m: Measurement) -> bool:
    if budget.tier == ADVISORY:
        return False
    mine = budget.label == m.label if budget.label else budget.behaviour == m.item
    # A budget that is not demanded asks no more than what is primary, or has parts, as the gate reads it.
    return mine and (bool(budget.label) or budget.demanded or m.primary or bool(budget.groups))


@dataclass(frozen=True)
class Held:
    """One constraint as a model was held against it.

    Attributes:
        name: Of the constraint.
        question: As the gate asked it.
    """

    name: str
    question: Question

    @property
    def value(self) -> float:
        """The harm, NaN where it is not known."""
        return math.nan if self.question.harm is None else self.question.harm.value

    @property
    def upper(self) -> float:
        """Its upper bound at one-sided level .05, infinite where there is none."""
        return math.inf if self.question.harm is None else self.question.harm.upper()


class Gauge:
    """Holds budgets against the effects of one candidate.

    Attributes:
        measurements: What the budgets ask for.
    """

    def __init__(self, budgets: Budgets, asked: Questions, measurements: Sequence[Measurement], where: str) -> None:
        self.budgets, self.measurements, self.where = budgets, tuple(measurements), where
        self._labels = {m.label: m for m in measurements}
        study = study_of(asked, [NAME], {}, [0])
        self._inquiry = inquiry_of(study)

    def findings(self, contrasts: Mapping[str, Sequence[Contrast]]) -> record.Findings:
        """Return the findings on one candidate, as the gate takes them.

        Args:
            contrasts: By label of the measurement.
        """
        pairs = ((NAME, str(Role.BASELINE)),)
        compared = [Compared(label, DATA, pairs, found) for label, found in contrasts.items() if label in self._labels]
        return record.Findings(
            whatelse="",
            created="",
            study=record.Study("search", "", "", "", self._inquiry.draws),
            environment=record.Environment("", "", "", "", 1),
            timing=record.Timing(),
            seeds=self._inquiry.seeds,
            tasks=(record.Task(DATA, "", "", {}, 0, "", 0),),
            rows=tuple(record.Row(row.name, row.title, "measured", "", "") for row in self._inquiry.rows),
            candidates=(record.Candidate(name=NAME, family="", role=Role.CANDIDATE, recipe=""),),
            findings=verdicts.decided(self._inquiry, compared).findings,
            claims=(),
        )

    def decide(self, found: record.Findings) -> Ruling:
        """Return what the gate says of the candidate.

        Args:
            found: What `findings` returned.
        """
        return decide(self.budgets, found, where=self.where).rulings[0]

    def held(self, found: record.Findings) -> list[Held]:
        """Return every constraint as the candidate was held against it; advisory budgets constrain nothing.

        Args:
            found: What `findings` returned.

        Raises:
            BudgetError: A budget names what there is not, or does not say which of several measurements it means.
        """
        every: list[Held] = []
        for at, budget in enumerate(self.budgets.budgets):
            where = f"{self.where}: {place(at)}"
            check(budget, found, (), where)
            for one in locate(budget, found, {NAME}, where):
                every += [Held(_name(q), q) for q in ask(budget, one, found, NAME) if q.tier != ADVISORY]
        return [one for one in every if not one.question.passed]


def _name(question: Question) -> str:
    label = question.place.label
    return f"{label} · {question.group}" if question.group else label


def refused(held: Sequence[Held], where: str) -> None:
    """Refuse budgets that this model, on these data, cannot be asked.

    Args:
        held: The constraints, held against the baseline itself.
        where: Name of the budgets file, for the message.

    Raises:
        BudgetError: A constraint has no number.
    """
    for one in held:
        if one.question.harm is None and not one.question.waived:
            why = one.question.missing or "there is no interval"
            raise BudgetError(
                f"{where}: {one.name}: this model cannot be asked: {why}; drop the budget, or ask otherwise"
            )
    if not any(one.question.tier == "critical" and one.question.harm is not None for one in held):
        raise BudgetError(
            f"{where}: no critical budget can be asked of this model on these data: none can be confirmed"
        )


def over(
    question: Question, value: Number, upper: Number, n: int, confirming: int, weight: Number | float = 1.0
) -> Number:
    """Return by how much a budget is exceeded, as a share of it, aimed at a confirmation on other examples.

    A critical budget counts as kept where the upper bound on the confirmation will lie inside it with chance .8: the
    estimate strays by both samples' errors, and the bound lies 1.645 standard errors above it. A supporting one must
    not be shown exceeded: its estimate counts.

    Args:
        question: The budget as it is asked.
        value: The harm, a number or an array.
        upper: Its upper bound at one-sided level .05, likewise.
        n: Examples that it was measured on.
        confirming: Examples of the confirmation.
        weight: How much of the harm is these examples' own word.
    """
    most = question.budget.most
    aimed = value if question.tier == SUPPORTING else ahead(value, upper, n, confirming, weight)
    return (aimed - most) / (most or 1.0)


def spread(question: Question, value: float, upper: float, n: int, confirming: int, weight: float = 1.0) -> float:
    """Return how far a confirmation's bound strays from what is expected: its standard error, as a share of the budget.

    Zero of a supporting budget, which a confirmation need not show kept, and where numbers of examples are not known.

    Args:
        question: The budget as it is asked.
        value: The harm.
        upper: Its upper bound at one-sided level .05.
        n: Examples that it was measured on.
        confirming: Examples of the confirmation.
        weight: How much of the harm is these examples' own word.
    """
    if question.tier == SUPPORTING or not n or not confirming:
        return 0.0
    se = (upper - value) / REACHED
    return se * math.sqrt(weight + n / confirming) / (question.budget.most or 1.0)


def chance(over: Mapping[str, float], spread: Mapping[str, float]) -> float:
    """Return the chance that a confirmation passes, that of the budget that is least sure.

    Budgets stray together, as they are of the same examples: the least of the chances is near that of all.

    Args:
        over: By how much each budget is exceeded, aimed at chance .8.
        spread: How far each strays; zero where it does not.
    """
    each = [
        float(ndtr(STRAYS - one / spread[name])) if spread.get(name, 0.0) > 0 else float(one <= 0)
        for name, one in over.items()
    ]
    return min(each, default=1.0)


def ahead(value: Number, upper: Number, n: int, confirming: int, weight: Number | float = 1.0) -> Number:
    """Return the upper bound that a confirmation stays below with chance .8.

    The truth lies as far from an estimate as examples say, the less so the less of it is their own word.

    Args:
        value: The estimate, a number or an array.
        upper: Its upper bound at one-sided level .05, likewise.
        n: Examples that it was measured on.
        confirming: Examples of the confirmation.
        weight: How much of the estimate is these examples' own word.
    """
    if not n or not confirming:
        return upper
    se, ratio = (upper - value) / REACHED, math.sqrt(n / confirming)
    told: Number = value + se * (REACHED * ratio + STRAYS * (weight + ratio**2) ** 0.5)
    return told


def passes(n: int, most: float) -> float | None:
    """Return the largest share of examples lost, none gained, that a confirmation lets pass with chance .8.

    Args:
        n: Examples of the confirmation.
        most: The budget.

    Returns:
        None where not even a model that loses nothing would pass.
    """
    lost = np.arange(min(n, math.floor(n * most) + 1) + 1)
    _, above = reach(np.zeros_like(lost), lost, np.full_like(lost, n), LEVEL)
    kept = lost[lost / n + above <= most] if n else lost[:0]
    if not len(kept):
        return None
    worst = int(kept.max())
    return float(betaincinv(worst + 1, n - worst, 0.2)) if worst < n else 1.0


def constraint(one: Held, confirming: Held | None, floor: float | None, *, counts: bool) -> Constraint:
    """Return what the record says of a constraint.

    Args:
        one: Held against the baseline itself on select.
        confirming: The same on test; None where it was not asked there.
        floor: The harm that measuring again shows.
        counts: Whether it is a share of examples, whose bounds are those of counts.
    """
    q = one.question
    many = None if confirming is None else confirming.question.n
    counted = counts and q.harm is not None and q.harm.lost is not None
    return Constraint(
        one.name,
        q.place.label,
        q.group,
        q.unit,
        q.budget.most,
        "supporting" if q.tier == SUPPORTING else "critical",
        q.n,
        many,
        passes(many, q.budget.most) if many and counted else None,
        floor,
    )
