"""Measure the main job: minutes, memory, where the time goes, and how far it is from its bare arithmetic.

    python bench/table.py [SEEDS [FOLDER]]

Runs the study of `whatelse table` from nothing, in a temporary folder or in a new FOLDER that is kept, then again to
see that finished work is found. The bare arithmetic is counted from what the run left behind: every training step
times the time of such a step in a tight loop, every pass of examples times the time of such a pass, both measured
here, on one thread, on the same architectures.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional

from whatelse import recipe
from whatelse.store.folder import Folder
from whatelse.store.protocol import Store
from whatelse.study import plan, spec, worker
from whatelse.study.plan import Job


def resident(group: int) -> int:
    """Return the proportional memory of a group of processes in bytes, shared pages counted once."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(folder.name)) == group:
                text = (folder / "smaps_rollup").read_text()
                total += int(text.split("Pss:")[1].split()[0]) * 1024
        except (OSError, IndexError):
            continue
    return total


def timed_run(folder: Path) -> tuple[float, int]:
    """Return seconds and peak memory in bytes of one call of the table."""
    peak = 0
    started = time.perf_counter()
    call = [sys.executable, "-c", "from whatelse.cli.app import main; main()", "study", "table1.toml", "--quiet"]
    running = subprocess.Popen(call, cwd=folder, start_new_session=True)
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.5):
            peak = max(peak, resident(running.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = running.wait()
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    if code:
        sys.exit(f"whatelse ended with {code}")
    return seconds, peak


def typical(call: Callable[[], object], repeats: int = 31) -> float:
    """Return the median seconds of some calls, the first few left out."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times[5:])


def bare(text: str, store: Store) -> tuple[float, float]:
    """Return the seconds of bare training steps and of bare passes that the study needs."""
    study = spec.parse(text, "table1.toml")
    tasks = {name: worker.load_task(study, name) for name in study.tasks}
    todo = plan.plan(study, {name: task.key for name, task in tasks.items()})
    step_of: dict[str, float] = {}
    pass_of: dict[str, float] = {}
    training = passing = 0.0
    seen: set[str] = set()
    for job in todo.jobs:
        task = tasks[job.task]
        kind = f"{job.task} {job.subject}"
        if kind not in step_of:
            step_of[kind], pass_of[kind] = one_step(job, store, task), one_pass(job, store, task)
        for link in job.chain:
            if link.step is None or link.key in seen or link.step.name.split(".")[0] not in worker.TRAINING:
                continue
            seen.add(link.key)
            training += steps(link.step, task) * step_of[kind]
        for cell in job.cells:
            meta = store.load("values", cell.key)[1] if store.has("values", cell.key) else {}
            spent = meta.get("passes", {"forward": len(task.train) + len(task.test), "backward": 0})
            passing += (spent["forward"] + spent["backward"]) / 512 * pass_of[kind]
    return training, passing


def steps(step: recipe.Step, task: worker.Task) -> int:
    """Return the number of training steps of one step of a recipe."""
    from whatelse import registry, settings

    method = registry.load("methods", step.name)
    config = settings.build(method.Config, dict(step.given), step.name)
    return config.epochs * -(-len(task.train) // config.batch)


def one_step(job: Job, store: Store, task: worker.Task) -> float:
    """Return the seconds of one training step on 50 examples: forward, backward, Adam."""
    model = store.load_model(job.chain[-1].key)
    if not list(model.parameters()):
        return 0.0
    model.requires_grad_(requires_grad=True)
    adam = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    inputs, labels = task.train.inputs[:50], task.train.observed[:50]

    def call() -> None:
        adam.zero_grad(set_to_none=True)
        functional.cross_entropy(model(inputs), labels).backward()
        adam.step()

    return typical(call)


def one_pass(job: Job, store: Store, task: worker.Task) -> float:
    """Return the seconds of one forward pass of 512 examples."""
    model = store.load_model(job.chain[-1].key)
    inputs = task.test.inputs[:512]
    with torch.no_grad():
        return typical(lambda: model(inputs))


def main() -> None:
    """Run the measurement and print it."""
    torch.set_num_threads(1)  # as the workers that are measured; the process is the bench's own
    from importlib import resources

    text = resources.files("whatelse.study").joinpath("table1.toml").read_text("utf-8")
    if len(sys.argv) > 1:
        text = text.replace("seeds = [0, 1, 2, 3, 4]", f"seeds = {list(range(int(sys.argv[1])))}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(sys.argv[2] if len(sys.argv) > 2 else name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "table1.toml").write_text(text, "utf-8")
        first, memory = timed_run(folder)
        second, _ = timed_run(folder)
        timing = json.loads((folder / "table1.json").read_text("utf-8"))["timing"]
        training, passing = bare(text, Folder(folder / "whatelse-results"))
    cores = len(os.sched_getaffinity(0))
    whole = first * cores
    print(f"first run        {first:7.1f} s on {cores} cores, peak memory {memory / 2**30:.2f} GiB")
    print(f"second run       {second:7.1f} s, everything found done")
    for kind in ("training", "compressing", "measuring", "analyzing"):
        print(f"{kind:16s} {timing[kind + '_s']:7.1f} core s, {timing[kind + '_s'] / whole:6.1%} of the whole")
    rest = whole - sum(timing[f"{kind}_s"] for kind in ("training", "compressing", "measuring", "analyzing"))
    print(f"everything else  {rest:7.1f} core s, {rest / whole:6.1%}: starting workers, reading data, the page")
    print(f"bare training    {training:7.1f} core s; training / bare = {timing['training_s'] / training:.2f}")
    print(f"bare passes      {passing:7.1f} core s (attacks and inversions count their own steps in measuring)")
    print(
        f"whole / (bare training + measuring + analyzing) = "
        f"{whole / (training + timing['measuring_s'] + timing['analyzing_s']):.2f}"
    )


if __name__ == "__main__":
    main()
