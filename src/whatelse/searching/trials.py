"""The loop of a search: configurations are asked for, measured by workers, and told back in the order of asking."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from torch import Tensor

from whatelse import recipe
from whatelse.auditing.effects import Contrast, Moved
from whatelse.auditing.questions import Measurement
from whatelse.findings.searched import Trial
from whatelse.searching import gauge
from whatelse.searching.confirm import LEAST
from whatelse.searching.protocol import Problem, Score, Search
from whatelse.searching.ready import DRAWS, Ready
from whatelse.searching.runner import Runner
from whatelse.searching.space import Configuration
from whatelse.searching.trial import Attempt, Bench, Spent

AT_ONCE = 2  # configurations that are asked for before the first of them is told


@dataclass
class State:
    """How far a search is, for whoever shows it.

    Attributes:
        phase: ``before``, ``searching``, ``confirming`` or ``auditing``.
        total: Trials at the most; 0 where time decides.
        trials: Those that were told.
        best: The smallest that keeps all budgets.
        remarks: What must be said beside.
        planning: Seconds that the strategy took to propose, and to take note.
    """

    phase: str = "before"
    total: int = 0
    trials: list[Trial] = field(default_factory=list)
    best: Trial | None = None
    remarks: list[str] = field(default_factory=list)
    planning: float = 0.0


@dataclass(frozen=True)
class Measured:
    """What was measured of one constraint.

    Attributes:
        harm: In its unit.
        over: By how much the budget is exceeded, as a share of it, aimed at the confirmation.
        spread: How far the confirmation may stray, likewise.
    """

    harm: float
    over: float
    spread: float


@dataclass
class Asked:
    """A configuration that is being measured."""

    number: int
    chosen: Configuration
    cheap: Attempt
    future: Future[Spent]


@dataclass
class Loop:
    """One search in progress.

    Attributes:
        problem: What is searched.
        strategy: Proposes.
        ready: What was known before.
        bench: Lays out attempts.
        runner: Does them.
        limit: Seconds after which nothing more is asked for; infinite for none.
        show: Called whenever a trial was told.
        state: How far it is.
    """

    problem: Problem
    strategy: Search
    ready: Ready
    bench: Bench
    runner: Runner
    limit: float
    show: Callable[[State], None]
    state: State

    def run(self) -> None:
        """Search until trials, time or proposals end."""
        waiting: deque[Asked] = deque()
        number, more = 0, True
        while True:
            while more and len(waiting) < AT_ONCE:
                within = not self.state.total or number < self.state.total
                chosen = self._ask() if within and time.monotonic() < self.limit else None
                more = chosen is not None
                if chosen is not None:
                    number += 1
                    waiting.append(self._begin(number, chosen))
            if not waiting:
                return
            self._end(waiting.popleft())

    def _ask(self) -> Configuration | None:
        started = time.perf_counter()
        chosen = self.strategy.ask()
        self.state.planning += time.perf_counter() - started
        return chosen

    def _begin(self, number: int, chosen: Configuration) -> Asked:
        steps = self.problem.space.recipe(chosen)
        scores = self.ready.judge.of_scores
        cheap = self.bench.attempt(self.bench.made(steps), self.ready.cheap, "select", DRAWS, scores=scores)
        return Asked(number, chosen, cheap, self.runner.submit([cheap]))

    def _end(self, asked: Asked) -> None:
        spent = self.runner.result(asked.future)
        contrasts = asked.cheap.contrasts(self.runner.store)
        scores = self._scores(asked, contrasts)
        measured = self._measured(self.ready.cheap, contrasts, scores)
        seconds, failed = spent.seconds, spent.report.failed
        wins = self._may_win(contrasts, measured)
        if wins and self.ready.costly:
            made, watched = asked.cheap.job.origin, self.ready.watched
            costly = self.bench.attempt(made, self.ready.costly, "select", DRAWS, watched=watched)
            more = self.runner.run([costly])
            contrasts |= costly.contrasts(self.runner.store)
            measured |= self._measured(self.ready.costly, contrasts, None)
            seconds, failed = seconds + more.seconds, (*failed, *more.report.failed)
        self._tell(asked, contrasts, measured, scores, seconds, failed)

    def _scores(self, asked: Asked, contrasts: Mapping[str, Sequence[Contrast]]) -> Tensor | None:
        """Return what a trial says on the judge's examples; None where it failed."""
        if not math.isfinite(self._value(contrasts)[1]):
            return None
        return self.ready.judge.kept(asked.cheap.job, self.runner.store)

    def _measured(
        self, asked: Sequence[Measurement], contrasts: Mapping[str, Sequence[Contrast]], scores: Tensor | None
    ) -> dict[str, Measured]:
        """Return harm, excess and spread of every constraint that is of some measurements."""
        mine = {m.label: contrasts[m.label] for m in asked if m.label in contrasts}
        held = self.ready.gauge.held(self.ready.gauge.findings(mine))
        known, judge = self.ready.sizes, self.ready.judge
        found: dict[str, Measured] = {}
        # What is seen in scores is drawn toward what the same changes do elsewhere, as predictions are.
        drawn = {name: (0.0, 1.0) for name in judge.names}
        if scores is not None:
            _, shift, weight = judge.judged([scores])
            drawn = dict(zip(judge.names, zip(shift[0].tolist(), weight[0].tolist(), strict=True), strict=True))
        for one in held:
            if one.name in known and one.question.harm is not None:
                away, kept = drawn[one.name]
                told = (one.question, one.value + away, one.upper + away, *known[one.name], kept)
                found[one.name] = Measured(one.value, gauge.over(*told), gauge.spread(*told))
        return found

    def _value(self, contrasts: Mapping[str, Sequence[Contrast]]) -> tuple[float, float]:
        """Return what is made small, and its share of the baseline's; infinite where it is not known."""
        for one in contrasts.get(self.ready.size.label, ()):
            if isinstance(one.outcome, Moved):
                effect = one.outcome.effect
                return effect.after, effect.after / effect.before
        return math.inf, math.inf

    def _may_win(self, contrasts: Mapping[str, Sequence[Contrast]], measured: Mapping[str, Measured]) -> bool:
        best, (_, share) = self.state.best, self._value(contrasts)
        smaller = best is None or best.share is None or share < best.share
        return smaller and math.isfinite(share) and _chance(measured) >= LEAST

    def _tell(
        self,
        asked: Asked,
        contrasts: Mapping[str, Sequence[Contrast]],
        measured: Mapping[str, Measured],
        scores: Tensor | None,
        seconds: float,
        failed: Sequence[tuple[str, str]],
    ) -> None:
        value, share = self._value(contrasts)
        names = [one.name for one in self.ready.constraints]
        over = {name: measured[name].over for name in names if name in measured}
        kept = scores is not None
        why = "" if kept else _why(failed) or "it could not be measured"
        # A budget of which a cheap trial says nothing, since it failed, is not kept.
        cheap = [one.name for one in self.ready.constraints if one.label in {m.label for m in self.ready.cheap}]
        lost = [name for name in cheap if name not in over] if kept else []
        over |= dict.fromkeys(lost, math.inf)
        skipped = tuple(name for name in names if name not in over)
        score = Score(share, over, scores, why, {name: one.spread for name, one in measured.items()})
        feasible = score.feasible and not skipped
        trial = Trial(
            number=asked.number,
            recipe=recipe.write(self.problem.space.recipe(asked.chosen)),
            value=value if kept else None,
            share=share if kept else None,
            harm={name: measured[name].harm for name in names if name in measured},
            over={name: one for name, one in over.items() if math.isfinite(one)},
            feasible=feasible,
            chance=gauge.chance(over, score.spread) if kept and not skipped else None,
            binding=max(over, key=lambda name: over[name]) if over else "",
            skipped=skipped if kept else (),
            why=why,
            seconds=seconds,
        )
        started = time.perf_counter()
        self.strategy.tell(asked.chosen, score)
        self.state.planning += time.perf_counter() - started
        self.state.trials.append(trial)
        best = self.state.best
        if feasible and (best is None or best.share is None or share < best.share):
            self.state.best = trial
        self.show(self.state)


def _chance(measured: Mapping[str, Measured]) -> float:
    """Return the chance that a confirmation passes, as far as it was measured."""
    over = {name: one.over for name, one in measured.items()}
    return gauge.chance(over, {name: one.spread for name, one in measured.items()})


def _why(failed: Sequence[tuple[str, str]]) -> str:
    return next((error for _, error in failed), "")
