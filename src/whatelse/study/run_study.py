"""A study from its file to its findings."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from whatelse import engines, toml_schema
from whatelse.engines import Engine, processes
from whatelse.findings.record import Findings
from whatelse.findings.views import without_examples
from whatelse.models import placed
from whatelse.store import places
from whatelse.store.protocol import Store
from whatelse.study import account, assemble, estimate, exhibited, run, spec, speed, worker
from whatelse.study.estimate import Estimate
from whatelse.study.jobs import Plan
from whatelse.study.plan import plan
from whatelse.study.run import Progress
from whatelse.study.spec import Study
from whatelse.tasks.task import Task


def run_study(
    study: Study,
    results: str | Path,
    *,
    on: str = "processes",
    workers: int = 0,
    show: Callable[[Progress], None] | None = None,
    announce: Callable[[Estimate], None] | None = None,
    show_examples: bool = False,
) -> Findings:
    """Return the findings of a study; work that a former call finished is found, not done again.

    Args:
        study: A checked study.
        results: Folder of the results, or an address such as ``s3://bucket/prefix``.
        on: Where jobs run, an engine of ``whatelse list engines``.
        workers: How many jobs at once; 0 for as many as cores. Processes on this machine are fewer where its memory
            carries no more.
        show: Called whenever a job starts or ends.
        announce: Called once with what the work will cost, before it starts; not where everything is done.
        show_examples: Also examples in what stands beside the numbers: rows of people, shown only on request.

    Raises:
        StudyError: There is no such engine, a study changed in memory does not hold together, or data changed on disk
            while the study ran.
        TaskError: The network cannot take the inputs of a task.
        StoreError: Results cannot be written; what is finished is kept.
    """
    started = time.perf_counter()
    study = settled(study)
    store, tasks, todo = prepared(study, results, elsewhere=run.elsewhere(on))

    def start() -> Engine:
        here = on == "processes"  # workers of this machine, whose memory they share
        told = _estimate(study, store, tasks, todo, workers or processes.cores()) if here else None
        place = run.engine(on, workers if told is None else told.workers)
        if announce is not None:
            announce(told or _estimate(study, store, tasks, todo, place.slots, free=0))
        return place

    progress = run.run(todo, store, start, show or _silent)
    known = set(store.damaged)
    shown = exhibited.exhibits(study, todo, store, tasks)
    took = account.timing(todo, store, progress, time.perf_counter() - started)
    found = assemble.assemble(study, todo, store, tasks, shown, took)
    found = account.conclude(found, todo, store, progress, known)
    (show or _silent)(progress)
    return found if show_examples else without_examples(found)


def settled(study: Study) -> Study:
    """Return a study as a text says it, checked: as it was read, or where it was changed in memory, as written anew.

    Args:
        study: As it was read, or with fields replaced since.

    Raises:
        StudyError: What was changed does not hold together.
    """
    same = toml_schema.reread(study, *(partial(spec.parse, where="study", tier=tier) for tier in spec.TIERS))
    if same is not None:
        return same
    # What is of the tier full and still there is asked: its text must ask it too, without ``--full``.
    candidates = [replace(c, tier="quick") for c in study.candidates]
    measurements = [replace(m, tier="quick") for m in study.measurements]
    text = toml_schema.write(replace(study, candidates=candidates, measurements=measurements))
    return spec.parse(f"{toml_schema.CHANGED}\n{text}", f"study {study.name!r}, changed in memory")


def dry_run(study: Study, results: str | Path, workers: int = 0, on: str = "processes") -> Estimate:
    """Return what the work of a study that is left will cost, without doing any of it.

    Args:
        study: A checked study.
        results: Folder of the results, or an address such as ``s3://bucket/prefix``.
        workers: How many jobs at once; 0 for as many as cores.
        on: Where jobs would run.

    Raises:
        TaskError: The network cannot take the inputs of a task.
        StoreError: Results cannot be read.
    """
    study = settled(study)
    store, tasks, todo = prepared(study, results, elsewhere=run.elsewhere(on))
    return _estimate(study, store, tasks, todo, workers or processes.cores())


def prepared(study: Study, results: str | Path, *, elsewhere: bool = False) -> tuple[Store, dict[str, Task], Plan]:
    """Return where the results of a study are or will be, its tasks, and all its work.

    Args:
        study: A checked study.
        results: Folder of the results, or an address such as ``s3://bucket/prefix``.
        elsewhere: Whether it is done on other machines.

    Raises:
        TaskError: The network cannot take the inputs of a task, or its device is not there.
    """
    placed.check(study.device, elsewhere=elsewhere)
    tasks = {name: worker.load_task(study, name) for name in study.tasks}
    begun = {name: worker.begun(study, task) for name, task in tasks.items()}
    given = {name: origin for name, origin in begun.items() if origin is not None}
    keys, names, learned = (
        {name: getattr(task, what) for name, task in tasks.items()} for what in ("key", "names", "learned")
    )
    work = plan(study, keys, names, learned, given)
    return places.at(results), tasks, work


def _estimate(
    study: Study, store: Store, tasks: dict[str, Task], todo: Plan, workers: int, free: int | None = None
) -> Estimate:
    free = engines.free() if free is None else free
    return estimate.estimate(todo, store, tasks, workers, lambda name: speed.of_study(study, tasks[name]), free)


def _silent(progress: Progress) -> None:
    del progress
