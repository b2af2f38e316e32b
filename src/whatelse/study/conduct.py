"""A study from its file to its findings."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from whatelse.study import estimate, exhibits, findings, run, work
from whatelse.study.engines import here
from whatelse.study.engines._engine import Engine
from whatelse.study.estimate import Estimate
from whatelse.study.plan import Plan, plan
from whatelse.study.run import Progress
from whatelse.study.spec import Study
from whatelse.study.store import Store, key
from whatelse.task import Task

KINDS = ("training", "compressing", "measuring", "analyzing")


def conduct(
    study: Study,
    results: Path,
    *,
    on: str = "here",
    workers: int = 0,
    show: Callable[[Progress], None] | None = None,
    announce: Callable[[Estimate], None] | None = None,
) -> dict[str, Any]:
    """Return the findings of a study; work that a former call finished is found, not done again.

    Args:
        study: A checked study.
        results: Folder of the results.
        on: Where jobs run, one of `whatelse.study.run.ENGINES`.
        workers: How many jobs at once; 0 for as many as cores.
        show: Called whenever a job starts or ends.
        announce: Called once with what the work will cost, before it starts; not where everything is done.

    Raises:
        StudyError: There is no such engine.
        TaskError: The network cannot take the inputs of a task.
        StoreError: Results cannot be written; what is finished is kept.
    """
    started = time.perf_counter()
    store, tasks, todo = prepared(study, results)

    def start() -> Engine:
        place = run.engine(on, workers)
        if announce is not None:
            announce(estimate.estimate(study, todo, store, tasks, place.slots))
        return place

    progress = run.run(study, todo, store, start, show or _silent)
    shown = exhibits.collect(study, todo, store, tasks)
    timing = _timing(todo, store, progress, time.perf_counter() - started)
    return findings.assemble(study, todo, store, tasks, shown, timing)


def foresee(study: Study, results: Path, workers: int = 0) -> Estimate:
    """Return what the work of a study that is left will cost, without doing any of it.

    Args:
        study: A checked study.
        results: Folder of the results.
        workers: How many jobs at once; 0 for as many as cores.

    Raises:
        TaskError: The network cannot take the inputs of a task.
        StoreError: Results cannot be read.
    """
    store, tasks, todo = prepared(study, results)
    return estimate.estimate(study, todo, store, tasks, workers or here.cores())


def prepared(study: Study, results: Path) -> tuple[Store, dict[str, Task], Plan]:
    """Return where the results of a study are or will be, its tasks, and all its work.

    Args:
        study: A checked study.
        results: Folder of the results.

    Raises:
        TaskError: The network cannot take the inputs of a task.
    """
    tasks = {name: work.load_task(study, name) for name in study.tasks}
    for task in tasks.values():
        work.check_net(study, task)
    keys = ({name: getattr(task, what) for name, task in tasks.items()} for what in ("key", "names"))
    return Store(results.resolve()), tasks, plan(study, *keys)  # workers may stand in another folder


def _timing(todo: Plan, store: Store, progress: Progress, wall: float) -> dict[str, Any]:
    """Return when the work ended and the seconds spent over all calls that did some of it.

    A call that found everything done adds nothing, and its findings are the same bytes.
    """
    name = key("timing", 1, {}, *(e.key for e in todo.effects), seed=0)
    spent: dict[str, Any] = {"ended": "", "wall_s": 0.0, **{f"{kind}_s": 0.0 for kind in KINDS}}
    if store.has("effects", name):
        spent |= store.load_record("effects", name)
    if progress.reports or not spent["ended"]:
        spent["ended"] = datetime.now(UTC).isoformat(timespec="seconds")
        spent["wall_s"] += wall if progress.reports else 0.0
        for report in progress.reports:
            for kind in KINDS:
                spent[f"{kind}_s"] += getattr(report, kind)
        store.save_record("effects", name, spent)
    return spent


def _silent(progress: Progress) -> None:
    del progress
