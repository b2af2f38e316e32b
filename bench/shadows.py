"""Measure how many shadow models a minute a study makes, beside its limit and other ways to make them.

    python bench/shadows.py [SHADOWS [REPEATS]]

Each way trains the shadow models of the noisy digits of `whatelse table`, baseline recipe, and asks them about all
records. Run alone. Side by side, in turn:

* the study's engine: a process of one thread on every core, results written to disk;
* the limit: cores x 60 / seconds of one shadow model alone, on one thread, nothing written;
* one after the other in one process with as many threads as cores, as privacy meter does, nothing written;
* many at once on a GPU with torch.func, plain SGD with as many steps of the same size; skipped where there is none.
  That it trains as one after the other does is checked here on small networks, whether there is a GPU or not.
"""

from __future__ import annotations

import copy
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from whatelse import recipe
from whatelse.engines import Engine
from whatelse.nets import cnn
from whatelse.store.folder import Folder
from whatelse.study import plan, run, spec, worker
from whatelse.study.plan import Job
from whatelse.tasks.task import Task

EPOCHS, BATCH, MOMENTUM = 40, 50, 0.9
TEXT = """
name = "shadows"
title = "Shadow models"
seeds = [0]
[net]
item = "cnn"
settings = { width = 16, hidden = 64 }
[tasks.noisy]
data = "digits"
title = "Digits, 30 % wrong labels"
baseline = "train.scratch(epochs={epochs})"
settings = { noise = 0.3 }
values = { epochs = EPOCHS }
references = SHADOWS
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
tasks = ["noisy"]
margin = 0.02
primary = true
"""


class Kept(Executor):
    """An executor that outlives a study, so that the next one finds its workers started."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor

    def submit(self, call: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:  # noqa: ANN401 - as above
        """Hand a call over."""
        return self.executor.submit(call, *args, **named)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Stay."""


def shadows(count: int, epochs: int = EPOCHS) -> tuple[spec.Study, plan.Plan, Task]:
    """Return the work of so many shadow models of the baseline."""
    study = spec.parse(TEXT.replace("SHADOWS", str(count)).replace("EPOCHS", str(epochs)), "shadows")
    task = worker.load_task(study, "noisy")
    jobs = plan.plan(study, {"noisy": task.key}).jobs
    return study, plan.Plan(tuple(j for j in jobs if j.shadow is not None and j.subject == "baseline"), ()), task


def by_engine(count: int, epochs: int, place: Engine) -> float:
    """Return the seconds that the study's engine takes from an empty store."""
    todo = shadows(count, epochs)[1]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        done = run.run(todo, Folder(Path(folder)), lambda: place, lambda _: None)
        seconds = time.perf_counter() - started
    if done.done != count or any(report.failed for report in done.reports):
        raise SystemExit("some shadow models failed")
    return seconds


def in_process(jobs: Sequence[Job], task: Task, threads: int) -> float:
    """Return the seconds that shadow models take one after the other, nothing written."""
    torch.set_num_threads(threads)
    started = time.perf_counter()
    for job in jobs:
        step, number = job.chain[-1].step, job.shadow
        assert step is not None
        assert number is not None
        model = network(task, job.chain[0].key)
        made = recipe.apply(step, model, worker.shadow_task(task, number), worker.generator(job.chain[-1].key))
        with torch.no_grad():
            for split in (task.train, task.test):
                made(split.inputs)
    seconds = time.perf_counter() - started
    torch.set_num_threads(1)
    return seconds


def network(task: Task, name: str, width: int = 16, hidden: int = 64) -> nn.Module:
    """Return an untrained network."""
    return cnn.build(cnn.Config(width, hidden), task.shape, task.classes, worker.generator(name))


def at_once(models: Sequence[nn.Module], inputs: Tensor, labels: Tensor, batches: Tensor, rate: float) -> list[Tensor]:
    """Train many networks of one architecture at once by SGD, and return their parameters, ``(K, ...)`` each.

    Args:
        models: K networks without buffers that training changes; left as they are.
        inputs: ``(N, ...)``, where the networks are.
        labels: ``(N,)``.
        batches: Rows of each step of each network, ``(K, steps, B)``.
        rate: Learning rate; momentum is 0.9.
    """
    stacked, buffers = torch.func.stack_module_state(list(models))
    weights = {name: p.detach() for name, p in stacked.items()}
    speed = {name: torch.zeros_like(p) for name, p in weights.items()}
    bare = copy.deepcopy(models[0]).to("meta")

    def loss(own: dict[str, Tensor], held: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(torch.func.functional_call(bare, (own, held), (x,)), y)

    slope = torch.func.vmap(torch.func.grad(loss))
    for rows in batches.unbind(1):
        for name, part in slope(weights, buffers, inputs[rows], labels[rows]).items():
            speed[name].mul_(MOMENTUM).add_(part)
            weights[name].sub_(rate * speed[name])
    return list(weights.values())


def one_by_one(
    models: Sequence[nn.Module], inputs: Tensor, labels: Tensor, batches: Tensor, rate: float
) -> list[Tensor]:
    """Do the same with torch's own optimizer, a network after the other."""
    for model, mine in zip(models, batches, strict=True):
        sgd = torch.optim.SGD(model.parameters(), rate, momentum=MOMENTUM)
        for rows in mine:
            sgd.zero_grad()
            functional.cross_entropy(model(inputs[rows]), labels[rows]).backward()  # type: ignore[no-untyped-call] # torch's own
            sgd.step()
    return [torch.stack(parts).detach() for parts in zip(*(m.parameters() for m in models), strict=True)]


def drawn(count: int, records: int, members: int, steps: int) -> Tensor:
    """Return rows of a half of the records for every step of every network, ``(K, steps, B)``."""
    rng = torch.Generator().manual_seed(0)
    half = torch.stack([torch.randperm(records, generator=rng)[:members] for _ in range(count)])
    picks = torch.randint(members, (count, steps * BATCH), generator=rng)
    return half.gather(1, picks).view(count, steps, BATCH)


def agree(task: Task) -> float:
    """Return the largest difference between parameters trained at once and one by one; small networks, on the CPU."""
    models = [network(task, f"small {k}", 2, 4) for k in range(3)]
    inputs, labels = task.train.inputs, task.train.observed
    given = inputs, labels, drawn(3, len(inputs), 300, 20), 0.1
    start = [p.detach().clone() for p in models[0].parameters()]
    together, alone = at_once(models, *given), one_by_one(models, *given)
    if all(torch.allclose(a[0], b) for a, b in zip(alone, start, strict=True)):
        raise SystemExit("nothing was trained")
    return max(float((a - b).abs().max()) for a, b in zip(together, alone, strict=True))


def on_gpu(count: int, task: Task, steps: int) -> float:
    """Return the seconds of many networks trained at once on the GPU and asked about all records."""
    inputs = torch.cat([task.train.inputs, task.test.inputs[: len(task.train)]]).cuda()
    labels = torch.cat([task.train.observed, task.test.observed[: len(task.train)]]).cuda()
    models = [network(task, f"gpu {k}").cuda() for k in range(count)]
    batches = drawn(count, len(inputs), len(task.train), steps).cuda()
    torch.cuda.synchronize()
    started = time.perf_counter()
    parts = at_once(models, inputs, labels, batches, 0.05)
    named = dict(zip(dict(models[0].named_parameters()), parts, strict=True))
    bare = copy.deepcopy(models[0]).to("meta")
    torch.func.vmap(lambda own: torch.func.functional_call(bare, own, (inputs,)))(named)
    torch.cuda.synchronize()
    return time.perf_counter() - started


def measured(count: int, repeats: int, place: Engine, cores: int) -> dict[str, list[float]]:
    """Return the seconds of one shadow model by each way, one a repeat; the ways take turns."""
    _, todo, task = shadows(count)
    in_process(todo.jobs[:1], task, 1)
    times: dict[str, list[float]] = {"engine": [], "alone": [], "one by one": [], "GPU": []}
    for _ in range(repeats):
        times["engine"].append(by_engine(count, EPOCHS, place) / count)
        times["alone"].append(in_process(todo.jobs[:2], task, 1) / 2)
        few = max(2, count // 4)
        times["one by one"].append(in_process(todo.jobs[:few], task, cores) / few)
        if torch.cuda.is_available():
            times["GPU"].append(on_gpu(16 * count, task, steps(task)) / (16 * count))
    return times


def steps(task: Task) -> int:
    """Return the training steps of one shadow model."""
    return EPOCHS * -(-len(task.train) // BATCH)


def main() -> None:
    """Print shadow models a minute and ratios.

    Raises:
        SystemExit: Training at once is not training one by one.
    """
    torch.set_num_threads(1)  # the process is the bench's own
    count, repeats = (int(a) for a in (*sys.argv[1:], *("24", "3")[len(sys.argv) - 1 :]))
    cores = len(os.sched_getaffinity(0))
    task = shadows(count)[2]
    apart = agree(task)
    if not apart < 1e-4:
        raise SystemExit(f"parameters trained at once differ by {apart:.1e} from those trained one by one")
    started = time.perf_counter()
    whole = run.engine("processes", 0)
    place = whole._replace(executor=Kept(whole.executor))
    by_engine(2 * cores, 1, place)
    starting = time.perf_counter() - started
    times = measured(count, repeats, place, cores)
    whole.executor.shutdown()
    print(
        f"{count} shadow models of {len(task.train)} records, {steps(task)} steps of {BATCH}; {cores} cores;", end=" "
    )
    print(f"median of {repeats} repeats in turn; alone: 2 of them, one after the other: {max(2, count // 4)}")
    told("the study's engine, a process a core", times["engine"], 1, times)
    told(f"the limit: {cores} x 60 / seconds of one alone", times["alone"], cores, times)
    told(f"one after the other, {cores} threads", times["one by one"], 1, times)
    if times["GPU"]:
        told(f"{16 * count} at once on {torch.cuda.get_device_name()}", times["GPU"], 1, times)
    else:
        print("many at once on a GPU                       no GPU: skipped")
    print(f"starting the workers: {starting:.1f} s, once, not counted above")
    print(f"small networks trained at once and one by one, on the CPU: weights differ by {apart:.0e} at most")


def told(way: str, found: Sequence[float], cores: int, times: dict[str, list[float]]) -> None:
    """Print the rate of a way, how many times as fast the engine is, and how far apart the repeats lie."""
    rate = 60 * cores / statistics.median(found)
    ratios = [other / cores / own for own, other in zip(times["engine"], found, strict=True)]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"{way:43} {rate:8.1f} a minute; engine / this = {statistics.median(ratios):.2f} ({spread})")


if __name__ == "__main__":
    main()
