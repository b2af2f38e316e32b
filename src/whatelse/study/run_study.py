"""A study from its file to its findings."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from whatelse import toml_schema
from whatelse.auditing.assemble import Circumstances
from whatelse.engines import processes
from whatelse.engines.engine import Engine
from whatelse.exhibits import collect
from whatelse.findings import codec
from whatelse.findings.exhibits import Exhibit
from whatelse.findings.record import Findings, Timing
from whatelse.store import seal
from whatelse.store.folder import Store, key
from whatelse.study import assemble, estimate, run, spec, worker
from whatelse.study.estimate import Estimate
from whatelse.study.plan import Plan, plan
from whatelse.study.run import Progress
from whatelse.study.spec import Study
from whatelse.tasks.task import Task

KINDS = ("training", "compressing", "measuring", "analyzing")
DAMAGED = "damaged_and_made_again"


def run_study(
    study: Study,
    results: Path,
    *,
    on: str = "here",
    workers: int = 0,
    show: Callable[[Progress], None] | None = None,
    announce: Callable[[Estimate], None] | None = None,
) -> Findings:
    """Return the findings of a study; work that a former call finished is found, not done again.

    Args:
        study: A checked study.
        results: Folder of the results.
        on: Where jobs run, one of `whatelse.study.run.ENGINES`.
        workers: How many jobs at once; 0 for as many as cores.
        show: Called whenever a job starts or ends.
        announce: Called once with what the work will cost, before it starts; not where everything is done.

    Raises:
        StudyError: There is no such engine, a study changed in memory does not hold together, or data changed on disk
            while the study ran.
        TaskError: The network cannot take the inputs of a task.
        StoreError: Results cannot be written; what is finished is kept.
    """
    started = time.perf_counter()
    study = settled(study)
    store, tasks, todo = prepared(study, results)

    def start() -> Engine:
        place = run.engine(on, workers)
        if announce is not None:
            announce(estimate.estimate(study, todo, store, tasks, place.slots))
        return place

    progress = run.run(todo, store, start, show or _silent)
    known = set(store.damaged)
    shown = [
        codec.record(Exhibit, one, f"exhibits[{at}]")
        for at, one in enumerate(collect.collect(study, todo, store, tasks))
    ]
    ended, timing = _timing(todo, store, progress, time.perf_counter() - started)
    others = _elsewhere(todo, store)
    around = Circumstances(ended, timing, assemble.failed(todo, store), made_elsewhere=others)
    found = assemble.assemble(study, todo, store, tasks, shown, around)
    progress.remarks += run.told({name: why for name, why in store.damaged.items() if name not in known})
    if others:
        progress.remarks.append(f"made elsewhere: {others}; another results folder has everything made here")
    (show or _silent)(progress)
    return found


def settled(study: Study) -> Study:
    """Return a study as a text says it, checked: as it was read, or where it was changed in memory, as written anew.

    Args:
        study: As it was read, or with fields replaced since.

    Raises:
        StudyError: What was changed does not hold together.
    """
    same = toml_schema.reread(study, *(partial(spec.parse, where="study", full=full) for full in (False, True)))
    if same is not None:
        return same
    # What is marked ``full`` and still there is asked: its text must ask it too, without ``--full``.
    candidates = [replace(c, full=False) for c in study.candidates]
    measurements = [replace(m, full=False) for m in study.measurements]
    text = toml_schema.write(replace(study, candidates=candidates, measurements=measurements))
    return spec.parse(f"{toml_schema.CHANGED}\n{text}", f"study {study.name!r}, changed in memory")


def dry_run(study: Study, results: Path, workers: int = 0) -> Estimate:
    """Return what the work of a study that is left will cost, without doing any of it.

    Args:
        study: A checked study.
        results: Folder of the results.
        workers: How many jobs at once; 0 for as many as cores.

    Raises:
        TaskError: The network cannot take the inputs of a task.
        StoreError: Results cannot be read.
    """
    study = settled(study)
    store, tasks, todo = prepared(study, results)
    return estimate.estimate(study, todo, store, tasks, workers or processes.cores())


def prepared(study: Study, results: Path) -> tuple[Store, dict[str, Task], Plan]:
    """Return where the results of a study are or will be, its tasks, and all its work.

    Args:
        study: A checked study.
        results: Folder of the results.

    Raises:
        TaskError: The network cannot take the inputs of a task.
    """
    tasks = {name: worker.load_task(study, name) for name in study.tasks}
    for task in tasks.values():
        worker.check_net(study, task)
    keys = ({name: getattr(task, what) for name, task in tasks.items()} for what in ("key", "names"))
    return Store(results.resolve()), tasks, plan(study, *keys)  # workers may stand in another folder


def _timing(todo: Plan, store: Store, progress: Progress, wall: float) -> tuple[str, Timing]:
    """Return when the work ended and the seconds spent over all calls that did some of it.

    A call that found everything done adds nothing, and its findings are the same bytes. Where kept files were damaged
    and made again, their number stands beside.
    """
    name = key("timing", 1, {}, *(e.key for e in todo.effects), seed=0)
    spent: dict[str, Any] = {"ended": "", "wall_s": 0.0, **{f"{kind}_s": 0.0 for kind in KINDS}}
    if store.has("effects", name):
        spent |= store.load_record("effects", name)
    new = not spent["ended"]
    if progress.reports or new:
        spent["ended"] = datetime.now(UTC).isoformat(timespec="seconds")
        spent["wall_s"] += wall if progress.reports else 0.0
        for report in progress.reports:
            for kind in KINDS:
                spent[f"{kind}_s"] += getattr(report, kind)
    if store.damaged:
        spent[DAMAGED] = spent.get(DAMAGED, 0) + len(store.damaged)
    if progress.reports or store.damaged or new:
        store.save_record("effects", name, spent)
    return spent.pop("ended"), Timing(**spent)


def _elsewhere(todo: Plan, store: Store) -> str:
    """Return how many results another release or machine made, and which; empty where all were made with what is here.

    They are used: keys tell apart what gives other numbers on purpose. Digits behind the point may still differ.
    """
    kept = dict.fromkeys(
        [*(k for job in todo.jobs for k in run.holds(job)), *(("effects", e.key) for e in todo.effects)]
    )
    made = [found for k in kept if (found := store.origin(*k)) is not None]
    processes = seal.here()
    others = Counter(found for found in made if found != processes).most_common()
    return "; ".join(f"{count} of {len(made)} results ({_unlike(found, processes)})" for found, count in others)


def _unlike(found: seal.Origin, here: seal.Origin) -> str:
    pairs = ((f.name, getattr(found, f.name), getattr(processes, f.name)) for f in fields(seal.Origin))
    return ", ".join(f"{name} {there} where here is {mine}" for name, there, mine in pairs if there != mine)


def _silent(progress: Progress) -> None:
    del progress
