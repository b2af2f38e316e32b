"""Before a search: what is measured, what the budgets ask, and whether anything could pass them at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from whatelse import items
from whatelse.auditing.ask import clustered
from whatelse.auditing.questions import Measurement, Questions
from whatelse.errors import BudgetError, nearest
from whatelse.evidence.cache import Evidence
from whatelse.findings.searched import Constraint
from whatelse.gate.budgets import Budgets
from whatelse.searching import gauge
from whatelse.searching.answers import AnswersJudge, ChoicesJudge, looked_at
from whatelse.searching.gauge import Gauge, Held
from whatelse.searching.judge import ScoresJudge
from whatelse.searching.runner import Runner
from whatelse.searching.trial import Bench
from whatelse.statistics.power import settles_counted
from whatelse.study.meeting import Meeting
from whatelse.tasks.language import CHOICES, PAIRS
from whatelse.tasks.task import Task

DRAWS = 500  # resamples of a look at select
_ROWS = 1_200  # examples of select that predictions are judged on

Judge = ScoresJudge | AnswersJudge
Sizes = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Ready:
    """What is known before the first trial.

    Attributes:
        gauge: Holds budgets against effects.
        cheap: What is measured of every trial: what predictions tell, and what is made small.
        costly: What is measured of trials that may win.
        size: The measurement of what is made small.
        constraints: What trials are held against, for the record.
        sizes: By name how many examples a constraint has on select and on test.
        judge: Tells of scores by how much budgets are exceeded.
        watched: By label of a costly measurement that ends once it is clear, the strictest budget on it.
    """

    gauge: Gauge
    cheap: tuple[Measurement, ...]
    costly: tuple[Measurement, ...]
    size: Measurement
    constraints: tuple[Constraint, ...]
    sizes: dict[str, tuple[int, int]]
    judge: Judge
    watched: Mapping[str, float] = field(default_factory=dict)


def ready(
    budgets: Budgets,
    where: str,
    asked: Questions,
    size: Measurement,
    bench: Bench,
    met: Meeting,
    runner: Runner,
) -> Ready:
    """Return what is known before the first trial.

    Args:
        budgets: As read.
        where: Name of the budgets file, for messages.
        asked: What may be asked of this model.
        size: The measurement of what is made small.
        bench: Lays out attempts.
        met: The baseline, and the examples.
        runner: Does attempts.

    Raises:
        BudgetError: A budget cannot be asked of this model on these data, the baseline itself breaks it when it is
            measured once more, or not even a model that changes nothing could be shown to keep it.
    """
    task, store = met.task, runner.store
    wanted = gauge.asked_for(budgets, asked)
    _refuse_unasked(budgets, asked, where)
    held_by = Gauge(budgets, asked, wanted, where)
    again = bench.attempt(bench.baseline, wanted, "select", DRAWS, again=1)
    runner.run([bench.of_baseline([*wanted, size], "select"), again])
    held = held_by.held(held_by.findings(again.contrasts(store)))
    gauge.refused(held, where)
    held = [one for one in held if one.question.harm is not None]
    n, many = len(task.split("select")), len(task.test)
    sizes = [(one.question.n or n, many if (one.question.n or n) == n else (one.question.n or many)) for one in held]
    _refuse_noise(held, sizes, where)
    labels = {m.label: m for m in wanted}
    judging = _judging(met, labels, bench.seed)
    judge = judging(held, sizes)
    seen = {one.question.place.label for one, sees in zip(held, judge.seen, strict=True) if sees}
    cheap = [m for m in wanted if m.label in seen]
    still = bench.attempt(bench.baseline, cheap, "test", DRAWS)
    runner.run([bench.of_baseline(cheap, "test"), still])
    told = held_by.held(held_by.findings(still.contrasts(store)))  # of what is costly nothing: it waits
    confirming = {one.name: one for one in told if one.question.place.label in seen}
    counted = {name for name, counts in zip(judge.names, judge.counts, strict=True) if counts}
    _refuse_power({name: one for name, one in confirming.items() if name in counted}, where)
    known = {one.name: pair for one, pair in zip(held, sizes, strict=True)}
    known |= {
        name: (known[name][0], one.question.n) for name, one in confirming.items() if name in known and one.question.n
    }
    _refuse_sight([one for one in held if one.name in counted], known, where)
    judge = judging(held, [known[one.name] for one in held])
    constraints = tuple(
        gauge.constraint(one, confirming.get(one.name), _floor(one), counts=one.name in counted) for one in held
    )
    return Ready(
        held_by, (*cheap, size), tuple(m for m in wanted if m.label not in seen), size, constraints, known, judge
    )


def _judging(met: Meeting, labels: Mapping[str, Measurement], seed: int) -> Callable[[Sequence[Held], Sizes], Judge]:
    """Return what makes a judge of constraints and of how many examples each has."""
    on_select = met.task.on("select")
    order = torch.randperm(len(on_select.test), generator=torch.Generator().manual_seed(seed))[:_ROWS]
    rows = order.sort().values if on_select.language is None else looked_at(on_select, order)
    if on_select.language is not None and on_select.modality not in {CHOICES, PAIRS}:
        base = Evidence(met.baseline(), on_select)
        return lambda held, sizes: AnswersJudge(held, labels, base, rows, sizes, seed)
    kind = ScoresJudge if on_select.language is None else ChoicesJudge
    scores = Evidence(met.baseline(), met.task, on="select").logits()
    return lambda held, sizes: kind(held, labels, on_select, scores, rows, sizes)


def watching(known: Ready, task: Task, *, stop: bool) -> Ready:
    """Return what is known, with costly measurements to end once they are clear, where nothing hinders that.

    What is held to budgets by groups is measured whole, as is everything on a task with clusters.

    Args:
        known: What was known so far.
        task: The examples.
        stop: Whether anything may end early at all.
    """
    found = {}
    for m in (m for m in known.costly if stop and m.costly and not clustered(task)):
        mine = [one for one in known.constraints if one.label == m.label]
        if mine and not any(one.group for one in mine):
            found[m.label] = min(one.most for one in mine)
    return replace(known, watched=found)


def _floor(one: Held) -> float | None:
    return abs(one.value) if one.value else None


def _refuse_unasked(budgets: Budgets, asked: Questions, where: str) -> None:
    items_asked, labels = {m.item for m in asked.measurements}, {m.label for m in asked.measurements}
    for at, budget in enumerate(budgets.budgets):
        if budget.behaviour and budget.demanded and not budget.label and budget.behaviour not in items_asked:
            items.behaviour(budget.behaviour)
            raise BudgetError(
                f"{where}: budgets[{at}].behaviour={budget.behaviour!r} is not among the questions that are asked; "
                "give it a measurement in --questions"
            )
        if budget.label and budget.label not in labels:
            raise BudgetError(f"{where}: budgets[{at}].label: {budget.label!r}; {nearest(budget.label, labels)}")


def _refuse_noise(held: Sequence[Held], sizes: Sequence[tuple[int, int]], where: str) -> None:
    """Refuse budgets that the baseline itself breaks when it is measured once more with other random numbers.

    Raises:
        BudgetError: It does.
    """
    for one, pair in zip(held, sizes, strict=True):
        moved, upper = abs(one.value), abs(one.value) + one.upper - one.value  # the next time it is worse as likely
        if moved > 0 and gauge.over(one.question, moved, upper, *pair) > 0:
            most = one.question.budget.most
            raise BudgetError(
                f"{where}: {one.name}: the baseline itself, measured once more with other random numbers, moves by "
                f"{moved:.3g} (to {upper:.3g} by chance), and most={most:g}; raise it, or ask of more examples"
            )


def _refuse_power(confirming: Mapping[str, Held], where: str) -> None:
    """Refuse budgets that not even a model that changes nothing could be shown to keep on test.

    Raises:
        BudgetError: There is one.
    """
    for name, one in confirming.items():
        if _decides(one) and one.upper > one.question.budget.most:
            need = settles_counted(0, 0, 0, one.question.budget.most)
            raise BudgetError(_too_few(f"{where}: {name}", one, "test", need))


def _refuse_sight(held: Sequence[Held], sizes: Mapping[str, tuple[int, int]], where: str) -> None:
    """Refuse budgets of which select has too few examples to aim at the confirmation, whatever changed.

    Raises:
        BudgetError: There is one.
    """
    for one in held:
        n, many = sizes[one.name]
        if _decides(one) and one.value == 0 and gauge.over(one.question, 0.0, one.upper, n, many) > 0:
            most = one.question.budget.most
            # The bound of n examples without a change shrinks as 1 / n.
            need = next(
                (k for k in (n * 2**i for i in range(1, 20)) if gauge.ahead(0, one.upper * n / k, k, many) <= most),
                None,
            )
            raise BudgetError(_too_few(f"{where}: {one.name}", one, "select", need))


def _decides(one: Held) -> bool:
    return one.question.tier == "critical" and not one.question.waived


def _too_few(where: str, one: Held, split: str, need: int | None) -> str:
    how = "no number of examples is enough" if need is None else f"about {need} are needed"
    most, n = one.question.budget.most, one.question.n
    if n is None:
        return (
            f"{where}: on {split} not even the baseline held against itself is shown to keep most={most:g}, its harm "
            f"being at most {one.upper:.3g}; raise it, or give more examples"
        )
    return (
        f"{where}: {n} examples of {split} cannot show that a model keeps most={most:g}, not even one that changes "
        f"nothing ({how}); raise most, give more examples, or waive small groups (least)"
    )
