"""Measure what a second worker brings, for worker processes and for Ray, beside what this machine allows.

    python bench/engines.py [JOBS [REPEATS [RESULTS]]]

JOBS (24) networks are trained and asked, each a job of its own that needs no other, with one worker and with two, in
turn. Efficiency is the time of one worker over twice the time of two; .9 or more is wanted. Bare processes, which share
out the jobs beforehand, show what two cores of this machine are worth. Workers have started, and have opened the data,
before the clock does: that is told beside it. RESULTS is where results go, a folder of its own
otherwise; an address such as s3://bucket/prefix where what the network costs is to be seen too.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import wait
from functools import partial
from itertools import product
from multiprocessing.synchronize import Barrier

import torch

from whatelse.engines import Engine, Resources
from whatelse.errors import MissingExtraError
from whatelse.store import places
from whatelse.study import plan, run, spec, worker
from whatelse.study.jobs import Data, Job, Plan

WANTED = 0.9
TEXT = """
name = "engines"
title = "Equal jobs"
seeds = [0]
[net]
item = "cnn"
settings = { width = 16, hidden = 64 }
[tasks.clean]
data = "digits"
title = "Digits"
baseline = "train.scratch(epochs={epochs})"
values = { epochs = 20 }
references = JOBS
[controls]
placebo = "train.finetune()"
[[candidates]]
name = "half"
family = "prune"
recipe = "prune.magnitude(sparsity=0.5)"
[[rows]]
name = "membership"
title = "Membership"
[[measurements]]
row = "membership"
item = "membership.reference"
label = "reference"
tasks = ["clean"]
margin = 0.02
primary = true
"""


def jobs(count: int) -> Plan:
    """Return as many jobs, none of which needs another."""
    study = spec.parse(TEXT.replace("JOBS", str(count)), "engines")
    whole = plan.plan(study, {name: worker.load_task(study, name).key for name in study.tasks})
    return Plan(tuple([job for job in whole.jobs if job.shadow is not None][:count]), ())


def ready(data: Data) -> int:
    """Open the data, and stay so long that every worker gets one such job; return which process this is."""
    worker.task_of(data)
    time.sleep(1.0)
    return os.getpid()


def started(name: str, workers: int, data: Data) -> tuple[Engine, float]:
    """Return an engine whose workers are all up, and the seconds until they were.

    Raises:
        SystemExit: It has fewer workers.
    """
    began = time.perf_counter()
    engine = run.engine(name, workers)
    for _ in range(5):
        asked = [engine.submit(ready, data, needs=Resources()) for _ in range(workers)]
        wait(asked)
        if len({one.result() for one in asked}) == workers:
            return engine, time.perf_counter() - began
    raise SystemExit(f"{name}: {workers} workers did not start")


def timed(name: str, workers: int, todo: Plan, place: str) -> tuple[float, float]:
    """Return the seconds of all jobs, and those that workers needed to start."""
    engine, starting = started(name, workers, todo.jobs[0].data)
    began = time.perf_counter()
    run.run(todo, places.at(place), lambda: engine, lambda _: None)
    return time.perf_counter() - began, starting


def bare(workers: int, todo: Plan, place: str) -> tuple[float, float]:
    """Return the same of processes that share out the jobs beforehand and know nothing of each other."""
    context, came = multiprocessing.get_context("spawn"), time.perf_counter()
    together = context.Barrier(workers + 1)
    lists = [todo.jobs[at::workers] for at in range(workers)]
    processes = [context.Process(target=alone, args=(some, f"{place}/{n}", together)) for n, some in enumerate(lists)]
    for process in processes:
        process.start()
    together.wait()
    began = time.perf_counter()
    for process in processes:
        process.join()
    return time.perf_counter() - began, began - came


def alone(some: Sequence[Job], place: str, together: Barrier) -> None:
    """Do some jobs in this process, once all others are as far."""
    torch.set_num_threads(1)
    worker.task_of(some[0].data)
    together.wait()
    for job in some:
        worker.run_job(job, places.at(place))


def main(count: int, repeats: int, results: str) -> None:
    """Print what a second worker brings."""
    todo, times = jobs(count), defaultdict[tuple[str, int], list[tuple[float, float]]](list)
    print(f"{len(todo.jobs)} equal jobs, the fastest of {repeats} times in turn")
    ways = {"bare": bare, **{name: partial(timed, name) for name in ("processes", "ray")}}
    for at, (name, way), workers in product(range(repeats), ways.items(), (1, 2)):
        with tempfile.TemporaryDirectory() as folder:
            place = f"{results}/{name}-{workers}-{at}" if results and name != "bare" else folder
            try:
                times[name, workers].append(way(workers, todo, place))
            except MissingExtraError as error:
                print(f"{name}: skipped, {error}")
    for name in dict.fromkeys(name for name, _ in times):
        # What else runs on the machine makes times longer, never shorter.
        (one, _), (two, up) = (map(min, zip(*times[name, workers], strict=True)) for workers in (1, 2))
        share = one / (2 * two)
        print(
            f"{name:10} 1 worker {one:6.1f} s   2 workers {two:6.1f} s   efficiency {share:.2f}"
            f"{'' if share >= WANTED else ' TOO LOW'}   over bare {one / min(times['bare', 1])[0]:.2f}   "
            f"workers up after {up:.1f} s"
        )


if __name__ == "__main__":
    given = sys.argv[1:]
    main(int(given[0]) if given else 24, int(given[1]) if given[1:] else 4, given[2] if given[2:] else "")
