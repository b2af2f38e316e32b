"""A search from a model, data and budgets to the smallest model that is shown to keep all of them."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

import whatelse
from whatelse import items, recipe
from whatelse.artifacts import compress
from whatelse.auditing.ask import generator
from whatelse.auditing.questions import Questions, default, fitting, read_questions, settled
from whatelse.auditing.roles import Role
from whatelse.errors import SettingError, TaskError
from whatelse.findings.consistent import check_search
from whatelse.findings.record import Findings
from whatelse.findings.searched import Searched
from whatelse.gate import budgets as owners
from whatelse.gate.budgets import Budgets
from whatelse.items import Strategy
from whatelse.modules import windows
from whatelse.searching import layered, spaces
from whatelse.searching.ending import Ending, write
from whatelse.searching.made_small import cost, module, sized
from whatelse.searching.protocol import Problem
from whatelse.searching.ready import Ready, ready, watching
from whatelse.searching.runner import Runner
from whatelse.searching.trial import NAME, Bench
from whatelse.searching.trials import Loop, State
from whatelse.store import places
from whatelse.store.protocol import Store
from whatelse.study import run
from whatelse.study.audit import audit
from whatelse.study.meeting import Meeting, Model, meet
from whatelse.tasks.task import Task


@dataclass(frozen=True)
class Found:
    """What a search ends in.

    Attributes:
        record: Every trial, the finalists, and what was chosen.
        model: The smallest model that was shown to keep all budgets; None where there is none.
        findings: Its audit on test; None where there is none.
    """

    record: Searched
    model: nn.Module | None
    findings: Findings | None


def search(
    model: nn.Module | str,
    task: Task | str,
    budgets: Budgets | Path | str = "",
    *,
    minimize: str = "bytes",
    strategy: str = "descend",
    space: Sequence[str] = (spaces.LAYERS,),
    choices: Sequence[str] = layered.CHOICES,
    then: str = "",
    trials: int = 60,
    minutes: float = 0.0,
    asked: Questions | None = None,
    stop: bool = False,
    seed: int = 0,
    out: Path | None = None,
    results: str | Path | None = None,
    on: str = "",
    workers: int = 0,
    max_memory: str = "",
    show: Callable[[State], None] | None = None,
) -> Found:
    """Return the smallest model that is shown to keep all budgets, with all that was tried.

    Trials are measured on select alone. At most six of them, from safe to small, are then held against the budgets on
    test, in fixed sequence: the last that passes before the first failure is the answer, which breaks a critical budget
    with chance at most .05. All is kept: a search that was interrupted goes on where it was.

    Args:
        model: The baseline: a module, or what opens one.
        task: The examples, or what opens them.
        budgets: A budgets file, or what was read; empty for the default budgets.
        minimize: What is made small: ``bytes``, ``parameters``, ``macs`` or ``latency``.
        strategy: One of ``whatelse list strategies``, with settings where they differ, such as ``descend(radius=3)``.
        space: What may be proposed: ``layers`` (each by itself), ``widths`` (of groups of coupled layers), ``depth``
            (layers and blocks that go), and recipes for the whole model whose settings may be lists.
        choices: Recipes for one layer, whose settings may be lists: what each layer may become.
        then: A recipe that trains what was made smaller, such as ``train.finetune(epochs=1)``; empty for nothing.
        trials: How many configurations are measured; 0 leaves it to ``minutes``.
        minutes: After which no more is begun; 0 for no limit.
        asked: What may be asked; the questions of an audit where it is None.
        stop: True ends a ``costly`` measurement of a trial once its verdict is clear: hopeless trials cost less, and
            intervals of the others are wider, since they hold at every look; not with clusters, or budgets by groups.
        seed: Decides everything random.
        out: Folder to write the winner to; None writes none.
        results: Folder or address where trials are kept and found again; None keeps nothing.
        on: Where jobs run, an engine of ``whatelse list engines``; empty chooses ``processes`` for texts and
            ``inline`` for objects.
        workers: How many jobs at once; 0 for as many as cores.
        max_memory: What opening a file may take, such as ``8G``; empty for the usual.
        show: Called whenever the search got further.

    Raises:
        BudgetError: The budgets cannot be read or asked of this model, or could never be confirmed on these data.
        SettingError: A setting is wrong, or the space is empty.
        RecipeError: A choice or what follows cannot be read.
        TaskError: The model does not fit the data, or is no torch module.
        StoreError: Results cannot be written.
    """
    proposing, given, called = _proposing(strategy)
    _check(trials, minutes, then, space, out)
    engine = on or ("processes" if isinstance(model, str) and isinstance(task, str) else "inline")
    run.check_engine(engine)
    budget = _budgets(budgets)
    with ExitStack() as stack:
        kept = results or stack.enter_context(tempfile.TemporaryDirectory())
        store = places.at(kept)
        met = _met(model, task, max_memory, store, stack, inline=engine == "inline")
        runner = stack.enter_context(Runner(lambda: run.engine(engine, workers), store))
        questions, size = sized(_questions(asked, met), minimize)
        bench = Bench(met.data, met.models[Role.BASELINE], seed)
        known = watching(ready(*budget, questions, size, bench, met, runner), met.task, stop=stop)
        going = _Going(met, known, bench, runner, State(total=trials), show or _silent, seed)
        problem = going.problem(space, choices, then)
        going.search(problem, proposing, given, time.monotonic() + 60 * minutes if minutes else math.inf)
        told, winner = going.end(problem, questions.draws)
        told = replace(told, model=_called(model), data=_called(task), strategy=called, budgets=_title(*budget))
        if winner is None:
            return Found(told, None, None)
        place = out or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "winner"
        write(winner, told, place, _seen(winner, met.task, seed), bench, store)
        going.tell("auditing")
        runner.end()
        how: dict[str, Any] = {"seed": seed, "results": kept, "on": engine, "workers": workers}
        found = audit(model, {"winner": str(place)}, task, questions, max_memory=max_memory, **how)
        return Found(replace(told, folder="" if out is None else str(out)), winner, found)


@dataclass
class _Going:
    """A search in progress."""

    met: Meeting
    known: Ready
    bench: Bench
    runner: Runner
    state: State
    show: Callable[[State], None]
    seed: int

    def problem(self, wanted: Sequence[str], choices: Sequence[str], then: str) -> Problem:
        """Return what is searched."""
        met, whole = self.met, module(self.met)
        measured = partial(cost, self.known.size.item, met.task)
        seen = _seen(whole, met.task, self.seed)
        space, parts, sizes = spaces.space_of(whole, seen, wanted, choices, then, measured, self.seed)
        on_select = met.task.on("select")
        return Problem(space, whole, on_select, self.known.judge, measured, parts, sizes, self.state.total)

    def search(self, problem: Problem, proposing: Strategy, given: dict[str, object], limit: float) -> None:
        """Measure what a strategy asks for, and take what it has to say at the end."""
        self.tell("searching")
        rng, started = generator("search", proposing.name, str(self.seed)), time.perf_counter()
        strategy = proposing.start(problem, proposing.configure(given), rng)
        self.state.planning += time.perf_counter() - started
        Loop(problem, strategy, self.known, self.bench, self.runner, limit, self.show, self.state).run()
        self.state.remarks += strategy.remarks()

    def end(self, problem: Problem, draws: int) -> tuple[Searched, nn.Module | None]:
        """Confirm, and return the record and the answer."""
        self.tell("confirming")
        ending = Ending(self.state, self.known, self.bench, self.runner)
        held, winner = ending.confirmed(draws)
        told = Searched(
            whatelse=whatelse.__version__,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            model="",
            data="",
            strategy="",
            seed=self.seed,
            minimize=self.known.size.item.rpartition(".")[2],
            unit=items.behaviour(self.known.size.item).unit,
            baseline=problem.cost(problem.model),
            splits={split: len(self.met.task.splits[split]) for split in ("train", "select", "test")},
            space=spaces.told(problem.space),
            budgets="",
            constraints=self.known.constraints,
            trials=tuple(self.state.trials),
            finalists=tuple(held),
            winner=0 if winner is None else winner.number,
            nearest=ending.nearest(),
            remarks=tuple(self.state.remarks),
            seconds={**self.runner.seconds, "planning": self.state.planning},
        )
        check_search(told)
        return told, None if winner is None else ending.model(winner)

    def tell(self, phase: str) -> None:
        """Say what comes now."""
        self.state.phase = phase
        self.show(self.state)


def _check(trials: int, minutes: float, then: str, space: Sequence[str], out: Path | None) -> None:
    """Refuse what is wrong before any work.

    Raises:
        SettingError: There is no end, or one below 0, or no such space.
        RecipeError: What follows, or is to be tried of the whole model, is no recipe.
        StoreError: There is something where the winner would be written.
    """
    if trials < 0 or minutes < 0 or not (trials or minutes):
        raise SettingError(f"trials={trials}, minutes={minutes:g}; one of them above 0 is needed, none below")
    recipe.parse(then)
    spaces.check(space)
    if out is not None:
        compress.check_free(out)


def _met(model: Model, task: Task | str, memory: str, store: Store, lent: ExitStack, *, inline: bool) -> Meeting:
    """Return the baseline after the checklist, with data of which some are held back for choices.

    Raises:
        TaskError: There is no example of select, or the model does not fit the data.
        ArtifactError: The model cannot be opened.
    """
    # Held against itself: what an audit would refuse at the end, such as swapped classes, is refused now.
    met = meet({Role.BASELINE: model, NAME: model}, task, memory, store, lent, force=False, inline=inline)
    if not len(met.task.split("select")):
        raise TaskError(
            f"data {met.task.name}: select has no examples, and trials are measured on it; hold some back, as in "
            "--data \"language(path='F', select=0.4, calibration='G')\""
        )
    return met


def _seen(model: nn.Module, task: Task, seed: int) -> Task:
    """Return a task as methods see it: of passages, windows of the text to calibrate on."""
    return windows.read(model, task, generator("search", "windows", str(seed)))


def _proposing(text: str) -> tuple[Strategy, dict[str, Any], str]:
    """Return a strategy with its settings, checked, and how a record calls it.

    Raises:
        RecipeError: The text is not of the form ``name(setting=value)``.
        UnknownItemError: There is no such strategy.
        SettingError: A setting is unknown or out of range.
    """
    name, given = recipe.read_call(text if "(" in text else f"{text}()", "strategy")
    item = items.strategy(name)
    return item, given, str(recipe.Step(name, item.changed(given)))


def _budgets(given: Budgets | Path | str) -> tuple[Budgets, str]:
    if isinstance(given, Budgets):
        return given, "budgets"
    if not given:
        return owners.parse(owners.default(), "default budgets"), "default budgets"
    return owners.read(Path(given)), str(given)


def _title(read: Budgets, where: str) -> str:
    return read.title or where


def _questions(asked: Questions | None, met: Meeting) -> Questions:
    every = settled(asked) if asked is not None else read_questions(default(met.task.modality))
    return fitting(every, met.offers)[0]


def _called(given: nn.Module | Task | str) -> str:
    """Return what a record calls a model or data: as they were typed, or by their name."""
    if isinstance(given, str):
        return given
    return given.name if isinstance(given, Task) else type(given).__name__


def _silent(state: State) -> None:
    del state
