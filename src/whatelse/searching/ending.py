"""The end of a search: finalists on test, in fixed sequence, and the answer as a folder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from whatelse import recipe
from whatelse.artifacts import compress
from whatelse.artifacts.compress import Compressed, Done
from whatelse.findings.searched import Finalist, Searched, Trial
from whatelse.gate.decide import Answer
from whatelse.layers.compressed import remarks
from whatelse.searching.confirm import finalists, in_sequence
from whatelse.searching.ready import Ready
from whatelse.searching.runner import Runner
from whatelse.searching.trial import Bench
from whatelse.searching.trials import State
from whatelse.store.protocol import Store
from whatelse.tasks.task import Task


@dataclass
class Ending:
    """A search whose trials are measured.

    Attributes:
        state: The trials.
        known: What was known before.
        bench: Lays out attempts.
        runner: Does them.
    """

    state: State
    known: Ready
    bench: Bench
    runner: Runner

    def confirmed(self, draws: int) -> tuple[list[Finalist], Trial | None]:
        """Return the finalists as they were held against the budgets on test, and the answer, if there is one.

        Args:
            draws: Resamples an interval.
        """
        trials = [(t, t.share, t.chance) for t in self.state.trials if t.share is not None and t.chance is not None]
        order = finalists(trials)
        found: dict[int, Finalist] = {}

        def passes(trial: Trial) -> bool:
            found[trial.number] = self._held(trial, draws)
            return found[trial.number].verdict == "GO"

        winner = in_sequence(order, passes)
        return [found.get(t.number, Finalist(t.number, "not opened")) for t in order], winner

    def _held(self, trial: Trial, draws: int) -> Finalist:
        asked = [m for m in (*self.known.cheap, *self.known.costly) if m.label != self.known.size.label]
        attempt = self.bench.attempt(self.bench.made(recipe.parse(trial.recipe)), asked, "test", draws)
        self.runner.run([self.bench.of_baseline(asked, "test"), attempt])
        gauge = self.known.gauge
        findings = gauge.findings(attempt.contrasts(self.runner.store))
        ruling = gauge.decide(findings)
        held = [one for one in gauge.held(findings) if one.question.harm is not None]
        harm = {one.name: one.value for one in held}
        upper = {one.name: one.upper for one in held if math.isfinite(one.upper)}
        return Finalist(trial.number, ruling.verdict, harm, upper, tuple(map(_because, ruling.because)))

    def nearest(self) -> int:
        """Return the trial that exceeds its budgets least where none keeps all; 0 where one does, or none is known."""
        if self.state.best is not None:
            return 0
        known = [(_worst(t), t.number) for t in self.state.trials if t.over and not t.why]
        return min(known)[1] if known else 0

    def model(self, trial: Trial) -> nn.Module:
        """Return the model of a trial.

        Args:
            trial: One that was measured.
        """
        return self.runner.store.load_model(self.bench.made(recipe.parse(trial.recipe)).key)


def _worst(trial: Trial) -> float:
    """Return by how much the budget is exceeded that binds; infinite where one has no number."""
    return max(math.inf if over is None else over for over in trial.over.values())


def _because(answer: Answer) -> str:
    question = answer.question
    name = f"{question.place.label} · {question.group}" if question.group else question.place.label
    return f"{name}: {answer.decision}" + (f": {answer.why}" if answer.why else "")


def write(model: nn.Module, told: Searched, folder: Path, task: Task, bench: Bench, store: Store) -> None:
    """Write the answer as ``whatelse compress`` writes a model, proved in a fresh process.

    Args:
        model: The answer.
        told: The record, whose winner it is.
        folder: Must not exist, or be empty.
        task: Gives the inputs of the proof.
        bench: Made it.
        store: Keeps what its steps took.

    Raises:
        StoreError: The folder cannot be written, or is not empty.
        ArtifactError: The model reloads as another one.
    """
    steps = next(trial.recipe for trial in told.trials if trial.number == told.winner)
    done = []
    for link in bench.made(recipe.parse(steps)).chain[1:]:
        meta = store.load("models", link.key)[1]
        done.append(Done(meta["step"], meta["seconds"], meta["left"]))
    compress.write(Compressed(model, done, remarks(model)), folder, task, steps, told.seed)
