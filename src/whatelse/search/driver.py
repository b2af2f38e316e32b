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

import torch
from torch import Tensor, nn

import whatelse
from whatelse import items, recipe
from whatelse.artifacts import compress
from whatelse.artifacts.compress import Compressed, Done
from whatelse.auditing.ask import generator
from whatelse.auditing.questions import Questions, default, fitting, read_questions, settled
from whatelse.auditing.roles import Role
from whatelse.errors import NotMeasurableError, SettingError, TaskError
from whatelse.evidence.cache import Evidence
from whatelse.findings.record import Findings
from whatelse.findings.searched import Finalist, Searched, Trial
from whatelse.gate import budgets as owners
from whatelse.gate.budgets import Budgets
from whatelse.layers.compressed import remarks
from whatelse.models.subject import Subject
from whatelse.search import layered
from whatelse.search.confirm import finalists, in_sequence
from whatelse.search.protocol import Problem
from whatelse.search.ready import Ready, ready, sized
from whatelse.search.trial import Bench
from whatelse.search.trials import Loop, Runner, State
from whatelse.store.folder import Folder
from whatelse.store.protocol import Store
from whatelse.study import run
from whatelse.study.audit import audit
from whatelse.study.meeting import Meeting, meet
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
    strategy: str = "descend()",
    choices: Sequence[str] = layered.CHOICES,
    then: str = "",
    trials: int = 60,
    minutes: float = 0.0,
    asked: Questions | None = None,
    seed: int = 0,
    out: Path | None = None,
    results: Path | None = None,
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
        strategy: One of ``whatelse list strategies``, with settings, such as ``descend(radius=3)``.
        choices: Recipes for one layer, whose settings may be lists: what each layer may become.
        then: A recipe that trains what was made smaller, such as ``train.finetune(epochs=1)``; empty for nothing.
        trials: How many configurations are measured; 0 leaves it to ``minutes``.
        minutes: After which no more is begun; 0 for no limit.
        asked: What may be asked; the questions of an audit where it is None.
        seed: Decides everything random.
        out: Folder to write the winner to; None writes none.
        results: Folder where trials are kept and found again; None keeps nothing.
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
    begun = time.monotonic()
    read, where = _budgets(budgets)
    name, given = recipe.read_call(strategy if "(" in strategy else f"{strategy}()", "strategy")
    item = items.strategy(name)
    config = item.configure(given)
    if trials < 0 or minutes < 0 or not (trials or minutes):
        raise SettingError(f"trials={trials}, minutes={minutes:g}; one of them above 0 is needed, none below")
    recipe.parse(then)
    if out is not None:
        compress.check_free(out)
    place = on or ("processes" if isinstance(model, str) and isinstance(task, str) else "inline")
    run.check_engine(place)
    tell = show or (lambda state: None)
    with ExitStack() as stack:
        store = Folder((results or Path(stack.enter_context(tempfile.TemporaryDirectory()))).resolve())
        met = meet({Role.BASELINE: model}, task, max_memory, store, stack, force=False, inline=place == "inline")
        questions, size = sized(_questions(asked, met), minimize)
        bench = Bench(met.data, met.models[Role.BASELINE], seed)
        whole = _module(met)
        runner = Runner(lambda: run.engine(place, workers), store)
        state = State(total=trials)
        try:
            known = ready(read, where, questions, size, bench, met.task, _scores(met), runner.run, store)
            cost = partial(_cost, size.item, met)
            space, parts = layered.space_of(whole, met.task, choices, then, cost, seed)
            problem = Problem(space, whole, met.task.on("select"), known.judge, cost, parts, trials)
            state.phase = "searching"
            tell(state)
            proposing = item.start(problem, config, generator("search", strategy, str(seed)))
            limit = begun + 60 * minutes if minutes else math.inf
            Loop(problem, proposing, known, bench, runner, limit, tell, state).run()
            state.phase = "confirming"
            tell(state)
            ended = _Ended(state, known, bench, runner, store)
            held, winner = ended.confirmed(questions.draws)
        except BaseException:
            runner.end(at_once=True)
            raise
        runner.end(at_once=False)
        told = Searched(
            whatelse=whatelse.__version__,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            model=model if isinstance(model, str) else type(model).__name__,
            data=task if isinstance(task, str) else task.name,
            strategy=recipe.write((recipe.Step(name, item.changed(given)),)),
            seed=seed,
            minimize=minimize,
            unit=items.behaviour(size.item).unit,
            baseline=cost(whole),
            splits={split: len(met.task.splits[split]) for split in ("train", "select", "test")},
            space=f"{space.size:.3g} configurations of {len(space.axes)} layers",
            budgets=read.title or where,
            constraints=known.constraints,
            trials=tuple(state.trials),
            finalists=tuple(held),
            winner=0 if winner is None else winner.number,
            nearest=_nearest(state),
            remarks=(*_said(proposing), *state.remarks),
        )
        best = None if winner is None else store.load_model(bench.made(recipe.parse(winner.recipe)).key)
        findings = None
        if winner is not None and best is not None:
            state.phase = "auditing"
            tell(state)
            folder = out or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "winner"
            _write(best, winner, folder, met.task, seed, bench, store)
            findings = audit(
                model,
                {"winner": str(folder)},
                task,
                questions,
                seed=seed,
                results=store.path,
                on=place,
                workers=workers,
            )
            told = replace(told, folder=str(out) if out else "")
        seconds = {**runner.seconds, "all": time.monotonic() - begun}
        return Found(replace(told, seconds=seconds), best, findings)


@dataclass
class _Ended:
    """A search whose trials are measured."""

    state: State
    known: Ready
    bench: Bench
    runner: Runner
    store: Store

    def confirmed(self, draws: int) -> tuple[list[Finalist], Trial | None]:
        """Return the finalists as they were held against the budgets on test, and the answer."""
        trials = [(t, t.share, max(t.over.values())) for t in self.state.trials if t.feasible and t.share is not None]
        order = finalists(trials)
        found: dict[int, Finalist] = {}

        def passes(trial: Trial) -> bool:
            found[trial.number] = self._held(trial, draws)
            return found[trial.number].verdict == "GO"

        winner = in_sequence(order, passes)
        return [found.get(t.number, Finalist(t.number, "not opened")) for t in order], winner

    def _held(self, trial: Trial, draws: int) -> Finalist:
        steps = recipe.parse(trial.recipe)
        origin = self.bench.made(steps) if steps else self.bench.baseline
        asked = [m for m in (*self.known.cheap, *self.known.costly) if m.label != self.known.size.label]
        attempt = self.bench.attempt(origin, asked, "test", draws)
        self.runner.run([self.bench.of_baseline(asked, "test"), attempt])
        gauge = self.known.gauge
        findings = gauge.findings(attempt.contrasts(self.store))
        ruling = gauge.decide(findings)
        held = [one for one in gauge.held(findings) if one.question.harm is not None]
        because = tuple(
            f"{a.question.place.label}{' · ' * bool(a.question.group)}{a.question.group}: {a.decision}"
            f"{'; ' * bool(a.why)}{a.why}"
            for a in ruling.because
        )
        harm = {one.name: one.value for one in held}
        upper = {one.name: one.upper for one in held if math.isfinite(one.upper)}
        return Finalist(trial.number, ruling.verdict, harm, upper, because)


def _budgets(given: Budgets | Path | str) -> tuple[Budgets, str]:
    if isinstance(given, Budgets):
        return given, "budgets"
    if not given:
        return owners.parse(owners.default(), "default budgets"), "default budgets"
    return owners.read(Path(given)), str(given)


def _questions(asked: Questions | None, met: Meeting) -> Questions:
    every = settled(asked) if asked is not None else read_questions(default())
    return fitting(every, met.offers)[0]


def _module(met: Meeting) -> nn.Module:
    """Return the baseline as the module that methods treat.

    Raises:
        TaskError: It is none.
    """
    found = met.baseline()
    if not isinstance(found, Subject):
        raise TaskError(
            "MODEL is no torch module, and only such can be compressed; give one, as whatelse compress takes it"
        )
    return found.inside


def _scores(met: Meeting) -> Callable[[Tensor], Tensor]:
    return lambda inputs: Evidence(met.baseline(), met.task).answers(inputs)


def _cost(item: str, met: Meeting, model: nn.Module) -> float:
    """Return what is to be made small of a module.

    Raises:
        TaskError: It cannot be measured of it.
    """
    behaviour = items.behaviour(item)
    config = behaviour.configure({})
    evidence = Evidence(Subject("a model", model, "cost", without=frozenset({"differentiates"})), met.task, on="select")
    try:
        answer = behaviour.answer(evidence, evidence, config, torch.Generator().manual_seed(0))
    except NotMeasurableError as error:
        raise TaskError(f"--minimize {item.rpartition('.')[2]}: {error}; minimize something else") from error
    import numpy as np

    return float(behaviour.summarise(answer, config, np.ones((1, len(answer))))[0])


def _nearest(state: State) -> int:
    """Return the trial that exceeds its budgets least, where none keeps them all; 0 where one does, or none is known."""
    if state.best is not None:
        return 0
    known = [(max(t.over.values()), t.number) for t in state.trials if t.over and len(t.over) and not t.why]
    return min(known)[1] if known else 0


def _said(proposing: object) -> Sequence[str]:
    """Return what a strategy has to say of itself at the end."""
    remark = getattr(proposing, "remarks", None)
    return remark() if callable(remark) else ()


def _write(best: nn.Module, winner: Trial, folder: Path, task: Task, seed: int, bench: Bench, store: Store) -> None:
    chain = bench.made(recipe.parse(winner.recipe)).chain
    done = []
    for link in chain[1:]:
        meta = store.load("models", link.key)[1]
        done.append(Done(meta["step"], meta["seconds"], meta["left"]))
    compress.write(Compressed(best, done, remarks(best)), folder, task, winner.recipe, seed)
