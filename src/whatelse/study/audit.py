"""An audit is the smallest study: models that someone made stand in place of recipes, and the rest is the same."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from whatelse import engines, items
from whatelse.auditing.ask import clustered
from whatelse.auditing.assemble import Circumstances, Costs, assemble, costs
from whatelse.auditing.effects import Contrast
from whatelse.auditing.inquiry import Inquiry
from whatelse.auditing.questions import DATA, Measurement, Questions, about, chosen, fitting
from whatelse.auditing.roles import Actor, Role
from whatelse.auditing.verdicts import Compared
from whatelse.engines import Engine, processes
from whatelse.errors import StudyError
from whatelse.findings.exhibits import Exhibit
from whatelse.findings.record import Candidate, Findings, Timing
from whatelse.models import placed
from whatelse.models.preparation import NOTHING, Preparation, Way
from whatelse.store import places
from whatelse.store.folder import key
from whatelse.store.protocol import Store
from whatelse.study import account, bar, estimate, exhibited, run, speed
from whatelse.study.as_study import study_of
from whatelse.study.assemble import effects_of, failed, failed_watches, inquiry_of
from whatelse.study.cells import cell, effects
from whatelse.study.estimate import Estimate
from whatelse.study.handed import HELD
from whatelse.study.jobs import Cell, Effects, Job, Plan, Watch
from whatelse.study.meeting import Meeting, Model, meet
from whatelse.study.plan import ACCELERATED, pairs
from whatelse.study.run import Progress
from whatelse.study.spec import Study
from whatelse.tasks.task import Task


def audit(
    baseline: Model,
    candidates: Mapping[str, Model],
    task: Task | str,
    asked: Questions | None = None,
    *,
    controls: Mapping[str, Model] | None = None,
    seed: int = 0,
    remeasure: int = 0,
    stop: bool = False,
    force: bool = False,
    results: str | Path | None = None,
    on: str = "",
    workers: int = 0,
    max_memory: str = "",
    batch: int = 0,
    prepare: Mapping[str, Preparation] | None = None,
    device: str = "",
    show: Callable[[Progress], None] | None = None,
    announce: Callable[[Estimate], None] | None = None,
    progress: bool = False,
    show_examples: bool = False,
) -> Findings:
    """Return the findings on models that were made elsewhere, each held against the baseline on the same examples.

    Models and data that are given as texts, as a user types them, are opened by whoever works on them: worker
    processes, or the machines of a cluster. Objects are measured in this process. Modules are copied, and measured in
    evaluation mode; one that cannot be copied is measured itself, and set back as it was at the end.

    Args:
        baseline: The model before, ``(N, ...)`` to ``(N, classes)``: a module, or what `whatelse.opening` opens.
        candidates: The models after, by name.
        task: The examples; verdicts are given on its test split.
        asked: What is asked; the default questions where it is None.
        controls: A ``placebo`` (the baseline given the same extra training), which candidates are then held against,
            a ``twin`` (its recipe under another seed), which gives the noise floor, and ``recompressed`` (the one
            candidate, compressed once more under another seed), which gives that of compressing.
        seed: Decides everything random.
        remeasure: How many more times the baseline is measured with other random numbers, for the floor of measuring.
        stop: True ends a ``costly`` measurement once its verdict is clear; a task with clusters, and models with a
            declared ``batch``, are measured whole.
        force: True measures models that should not be compared, and states why they should not.
        results: Folder, or address such as ``s3://bucket/prefix``, where finished cells are kept and found again; None
            keeps nothing.
        on: Where jobs run, an engine of ``whatelse list engines``; empty chooses ``inline`` for objects, and for texts
            ``processes``, unless all is done in this one before others would have started.
        workers: How many jobs at once; 0 for as many as cores. Processes on this machine are fewer where its memory
            carries no more.
        max_memory: What opening a file may take, such as ``8G``; empty for the usual.
        batch: How many examples every model is asked at once, for models whose answers depend on their neighbours;
            0 for as many as suit it, and for such models one.
        prepare: What is done to the inputs of a model before it sees them, by its name, ``baseline`` among them; others
            see inputs as the data has them.
        device: Where torch modules compute, as torch names it, such as ``cuda``; empty for the CPU. Data, attacks,
            random numbers and statistics stay on the CPU. Models of other tools compute where they do.
        show: Called whenever a job starts or ends.
        announce: Called once with what the work will cost, before it starts; not where everything is done.
        progress: True shows a bar, in a terminal or in a notebook, unless ``show`` is given.
        show_examples: Also which examples were harmed or exposed most: rows of people, shown only on request.

    Raises:
        StudyError: A name is taken, there is no candidate, a measurement needs a control that is not there, what stops
            early is to be measured again, or an object would have to leave this process.
        TaskError: A model cannot be compared with the baseline.
        ArtifactError: A model cannot be opened.
        StoreError: Results cannot be written; what is finished is kept.
    """
    started = time.perf_counter()
    held = _Held(
        baseline, candidates, task, controls or {}, results, on, max_memory, batch, prepare or {}, placed.named(device)
    )
    with ExitStack() as stack:
        asking, todo, store = stack.enter_context(held.planned(asked, seed, remeasure, stop=stop, force=force))
        if progress and show is None:
            show, announce = stack.enter_context(bar.bar(quiet=False))

        def start() -> Engine:
            here = held.place == "processes"  # workers of this machine, whose memory they share
            told = _estimate(asking, todo, store, workers or processes.cores(), engines.free()) if here else None
            alone = told is not None and held.open and not workers and (asking.reads or told.small)
            if alone:
                asking.met.lend()
                stack.enter_context(nullcontext() if asking.reads else speed.one_thread())
            place = run.engine("inline" if alone else held.place, workers if told is None else told.workers)
            if announce is not None:
                announce(told or _estimate(asking, todo, store, place.slots, 0))
            return place

        went = run.run(todo, store, start, show or _silent)
        took = account.timing(todo, store, went, time.perf_counter() - started)
        shown = asking.exhibits(todo, store) if show_examples else ()
        found = account.conclude(asking.findings(todo, store, took, shown), todo, store, went)
        (show or _silent)(went)
    return found


def dry_run(
    baseline: Model,
    candidates: Mapping[str, Model],
    task: Task | str,
    asked: Questions | None = None,
    *,
    controls: Mapping[str, Model] | None = None,
    seed: int = 0,
    remeasure: int = 0,
    stop: bool = False,
    force: bool = False,
    results: str | Path | None = None,
    on: str = "",
    workers: int = 0,
    max_memory: str = "",
    batch: int = 0,
    prepare: Mapping[str, Preparation] | None = None,
    device: str = "",
) -> Estimate:
    """Return what an audit that is left will cost; the models are held against each other, and nothing is measured.

    Args:
        baseline: As `audit` takes it, as all that follow.
        candidates: Likewise.
        task: Likewise.
        asked: Likewise.
        controls: Likewise.
        seed: Likewise.
        remeasure: Likewise.
        stop: Likewise; a measurement that may end early is counted whole.
        force: Likewise.
        results: Likewise.
        on: Likewise.
        workers: Likewise.
        max_memory: Likewise.
        batch: Likewise.
        prepare: Likewise.
        device: Likewise.

    Raises:
        StudyError: As `audit`.
        TaskError: Likewise.
        ArtifactError: Likewise.
        StoreError: Results cannot be read.
    """
    held = _Held(
        baseline, candidates, task, controls or {}, results, on, max_memory, batch, prepare or {}, placed.named(device)
    )
    with held.planned(asked, seed, remeasure, stop=stop, force=force) as (asking, todo, store):
        return _estimate(asking, todo, store, workers or processes.cores(), engines.free())


@dataclass(frozen=True)
class _Held:
    """What somebody hands over, and where it is to be measured."""

    baseline: Model
    candidates: Mapping[str, Model]
    task: Task | str
    controls: Mapping[str, Model]
    results: str | Path | None
    on: str
    max_memory: str
    batch: int
    prepare: Mapping[str, Preparation]
    device: str

    @property
    def models(self) -> dict[str, Model]:
        """All of them by the names that findings call them, the baseline first."""
        own = {_own(name, self.candidates): model for name, model in self.controls.items()}
        return {Role.BASELINE: self.baseline, **own, **self.candidates}

    @property
    def open(self) -> bool:
        """Whether nobody says where jobs run, and they may run in any process."""
        return not self.on and all(isinstance(one, str) for one in (self.task, *self.models.values()))

    @property
    def place(self) -> str:
        """Name of the engine: objects stay in this process."""
        return self.on or ("processes" if self.open else "inline")

    @contextmanager
    def planned(
        self, asked: Questions | None, seed: int, remeasure: int, *, stop: bool, force: bool
    ) -> Generator[tuple[_Asking, Plan, Store]]:
        """Hold the models against the checklist and plan; what was lent is given back at the end.

        Args:
            asked: What is asked.
            seed: Decides everything random.
            remeasure: How many more times the baseline is measured.
            stop: Whether costly measurements end early.
            force: Whether models pass that should not be compared.

        Yields:
            The questions to models that met, all work, and where it is kept.

        Raises:
            StudyError: As `audit`.
        """
        study_of(chosen(asked), self.candidates, self.controls, [seed])  # refuses names before anything is opened
        if self.batch < 0:
            raise StudyError(f"batch={self.batch}; at least 1 is needed, or 0 for as many at once as suit a model")
        if remeasure < 0 or (remeasure and stop):
            raise StudyError(f"remeasure={remeasure}, stop={stop}; at least 0 is needed, and 0 to stop early")
        names = dict(zip(self.models, (Role.BASELINE, *self.controls, *self.candidates), strict=True))
        unknown = set(self.prepare) - set(names.values())
        if unknown:
            raise StudyError(f"prepare: no model {sorted(unknown)[0]!r}; there are: {', '.join(names.values())}")
        ways = {called: Way(self.batch, self.prepare.get(name, NOTHING), self.device) for called, name in names.items()}
        placed.check(self.device)
        run.check_engine(self.place)
        with ExitStack() as stack:
            store = places.at(self.results or stack.enter_context(tempfile.TemporaryDirectory()))
            inline = self.place == "inline"
            meeting = partial(meet, self.models, self.task, self.max_memory, store, stack, ways=ways)
            met = meeting(force=force, inline=inline)
            asked, said = fitting(about(chosen(asked, met.task.modality), met.task.modality), met.offers)
            met.remarks[Role.BASELINE] += said
            study = study_of(asked, self.candidates, self.controls, [seed])
            asking = _Asking(asked, met, study, seed, remeasure, stop=stop)
            yield asking, asking.plan(), store


def _estimate(asking: _Asking, todo: Plan, store: Store, workers: int, free: int) -> Estimate:
    met, at_once = asking.met, min(HELD, len(asking.met.models))
    found = estimate.estimate(
        todo, store, {DATA: met.task}, workers, lambda _: speed.of_model(met.baseline(), met.task, at_once), free
    )
    return replace(found, told=met.told())


@dataclass(frozen=True)
class _Asking:
    """Questions to models that met."""

    asked: Questions
    met: Meeting
    study: Study  # that the findings are decided by
    seed: int
    remeasure: int
    stop: bool = field(kw_only=True)

    @property
    def reads(self) -> bool:
        """Whether language models are asked: a pass uses all cores by itself, and one in every worker would not fit."""
        return self.met.task.language is not None

    def plan(self) -> Plan:
        """Return all work: the costliest questions first, so that none is left over at the end."""
        jobs: list[Job] = []
        whole: dict[str, list[Effects | Watch]] = {}
        # In a random order, chunk by chunk, examples have other neighbors than those that were declared.
        declared = any(one.way.batch for one in self.met.models.values())
        early = self.stop and not declared and not clustered(self.met.task)
        for m in sorted(self.asked.measurements, key=self._effort, reverse=True):
            if early and m.costly:
                whole[m.label] = [self._watch(m)]
                continue
            made = list(self._jobs(m))
            again = list(self._again(m))
            jobs += [job for job, _ in (*made, *again)]
            whole[m.label] = [effects(m, DATA, made, self._pairs(m), self.asked.draws, self._drawn_by(m))]
            if again:
                held = [*([made[0]] * self.remeasure), *again]
                pairs = ((str(Role.RETEST), str(Role.BASELINE)),)
                drawn_by = (m.label, self.met.data.key, "again")
                whole[m.label].append(effects(m, DATA, held, pairs, self.asked.draws, drawn_by, "measured again"))
        if self.met.models[Role.BASELINE].way.device:
            jobs = [replace(job, resources=ACCELERATED) for job in jobs]
        return Plan(tuple(jobs), tuple(one for m in self.asked.measurements for one in whole[m.label]))

    def exhibits(self, todo: Plan, store: Store) -> tuple[Exhibit, ...]:
        """Return what there is to look at of every candidate, examples included."""
        names = {c.name for c in self.study.candidates}
        held = {m.label: [pair for pair in self._pairs(m) if pair[0] in names] for m in self.asked.measurements}
        return exhibited.of_audit(self.asked.measurements, todo.jobs, store, self.met.task, held)

    def findings(self, todo: Plan, store: Store, took: tuple[str, Timing], shown: Sequence[Exhibit]) -> Findings:
        """Return what was found."""
        inquiry = inquiry_of(self.study, *([Actor(Role.RETEST, Role.RETEST)] if self.remeasure else []))
        contrasts: dict[str, list[Contrast]] = {m.label: [] for m in self.asked.measurements}
        for one in todo.effects:
            contrasts[one.label] += effects_of(one, store)
        compared = [Compared(m.label, DATA, self._pairs(m), contrasts[m.label]) for m in self.asked.measurements]
        failures = (*failed(todo, store), *failed_watches(todo, contrasts))
        listed = self._listed(inquiry, costs(inquiry, compared))
        around = Circumstances(*took, failures, self.met.checks)
        return assemble(inquiry, {DATA: self.met.task}, compared, listed, shown, around)

    def _jobs(self, m: Measurement) -> Iterator[tuple[Job, Cell]]:
        """Yield the job of every model with its cell, the baseline first: the others need what was seen of it."""
        base = self.met.models[Role.BASELINE]
        first = _name(Role.BASELINE, m.label)
        for name, origin in self.met.models.items():
            one = cell(m, self.met.data, (origin, base), self.seed, 0)
            needs = () if name == Role.BASELINE else (first,)
            job = Job(
                _name(name, m.label), self.met.data, origin, name, self.seed, 0, base, None, (), (), (one,), needs
            )
            yield job, one

    def _again(self, m: Measurement) -> Iterator[tuple[Job, Cell]]:
        """Yield the baseline measured again, with other random numbers each time."""
        base, first = self.met.models[Role.BASELINE], _name(Role.BASELINE, m.label)
        if items.behaviour(m.item).unit_of_analysis == "layer":
            return
        for again in range(1, self.remeasure + 1):
            one = cell(m, self.met.data, (base, base), self.seed, again)
            name = _name(Role.BASELINE, f"measured again {again}", m.label)
            cells, needs = (one,), (first,)
            yield Job(name, self.met.data, base, Role.RETEST, self.seed, again, base, None, (), (), cells, needs), one

    def _watch(self, m: Measurement) -> Watch:
        models, pairs = tuple(self.met.models.items()), self._pairs(m)
        family = sum(other.primary for other in self.asked.measurements) if m.primary else 1
        given = {"measurement": asdict(m), "pairs": pairs, "family": family, "models": [(n, o.key) for n, o in models]}
        name = key("watch", 2, given, self.met.data.key, self.met.data.names, seed=self.seed)
        label = _name("until it is clear", m.label)
        found = Watch(label, name, m.label, DATA, m, self.met.data, models, pairs, family, self.seed)
        return replace(found, resources=ACCELERATED) if self.met.models[Role.BASELINE].way.device else found

    def _pairs(self, m: Measurement) -> tuple[tuple[str, str], ...]:
        return pairs(self.study, m)

    def _drawn_by(self, m: Measurement) -> tuple[str, str, str]:
        return m.label, self.met.data.key, str(self.seed)

    def _effort(self, m: Measurement) -> int:
        item = items.behaviour(m.item)
        return 0 if item.effort is None else item.effort(item.configure(m.settings), self.met.task)

    def _listed(self, inquiry: Inquiry, spent: Mapping[str, Costs]) -> list[Candidate]:
        return [
            Candidate(
                name=name,
                family="",
                role=inquiry.role(name),
                recipe="",
                **asdict(spent.get(name, Costs())),
                remarks=tuple(self.met.remarks[name]),
            )
            for name in self.met.models
        ]


def _name(*parts: str) -> str:
    return " · ".join(map(str, parts))


def _own(control: str, candidates: Collection[str]) -> str:
    """Return how findings call a control: one that serves a candidate alone by that candidate's name."""
    return items.control(control).named.format(candidate=next(iter(candidates), ""))


def _silent(progress: Progress) -> None:
    del progress
