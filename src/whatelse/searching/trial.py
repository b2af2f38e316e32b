"""One model that is held against the baseline: made, measured and summarized by a worker, kept in the store."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType

from whatelse import registry
from whatelse.auditing.effects import Contrast
from whatelse.auditing.questions import DATA, Measurement
from whatelse.auditing.roles import Role
from whatelse.engines import Resources
from whatelse.items import method
from whatelse.recipe import Recipe
from whatelse.registry import Added
from whatelse.store import places
from whatelse.store.folder import key
from whatelse.store.protocol import Store
from whatelse.study import cells, worker
from whatelse.study.analysis import analyze
from whatelse.study.assemble import effects_of
from whatelse.study.jobs import Data, Effects, Handed, Job, Link, Made, Watch, together
from whatelse.study.worker import Report

NAME = "candidate"  # how findings call the model: it is in no key, so that trials are found again


@dataclass(frozen=True)
class Attempt:
    """What a worker does for one model: a job, and the effects that rest on its cells and on those of the baseline.

    Attributes:
        job: Makes and measures the model.
        effects: Of its measurements, against the baseline; none of the baseline itself.
        watches: Measurements of it and of the baseline side by side, each only until its verdict is clear.
    """

    job: Job
    effects: tuple[Effects, ...] = ()
    watches: tuple[Watch, ...] = ()

    @property
    def compared(self) -> tuple[Effects | Watch, ...]:
        """All that holds it against the baseline."""
        return (*self.effects, *self.watches)

    def done(self, store: Store) -> bool:
        """Return whether all of it is kept.

        Args:
            store: Where.
        """
        kept = [*self.job.kept(), *(pair for one in self.compared for pair in one.kept())]
        return all([store.has(*pair) for pair in kept])

    @property
    def key(self) -> str:
        """What it is known by: what it leaves in a store."""
        return key(
            "attempt", 1, {}, *(name for _, name in self.job.kept()), *(one.key for one in self.compared), seed=0
        )

    def contrasts(self, store: Store) -> dict[str, tuple[Contrast, ...]]:
        """Return what was found, by label of the measurement; what failed has nothing.

        Args:
            store: Where effects are kept.
        """
        return {one.label: effects_of(one, store) for one in self.compared if store.has("effects", one.key)}


@dataclass(frozen=True)
class Bench:
    """What all attempts of a search have in common.

    Attributes:
        data: How a worker opens the examples.
        baseline: Where it finds the model before.
        seed: Decides everything random.
    """

    data: Data
    baseline: Handed
    seed: int

    def made(self, steps: Recipe) -> Made:
        """Return the model that a recipe makes of the baseline.

        Args:
            steps: The recipe; an empty one leaves the baseline as it is.
        """
        links = [Link(None, self.baseline.key)]
        for step in steps:
            item = method(step.name)
            inputs = (links[-1].key, self.data.key, *([item.origin] if item.origin else []))
            links.append(Link(step, key(step.name, item.version, dict(step.given), *inputs, seed=self.seed)))
        return Made(self.baseline, tuple(links))

    def of_baseline(self, measurements: Sequence[Measurement], on: str) -> Attempt:
        """Return the attempt that measures the baseline itself.

        Args:
            measurements: What is measured.
            on: Split that it is measured on.
        """
        return Attempt(self._job(self.baseline, Role.BASELINE, measurements, on, 0))

    def attempt(
        self,
        origin: Made | Handed,
        measurements: Sequence[Measurement],
        on: str,
        draws: int,
        *,
        again: int = 0,
        scores: bool = False,
        watched: Mapping[str, float] = MappingProxyType({}),
    ) -> Attempt:
        """Return the attempt that measures a model and holds it against the baseline.

        Args:
            origin: How the model is made, or where it is found.
            measurements: What is measured.
            on: Split that it is measured on.
            draws: Resamples an interval.
            again: 0, or the number of another measurement with other random numbers.
            scores: Whether its class scores are kept.
            watched: By label of a measurement that ends once it is clear, what is accepted of its harm.
        """
        early = [replace(m, margin=watched[m.label]) for m in measurements if m.label in watched]
        measurements = [m for m in measurements if m.label not in watched]
        job = self._job(origin, NAME, measurements, on, again)
        if scores:
            job = replace(job, scores=key("scores", 1, {"on": on}, origin.key, self.data.key, seed=0))
        base = self._job(self.baseline, Role.BASELINE, measurements, on, 0)
        pairs, found = ((NAME, str(Role.BASELINE)),), []
        for m, mine, theirs in zip(measurements, job.cells, base.cells, strict=True):
            drawn_by = (m.label, self.data.key, on, str(self.seed))
            found.append(cells.effects(m, DATA, [(base, theirs), (job, mine)], pairs, draws, drawn_by))
        return Attempt(job, tuple(found), tuple(self._watch(m, origin, on) for m in early))

    def _watch(self, m: Measurement, origin: Made | Handed, on: str) -> Watch:
        models = ((str(Role.BASELINE), self.baseline), (NAME, origin))
        pairs = ((NAME, str(Role.BASELINE)),)
        given = {"measurement": asdict(m), "models": [(name, one.key) for name, one in models], "on": on}
        name = key("watch", 2, given, self.data.key, self.data.names, seed=self.seed)
        return Watch(
            f"{NAME} on {on} · {m.label}", name, m.label, DATA, m, self.data, models, pairs, 1, self.seed, on=on
        )

    def _job(self, origin: Made | Handed, name: str, measurements: Sequence[Measurement], on: str, again: int) -> Job:
        asked = [cells.cell(m, self.data, (origin, self.baseline), self.seed, again, on=on) for m in measurements]
        return Job(
            f"{name} on {on}",
            self.data,
            origin,
            name,
            self.seed,
            again,
            self.baseline,
            None,
            (),
            (),
            tuple(asked),
            (),
            Resources(),
            on,
        )


@dataclass(frozen=True)
class Spent:
    """What an attempt took.

    Attributes:
        report: What its job says.
        seconds: From its beginning to its end.
    """

    report: Report
    seconds: float


def work_on(attempts: Sequence[Attempt], store: Store, mark: str, added: Sequence[Added] = ()) -> Spent:
    """Do attempts that go together, one after the other: jobs, then the effects that rest on them.

    Args:
        attempts: What to do.
        store: Where results are kept.
        mark: By which this process knows that it sees the store of whoever planned.
        added: Items of the user's own files, which another process does not know yet.

    Raises:
        StoreError: Results cannot be read or written, or are not kept where this process looks.
        StudyError: The data or the baseline are not those that the work was planned for.
    """
    places.see(store, mark)
    for one in added:
        registry.add(one.path, one.origin)
    report, whole = Report(""), 0.0
    for attempt in attempts:
        started = time.perf_counter()
        done = worker.run_job(attempt.job, store)
        began = time.perf_counter()
        left = [one for one in attempt.effects if not store.has("effects", one.key)]
        failed = analyze(together(left), store) if left else ()
        watched = [worker.watch(one, store) for one in attempt.watches if not store.has("effects", one.key)]
        report = Report(
            attempt.job.name,
            report.training + done.training,
            report.compressing + done.compressing,
            report.measuring + done.measuring + sum(one.measuring for one in watched),
            report.analyzing + time.perf_counter() - began - sum(one.measuring for one in watched),
            (*report.failed, *done.failed, *failed),
            (*report.damaged, *done.damaged),
        )
        seconds = time.perf_counter() - started
        whole += seconds
        store.save_record("effects", attempt.key, {"seconds": seconds})
    return Spent(report, whole)


def seconds_of(attempts: Sequence[Attempt], store: Store) -> float:
    """Return how long attempts took when they were made.

    Args:
        attempts: What was done.
        store: Where that is kept.
    """
    kept = [store.load_record("effects", one.key) for one in attempts if store.has("effects", one.key)]
    return float(sum(one["seconds"] for one in kept))
