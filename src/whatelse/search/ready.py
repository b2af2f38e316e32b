"""Before a search: what is measured, what the budgets ask, and whether anything could pass them at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from whatelse import items
from whatelse.auditing.questions import DATA, Measurement, Questions
from whatelse.errors import BudgetError, SettingError, nearest
from whatelse.findings.searched import Constraint
from whatelse.gate.budgets import Budgets
from whatelse.search import gauge
from whatelse.search.gauge import Gauge, Held
from whatelse.search.judge import ScoresJudge
from whatelse.search.trial import Attempt, Bench
from whatelse.statistics.power import settles_counted
from whatelse.store.protocol import Store
from whatelse.tasks.task import Task

MINIMIZED = ("bytes", "latency", "macs", "parameters")
DRAWS = 2_000  # resamples of a look at select
_ROWS = 1_500  # examples of select that predictions are judged on

Run = Callable[[Sequence[Attempt]], object]


@dataclass(frozen=True)
class Ready:
    """What is known before the first trial.

    Attributes:
        gauge: Holds budgets against effects.
        cheap: What is measured of every trial: what predictions tell, and what is made small.
        costly: What is measured of trials that may win.
        size: The measurement of what is made small.
        constraints: What trials are held against, for the record.
        names: Of the constraints.
        sizes: By name how many examples a constraint has on select and on test.
        judge: Tells of scores by how much budgets are exceeded.
    """

    gauge: Gauge
    cheap: tuple[Measurement, ...]
    costly: tuple[Measurement, ...]
    size: Measurement
    constraints: tuple[Constraint, ...]
    sizes: dict[str, tuple[int, int]]
    judge: ScoresJudge


def sized(asked: Questions, minimize: str) -> tuple[Questions, Measurement]:
    """Return the questions with one on what is made small, and that one.

    Args:
        asked: What is asked.
        minimize: One of `MINIMIZED`.

    Raises:
        SettingError: It is none of them.
    """
    if minimize not in MINIMIZED:
        raise SettingError(f"--minimize {minimize!r}; {nearest(minimize, MINIMIZED)}")
    item = f"efficiency.{minimize}"
    known = next((m for m in asked.measurements if m.item == item), None)
    if known is not None:
        return asked, known
    row = asked.rows[0].name
    one = Measurement(row, item, [DATA], 0.0, minimize)
    return replace(asked, measurements=[*asked.measurements, one]), one


def ready(
    budgets: Budgets,
    where: str,
    asked: Questions,
    size: Measurement,
    bench: Bench,
    task: Task,
    scores: Callable[[Tensor], Tensor],
    run: Run,
    store: Store,
) -> Ready:
    """Return what is known before the first trial.

    Args:
        budgets: As read.
        where: Name of the budgets file, for messages.
        asked: What may be asked of this model.
        size: The measurement of what is made small.
        bench: Lays out attempts.
        task: The examples.
        scores: Class scores of the baseline of inputs.
        run: Does attempts, one after the other.
        store: Where they are kept.

    Raises:
        BudgetError: A budget cannot be asked of this model on these data, the baseline itself breaks it when it is
            measured once more, or not even a model that changes nothing could be shown to keep it.
    """
    wanted = gauge.asked_for(budgets, asked)
    _refuse_unasked(budgets, asked, where)
    held_by = Gauge(budgets, asked, wanted, where)
    again = bench.attempt(bench.baseline, wanted, "select", DRAWS, again=1)
    run([bench.of_baseline([*wanted, size], "select"), again])
    held = held_by.held(held_by.findings(again.contrasts(store)))
    gauge.refused(held, where)
    held = [one for one in held if one.question.harm is not None]
    n, many = len(task.split("select")), len(task.test)
    sizes = [(one.question.n or n, many if (one.question.n or n) == n else (one.question.n or many)) for one in held]
    _refuse_noise(held, sizes, where)
    labels = {m.label: m for m in wanted}
    on_select = task.on("select")
    rows = torch.randperm(n, generator=torch.Generator().manual_seed(bench.seed))[:_ROWS].sort().values
    base = scores(on_select.test.inputs)
    judge = ScoresJudge(held, labels, on_select, base, rows, sizes)
    seen = {one.question.place.label for one, sees in zip(held, judge.seen, strict=True) if sees}
    cheap = [m for m in wanted if m.label in seen]
    still = bench.attempt(bench.baseline, cheap, "test", DRAWS)
    run([bench.of_baseline(cheap, "test"), still])
    confirming = {one.name: one for one in held_by.held(held_by.findings(still.contrasts(store)))}
    _refuse_power(confirming, where)
    known = {one.name: pair for one, pair in zip(held, sizes, strict=True)}
    known |= {
        name: (known[name][0], one.question.n) for name, one in confirming.items() if name in known and one.question.n
    }
    judge = ScoresJudge(held, labels, on_select, base, rows, [known[one.name] for one in held])
    constraints = tuple(gauge.constraint(one, confirming.get(one.name), _floor(one)) for one in held)
    costly = tuple(m for m in wanted if m.label not in seen)
    return Ready(held_by, (*cheap, size), costly, size, constraints, known, judge)


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
        if one.value > 0 and gauge.over(one.question, one.value, one.upper, *pair) > 0:
            most = one.question.budget.most
            raise BudgetError(
                f"{where}: {one.name}: the baseline itself, measured once more with other random numbers, is worse by "
                f"{one.value:.3g} (at most {one.upper:.3g}), and most={most:g}; raise it, or ask of more examples"
            )


def _refuse_power(confirming: dict[str, Held], where: str) -> None:
    """Refuse budgets that not even a model that changes nothing could be shown to keep on test.

    Raises:
        BudgetError: There is one.
    """
    for name, one in confirming.items():
        most, n = one.question.budget.most, one.question.n
        if one.question.tier != "critical" or one.question.waived or one.upper <= most:
            continue
        need = settles_counted(0, 0, 0, most)
        how = "no number of examples is enough" if need is None else f"at least {need} are needed"
        raise BudgetError(
            f"{where}: {name}: {n} examples of test cannot show that a model keeps most={most:g}, not even one that "
            f"changes nothing ({how}); raise most, give more examples, or waive small groups (least)"
        )
