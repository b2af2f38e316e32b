"""Do what a plan says and is not done yet, every job after those that it needs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass, field

from whatelse import registry
from whatelse.engines import Engine
from whatelse.errors import StudyError, WhatElseError, in_short, nearest
from whatelse.store.protocol import Store
from whatelse.study import worker
from whatelse.study.jobs import Analysis, Effects, Job, Plan, Watch, Work, together
from whatelse.study.worker import Report

_FORMER = {"here": "processes"}  # what engines were called
_FORMER_RESULTS = "this folder has results of a release before 0.2: what they answer is read no more, and made again"
_NAMED = 3  # damaged files that are named


@dataclass
class Progress:
    """What is going on, for whoever shows it.

    Attributes:
        total: Jobs in the plan.
        done: Jobs that ended, those found done counted.
        running: Names of the jobs that run now.
        reports: What every job of this run spent.
        remarks: What must be said beside: kept files that were damaged, and results from elsewhere.
    """

    total: int
    done: int = 0
    running: list[str] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def engine(name: str, workers: int) -> Engine:
    """Return an engine, started.

    Args:
        name: One of ``whatelse list engines``.
        workers: How many jobs at once; 0 for as many as cores.

    Raises:
        StudyError: There is no such engine.
    """
    check_engine(name)
    made: Engine = registry.load("engines", name).start(workers)
    return made


def check_engine(name: str) -> None:
    """Refuse a name that no engine has.

    Args:
        name: One of ``whatelse list engines``.

    Raises:
        StudyError: There is no such engine.
    """
    known = registry.names("engines")
    if name not in known:
        raise StudyError(f"--on {name!r}: no such engine; {nearest(_FORMER.get(name, name), known)}")


def elsewhere(name: str) -> bool:
    """Return whether an engine runs jobs on other machines too: its file says ``ELSEWHERE = True``.

    Args:
        name: One of ``whatelse list engines``.

    Raises:
        StudyError: There is no such engine.
    """
    check_engine(name)
    return bool(getattr(registry.load("engines", name), "ELSEWHERE", False))


def size(plan: Plan) -> int:
    """Return how many jobs and effects a plan has; jobs that nothing is asked of are left out, as they are never done.

    Args:
        plan: All work.
    """
    return sum(bool(j.cells) for j in plan.jobs) + len(plan.effects)


def missing(plan: Plan, store: Store) -> tuple[list[Job], list[Effects | Watch]]:
    """Return the work that is not done: jobs of which a cell or a model is not whole, and effects that rest on such.

    A model is needed beside the values that were measured on it: findings say what its recipe left alone, and exhibits
    show what it does.

    Args:
        plan: All work.
        store: Where finished work is found.
    """
    whole = store.whole(_kept(plan))
    jobs = [j for j in plan.jobs if j.cells and not whole.issuperset(j.kept())]
    redo = {j.name for j in jobs}
    effects = [e for e in plan.effects if ("effects", e.key) not in whole or redo & set(e.needs)]
    return jobs, effects


def _kept(plan: Plan) -> list[tuple[str, str]]:
    of_jobs = [pair for job in plan.jobs if job.cells for pair in job.kept()]
    return [*of_jobs, *(pair for one in plan.effects for pair in one.kept())]


def told(damaged: Mapping[str, str]) -> list[str]:
    """Return what to say of kept files that were damaged: one sentence for each kind of damage.

    Args:
        damaged: Names of files, and what is wrong with each.
    """
    by_why = defaultdict(list)
    for name, why in damaged.items():
        by_why[why].append(name)
    return [f"{_files(names)}; made again: {why}" for why, names in by_why.items()]


def _files(names: list[str]) -> str:
    more = len(names) - _NAMED
    listed = ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"{len(names)} kept file{'s' * (len(names) > 1)} cannot be believed, {listed}"


def run(plan: Plan, store: Store, start: Callable[[], Engine], show: Callable[[Progress], None]) -> Progress:
    """Do all missing work of a plan.

    Args:
        plan: All work.
        store: Where results are kept.
        start: Starts the engine; not called when nothing is missing.
        show: Called whenever something starts or ends.

    Raises:
        StoreError: Results cannot be written; what is finished is kept.
        StudyError: A worker process died, or data changed on disk after the work was planned.
    """
    former = [_FORMER_RESULTS] if store.former() else []  # refuses what is of a layout unknown here
    jobs, effects = missing(plan, store)
    progress = Progress(size(plan), remarks=[*told(store.damaged), *former])
    progress.done = progress.total - len(jobs) - len(effects)
    show(progress)
    if not jobs and not effects:
        return progress
    place = start()
    try:
        store.prepare()
        with store.marked() as mark:
            _drain(place, _waiting([*jobs, *_shared(effects)]), (store, mark), progress, show)
    except BrokenExecutor as error:
        raise StudyError(
            "a worker process died, perhaps for want of memory; finished cells are kept: run again with fewer --workers"
        ) from error
    except BaseException:
        place.stop()
        raise
    place.close()
    store.near(_kept(plan))
    return progress


def _shared(effects: Sequence[Effects | Watch]) -> list[Watch | Analysis]:
    """Return effects with those that have their resamples in common put together: these are drawn once."""
    alike: dict[object, list[Effects]] = defaultdict(list)
    for one in effects:
        if isinstance(one, Effects):
            alike[one.draws, one.task, one.resampled_by].append(one)
    return [*(one for one in effects if isinstance(one, Watch)), *(together(some) for some in alike.values())]


def _waiting(work_left: Iterable[Work]) -> dict[str, tuple[Work, set[str]]]:
    every = {w.name: w for w in work_left}
    return {name: (w, {n for n in w.needs if n in every}) for name, w in every.items()}


def _drain(
    place: Engine,
    waiting: dict[str, tuple[Work, set[str]]],
    kept_in: tuple[Store, str],
    progress: Progress,
    show: Callable[[Progress], None],
) -> None:
    running: dict[Future[Report], str] = {}
    ready = [name for name, (_, needs) in waiting.items() if not needs]
    while ready or running:
        # One more than can run is handed over, so that no worker waits and what is shown as running does run.
        while ready and len(running) <= place.slots:
            name = ready.pop(0)
            left = waiting[name][0]
            running[place.submit(worker.work_on, left, *kept_in, registry.added(), needs=left.resources)] = name
        progress.running = list(running.values())
        show(progress)
        ended, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in ended:
            name = running.pop(future)
            work = waiting[name][0]
            _note(progress, _result(future, work, kept_in[0]), work, kept_in[0])
            progress.done += len(work.effects) if isinstance(work, Analysis) else 1
            freed = _free(waiting, name)
            ready = sorted([*ready, *freed], key=list(waiting).index)
    progress.running = []
    show(progress)


def _note(progress: Progress, report: Report, work: Work, store: Store) -> None:
    progress.reports.append(report)
    if not isinstance(work, Job):  # failed cells are kept, and findings name them
        progress.remarks += [f"{name} failed: {why}" for name, why in report.failed]
    news = {name: why for name, why in report.damaged if name not in store.damaged}
    store.damaged.update(news)
    progress.remarks += told(news)


def _result(future: Future[Report], work: Work, store: Store) -> Report:
    try:
        return future.result()
    except (WhatElseError, BrokenExecutor):
        raise
    except Exception as error:  # a summary that raised, a machine that is out of memory: named, and the rest goes on
        why = f"{type(error).__name__}: {in_short(error)}"
        for cell in work.cells if isinstance(work, Job) else ():
            if store.absent("values", cell.key):
                record = {"cell": work.name, "label": cell.label, "error": why, "trace": ""}
                store.save_record("failed", cell.key, record)
        return Report(work.name, failed=((work.name, why),))


def _free(waiting: dict[str, tuple[Work, set[str]]], ended: str) -> list[str]:
    freed = []
    for name, (_, needs) in waiting.items():
        if ended in needs:
            needs.remove(ended)
            if not needs:
                freed.append(name)
    return freed
